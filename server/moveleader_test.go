package server

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMoveLeader(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{MemberID: 1, Group: group, Store: kvs, Members: []*pb.Member{{ID: 1}, {ID: 2}, {ID: unreachable}}})
	maintenance := pb.NewMaintenanceClient(dial(t, address))
	move := func(to uint64) error {
		_, err := maintenance.MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: to})
		return err
	}
	wantStatus(t, "to a stranger", move(7), rpctypes.ErrGRPCBadLeaderTransferee)
	wantStatus(t, "to one that does not answer", move(unreachable),
		status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long"))
	if err := move(1); err != nil {
		t.Errorf("to itself: %v", err)
	}
	if err := move(2); err != nil || group.Leadership().Leader != 2 {
		t.Errorf("to member 2: %v, %+v", err, group.Leadership())
	}
	wantStatus(t, "asked of a follower", move(1), rpctypes.ErrGRPCNotLeader)
}

func TestDefragmentIsAHint(t *testing.T) {
	member := startStore(t)
	if _, err := pb.NewMaintenanceClient(dial(t, member.address)).Defragment(t.Context(), &pb.DefragmentRequest{}); err != nil {
		t.Error(err)
	}
}
