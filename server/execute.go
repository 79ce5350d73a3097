package server

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/raft"
)

// execute has a write replicated and applied, and decodes what the state machine answered into response.
func (s *Server) execute(ctx context.Context, request, response proto.Message) error {
	size := proto.Size(request)
	if commandSize(size) > s.config.Limits.RequestBytes {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	entry := raft.NewEntry(raft.EntryNormal, size)
	if _, err := (proto.MarshalOptions{}).MarshalAppend(entry.Payload()[:0], request); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	entry.Seal()
	result, err := s.propose(ctx, entry)
	if err != nil {
		return err
	}
	return proto.Unmarshal(result.Value, response)
}
