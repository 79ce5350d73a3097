package server

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/raft"
)

// execute has a write replicated and applied, and returns what the state machine answered. The error is the API's.
func execute[Q, R proto.Message](
	ctx context.Context, s *Server, request Q, encode func(Q) (raft.Entry, error), decode func([]byte) (R, error),
) (response R, err error) {
	if commandSize(proto.Size(request)) > s.config.Limits.RequestBytes {
		return response, rpctypes.ErrGRPCRequestTooLarge
	}
	entry, err := encode(request)
	if err != nil {
		return response, status.Error(codes.InvalidArgument, err.Error())
	}
	result, err := s.propose(ctx, entry)
	if err != nil {
		return response, err
	}
	response, err = decode(result.Value)
	return response, apiError(err)
}
