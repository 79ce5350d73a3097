package server

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// MoveLeader hands this member's office over. As in etcd it has to be asked of the leader.
func (s *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	target := raft.MemberID(r.TargetID)
	switch {
	case s.group.Leadership().Role != raft.Leader:
		return nil, rpctypes.ErrGRPCNotLeader
	case !s.isVoter(r.TargetID):
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	case target == s.config.MemberID:
		return &pb.MoveLeaderResponse{}, nil
	}
	answered := make(chan error, 1)
	s.group.TransferAsync(target, func(err error) { answered <- err })
	select {
	case err := <-answered:
		if err != nil {
			return nil, transferError(err)
		}
		return &pb.MoveLeaderResponse{}, nil
	case <-ctx.Done():
		return nil, apiError(ctx.Err())
	}
}

// transferError puts a failed transfer into the words of etcd, which has no code for one that did not come about in time.
func transferError(err error) error {
	var notLeader *raft.NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		return rpctypes.ErrGRPCNotLeader
	case errors.Is(err, balsa.ErrTransferFailed), errors.Is(err, balsa.ErrTransferring):
		return status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")
	}
	return refusal(err)
}

// isVoter reports whether a member can lead.
func (s *Server) isVoter(id uint64) bool {
	m := s.member(id)
	return m != nil && !m.IsLearner
}

// Defragment is taken for a hint, and needs nothing done: the engine gives space back by itself.
func (s *maintenanceService) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{}, nil
}
