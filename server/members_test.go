package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Each refusal of a change of members is etcd's, in code and words, at the leader and at followers.
func TestMembersAreRefused(t *testing.T) {
	members := startCluster(t)
	for _, m := range members {
		cluster := pb.NewClusterClient(dial(t, m.address))
		add := func(learner bool, urls ...string) error {
			_, err := cluster.MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
			return err
		}
		for _, bad := range []string{"", "nonsense", "http://no-port", "ftp://a:1", "http://a:1/path", "http://u:p@a:1"} {
			wantStatus(t, "added at "+bad, add(false, bad), rpctypes.ErrGRPCMemberBadURLs)
		}
		wantStatus(t, "added nowhere", add(false), rpctypes.ErrGRPCMemberBadURLs)
		_, err := cluster.MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: 99})
		wantStatus(t, "a stranger removed", err, rpctypes.ErrGRPCMemberNotFound)
		_, err = cluster.MemberUpdate(t.Context(), &pb.MemberUpdateRequest{ID: 99, PeerURLs: []string{"http://a:1"}})
		wantStatus(t, "a stranger moved", err, rpctypes.ErrGRPCMemberNotFound)
		_, err = cluster.MemberUpdate(t.Context(), &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://peer-2:1"}})
		wantStatus(t, "moved to another's place", err, rpctypes.ErrGRPCPeerURLExist)
		_, err = cluster.MemberPromote(t.Context(), &pb.MemberPromoteRequest{ID: 99})
		wantStatus(t, "a stranger promoted", err, rpctypes.ErrGRPCMemberNotFound)
		_, err = cluster.MemberPromote(t.Context(), &pb.MemberPromoteRequest{ID: 2})
		wantStatus(t, "a voter promoted", err, rpctypes.ErrGRPCMemberNotLearner)
		wantStatus(t, "added at another's place", add(false, "http://peer-2:1"), rpctypes.ErrGRPCPeerURLExist)
	}
	cluster := pb.NewClusterClient(dial(t, members[0].address))
	added, err := cluster.MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: []string{"http://new:1"}, IsLearner: true})
	if err != nil {
		t.Fatal(err)
	}
	if !added.Member.IsLearner || len(added.Members) != 4 || added.Member.ID == 0 {
		t.Errorf("added: %v", added)
	}
	_, err = cluster.MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: []string{"http://other:1"}, IsLearner: true})
	wantStatus(t, "a second learner", err, rpctypes.ErrGRPCTooManyLearners)
	_, err = cluster.MemberPromote(t.Context(), &pb.MemberPromoteRequest{ID: added.Member.ID})
	wantStatus(t, "a learner that is not even started promoted", err, rpctypes.ErrGRPCLearnerNotReady)
	_, err = pb.NewMaintenanceClient(dial(t, members[0].address)).MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: added.Member.ID})
	if err == nil {
		t.Error("a learner leads")
	}
	moved, err := cluster.MemberUpdate(t.Context(), &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"http://moved:2", "http://moved:1"}})
	if err != nil || fmt.Sprint(memberOf(moved.Members, added.Member.ID).PeerURLs) != "[http://moved:1 http://moved:2]" {
		t.Errorf("moved: %v, %v", moved, err)
	}
	removed, err := cluster.MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: added.Member.ID})
	if err != nil || len(removed.Members) != 3 {
		t.Errorf("removed: %v, %v", removed, err)
	}
	for _, m := range members { // in time all know it
		listed, err := pb.NewClusterClient(dial(t, m.address)).MemberList(t.Context(), &pb.MemberListRequest{Linearizable: true})
		if err != nil || len(listed.Members) != 3 {
			t.Errorf("listed: %v, %v", listed, err)
		}
	}
}

func memberOf(list []*pb.Member, id uint64) *pb.Member {
	for _, m := range list {
		if m.ID == id {
			return m
		}
	}
	return &pb.Member{}
}

// A change that would cost the majority, and a new member whose place is taken, are refused.
func TestMembersThatCostTheMajority(t *testing.T) {
	members := startCluster(t)
	client := members[0].client
	if _, err := client.Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	leader := members[0].group.Leadership().Leader
	var up []*clusterMember
	for _, m := range members {
		if m.group.Member() != leader && len(up) == 0 {
			up = append(up, m)
			if err := m.host.Close(); err != nil { // one of three is down
				t.Fatal(err)
			}
		}
	}
	for _, m := range members {
		id := m.group.Member()
		if m == up[0] || id == leader {
			continue
		}
		cluster := pb.NewClusterClient(dial(t, members[leader-1].address))
		deadline := t.Context()
		for {
			_, err := cluster.MemberRemove(deadline, &pb.MemberRemoveRequest{ID: uint64(id)})
			if err == nil {
				t.Fatal("removed")
			}
			if status.Code(err) == codes.FailedPrecondition {
				wantStatus(t, "the only other one removed", err, rpctypes.ErrGRPCMemberNotEnoughStarted)
				break
			}
		}
	}
}

func TestNewMembersPlaceIsTaken(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{MemberID: 1, Group: group, Store: kvs, TryPeer: func(_ context.Context, urls []string) error {
		return errors.New("somebody is at " + strings.Join(urls, ","))
	}})
	_, err := pb.NewClusterClient(dial(t, address)).MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: []string{"http://a:1"}})
	wantStatus(t, "added", err, status.Error(codes.FailedPrecondition, "balsa: the member was not added: somebody is at http://a:1"))
}
