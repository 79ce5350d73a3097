package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// unknownFor is an unknown outcome for a reason, as the runtime wraps it.
func unknownFor(reason error) error { return fmt.Errorf("%w: %w", balsa.ErrOutcomeUnknown, reason) }

var proposalErrors = []struct {
	name string
	err  error
	want error
}{
	{"unknown: the leader lost its office", unknownFor(&raft.NotLeaderError{Leader: 2}), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{"unknown: the connection broke", unknownFor(balsa.ErrConnectionBroke), rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	{"unknown: time is up", unknownFor(balsa.ErrExpired), rpctypes.ErrGRPCTimeout},
	{"unknown: the deadline", unknownFor(context.DeadlineExceeded), rpctypes.ErrGRPCTimeout},
	{"unknown: closing", unknownFor(balsa.ErrClosed), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{"unknown: fenced", unknownFor(balsa.ErrFenced), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{"unknown: for want of a leader", unknownFor(balsa.ErrNoLeader), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{"unknown: overloaded afterwards", unknownFor(balsa.ErrOverloaded), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{"never appended: no leader", balsa.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{"never appended: not the leader", &raft.NotLeaderError{Leader: 2}, rpctypes.ErrGRPCLeaderChanged},
	{"never appended: handing over", balsa.ErrTransferring, rpctypes.ErrGRPCLeaderChanged},
	{"never appended: too many", fmt.Errorf("%w: 7 wait", balsa.ErrOverloaded), rpctypes.ErrGRPCRequestTooManyRequests},
	{"never appended: too large", fmt.Errorf("%w: 7 bytes", balsa.ErrTooLarge), rpctypes.ErrGRPCRequestTooLarge},
	{"never appended: time is up", balsa.ErrExpired, rpctypes.ErrGRPCTimeout},
	{"never appended: closed", balsa.ErrClosed, rpctypes.ErrGRPCStopped},
	{"never appended: fenced", fmt.Errorf("group 1: %w", balsa.ErrFenced), rpctypes.ErrGRPCStopped},
	{"the client went away", context.Canceled, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	{"the client's time is up", context.DeadlineExceeded, rpctypes.ErrGRPCTimeout},
	{"the API's own, wrapped", errors.Join(rpctypes.ErrGRPCCompacted), rpctypes.ErrGRPCCompacted},
	{"anything else", errors.New("anything else"), status.Error(codes.Unknown, "anything else")},
}

func TestE47E54E55ProposalErrorsInTheAPIsWords(t *testing.T) {
	for _, test := range proposalErrors {
		wantStatus(t, test.name, proposalError(test.err), test.want)
	}
}

// etcd's client resends what it is told had no effect. It must not resend a write whose outcome is unknown: that
// would apply it twice.
func TestE47E54ClientsDoNotResendAWriteOfUnknownOutcome(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	if _, err := client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	for _, test := range proposalErrors {
		member.group.answer(func(raft.Entry) ([]byte, error) { return nil, test.err })
		if again(test.err) {
			if errors.Is(test.err, balsa.ErrOutcomeUnknown) {
				t.Errorf("%s: this member itself would propose it again", test.name)
			}
			continue // never appended, and proposed again by this member until time is up
		}
		before := member.group.proposals.Load()
		_, err := client.Put(t.Context(), "k", "v")
		if err == nil {
			t.Errorf("%s: the put succeeded", test.name)
		}
		if n := member.group.proposals.Load() - before; n != 1 {
			t.Errorf("%s: proposed %d times", test.name, n)
		}
	}
}

// Between two leaders a write that was certainly not appended waits for the next leader, as it does in etcd.
func TestE49WritesWaitForTheNextLeader(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	apply := member.group.apply
	refusals := []error{balsa.ErrTransferring, &raft.NotLeaderError{}, balsa.ErrNoLeader}
	member.group.answer(func(entry raft.Entry) ([]byte, error) {
		if len(refusals) > 0 {
			err := refusals[0]
			refusals = refusals[1:]
			return nil, err
		}
		return apply(entry)
	})
	put, err := client.Put(t.Context(), "k", "v")
	wantHeader(t, "put", put.Header, err, 2)
	if n := member.group.proposals.Load(); n != 4 {
		t.Errorf("proposed %d times", n)
	}
}

func TestRequestsEndWhenTimeIsUp(t *testing.T) {
	kvs, group := newStore(t)
	group.answer(func(raft.Entry) ([]byte, error) { return nil, balsa.ErrNoLeader })
	group.read = func() error { return balsa.ErrNoLeader }
	_, address := start(t, Config{Group: group, Store: kvs, Limits: Limits{RequestTimeout: 20 * time.Millisecond}})
	kv := pb.NewKVClient(dial(t, address))
	_, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
	wantStatus(t, "put", err, rpctypes.ErrGRPCNoLeader)
	_, err = kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
	wantStatus(t, "range", err, rpctypes.ErrGRPCNoLeader)
	if _, err = kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k"), Serializable: true}); err != nil {
		t.Errorf("serializable range: %v", err)
	}
}

// A client that goes away does not wait, and a late answer for it disturbs nobody.
func TestClientThatGoesAway(t *testing.T) {
	member := startStore(t)
	kv := pb.NewKVClient(dial(t, member.address))
	proposed, answer := member.hold()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("late")})
		gone <- err
	}()
	<-proposed
	cancel()
	if err := <-gone; status.Code(err) != codes.Canceled {
		t.Errorf("the client got %v", err)
	}
	close(answer)
	for i := range 20 {
		put, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte("next")})
		wantHeader(t, "a later put", put.GetHeader(), err, int64(3+i))
	}
}

// A member that was restarted shows nothing older than what it showed before.
func TestE50NothingIsReadBeforeTheStoreHasCaughtUp(t *testing.T) {
	kvs, group := newStore(t)
	group.ready = make(chan struct{})
	s, address := start(t, Config{Group: group, Store: kvs, Limits: Limits{RequestTimeout: 10 * time.Millisecond}})
	conn := dial(t, address)
	kv, maintenance, cluster := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn), pb.NewClusterClient(conn)
	reads := map[string]func() error{
		"serializable range": func() error {
			_, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k"), Serializable: true})
			return err
		},
		"serializable range stream": func() error {
			stream, err := kv.RangeStream(t.Context(), &pb.RangeRequest{Key: []byte("k"), Serializable: true})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"serializable txn": func() error {
			_, err := kv.Txn(t.Context(), &pb.TxnRequest{})
			return err
		},
		"hash": func() error {
			_, err := maintenance.Hash(t.Context(), &pb.HashRequest{})
			return err
		},
		"hash of keys": func() error {
			_, err := maintenance.HashKV(t.Context(), &pb.HashKVRequest{})
			return err
		},
		"member list": func() error {
			_, err := cluster.MemberList(t.Context(), &pb.MemberListRequest{})
			return err
		},
		"liveness": func() error { return s.checkSerializableRead(t.Context()) },
	}
	for name, read := range reads {
		wantStatus(t, name, read(), rpctypes.ErrGRPCTimeoutWaitAppliedIndex)
	}
	close(group.ready)
	for name, read := range reads {
		if err := read(); err != nil {
			t.Errorf("%s once the store has caught up: %v", name, err)
		}
	}
}
