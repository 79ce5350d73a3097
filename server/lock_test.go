package server

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/balsadb/balsa/server/internal/v3electionpb"
	"github.com/balsadb/balsa/server/internal/v3lockpb"
	"github.com/balsadb/balsa/store"
)

// contender calls the Lock and Election services like a client in a language that has no package concurrency.
type contender struct {
	t     *testing.T
	conn  *grpc.ClientConn
	lease int64
}

func newContender(t *testing.T, address string, lease int64) *contender {
	c := &contender{t: t, conn: dial(t, address), lease: lease}
	_, err := pb.NewLeaseClient(c.conn).LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: lease, TTL: 60})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *contender) lock(ctx context.Context, name string) (*v3lockpb.LockResponse, error) {
	response := new(v3lockpb.LockResponse)
	return response, c.conn.Invoke(ctx, "/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: []byte(name), Lease: c.lease}, response)
}

func (c *contender) unlock(key []byte) error {
	return c.conn.Invoke(c.t.Context(), "/v3lockpb.Lock/Unlock", &v3lockpb.UnlockRequest{Key: key}, &v3lockpb.UnlockResponse{})
}

func (c *contender) call(method string, request, response any) error {
	return c.conn.Invoke(c.t.Context(), "/v3electionpb.Election/"+method, request, response)
}

// contending starts a call that has to wait, and returns once it does: once its key is in the queue.
func (c *contender) contending(member *storeMember, name string, call func() error) chan error {
	c.t.Helper()
	done := make(chan error, 1)
	client := newClient(c.t, member.address)
	key := fmt.Sprintf("%s/%x", name, c.lease)
	watch := client.Watch(c.t.Context(), key, clientv3.WithRev(2))
	go func() { done <- call() }()
	for response := range watch {
		if len(response.Events) > 0 {
			break
		}
	}
	select {
	case err := <-done:
		c.t.Fatalf("%s was given away twice: %v", name, err)
	default:
	}
	return done
}

// feedsStore tells of each feed that is made.
type feedsStore struct {
	*store.Store
	made chan struct{}
}

func (s *feedsStore) NewFeed(wake func()) *store.Feed {
	s.made <- struct{}{}
	return s.Store.NewFeed(wake)
}

// A lock is held by one, and passes on in the order in which it was asked for, when it is given back and when a lease ends; who gave up is
// not in anybody's way.
func TestLocksPassOnInOrder(t *testing.T) {
	kvs, group := newStore(t)
	feeds := make(chan struct{}, 100)
	s, address := start(t, Config{Group: group, Store: &feedsStore{kvs, feeds}})
	member := &storeMember{server: s, store: kvs, group: group, address: address}
	ctx := t.Context()
	var all []*contender
	for lease := range int64(5) {
		all = append(all, newContender(t, member.address, lease+0x10))
	}
	first, err := all[0].lock(ctx, "l")
	if err != nil || string(first.Key) != "l/10" || first.Header.Revision != 2 || first.Header.MemberId != 1 {
		t.Fatal(first, err)
	}
	if again, err := all[0].lock(ctx, "l"); err != nil || string(again.Key) != "l/10" {
		t.Errorf("the holder asks again: %v, %v", again, err)
	}
	gone, cancel := context.WithCancel(ctx)
	var waiting []chan error
	for i, c := range all[1:] {
		ctx := ctx
		if i == 1 {
			ctx = gone
		}
		waiting = append(waiting, c.contending(member, "l", func() error { _, err := c.lock(ctx, "l"); return err }))
		<-feeds // of contending
		<-feeds // of the lock: now it waits, and no sooner
	}
	cancel()
	if err := <-waiting[1]; err == nil {
		t.Error("a lock was given to who had gone")
	}
	if err := all[0].unlock(first.Key); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting[0]; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waiting[2]:
		t.Fatalf("two hold the lock: %v", err)
	default:
	}
	for i := range int64(2) { // holders that lose their leases: 0x11, then 0x13
		if _, err := pb.NewLeaseClient(all[0].conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 0x11 + 2*i}); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting[2+i]; err != nil {
			t.Fatal(err)
		}
	}
}

// Who loses its lease while it waits does not get the lock.
func TestALockIsNotGivenToWhoHasNoLease(t *testing.T) {
	member := startStore(t)
	holder, other := newContender(t, member.address, 1), newContender(t, member.address, 2)
	held, err := holder.lock(t.Context(), "l")
	if err != nil {
		t.Fatal(err)
	}
	waiting := other.contending(member, "l", func() error { _, err := other.lock(t.Context(), "l"); return err })
	if _, err := pb.NewLeaseClient(other.conn).LeaseRevoke(t.Context(), &pb.LeaseRevokeRequest{ID: 2}); err != nil {
		t.Fatal(err)
	}
	if err := holder.unlock(held.Key); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "a lock without a lease", <-waiting, errSessionExpired)
	other.lease = 77
	_, err = other.lock(t.Context(), "l")
	wantStatus(t, "a lock with an unknown lease", err, rpctypes.ErrGRPCLeaseNotFound)
	other.lease = 0
	if own, err := other.lock(t.Context(), "l"); err != nil || member.store.LeaseCount() != 2 {
		t.Errorf("a lock that brings its lease: %v, %v", own, err)
	}
}

func TestElections(t *testing.T) {
	member := startStore(t)
	one, two := newContender(t, member.address, 1), newContender(t, member.address, 2)
	name := []byte("e")
	wantStatus(t, "nobody is elected", one.call("Leader", &v3electionpb.LeaderRequest{Name: name}, &v3electionpb.LeaderResponse{}), errNobodyElected)
	for _, method := range []string{"Proclaim", "Resign"} { // the messages agree in what matters here
		wantStatus(t, method, one.call(method, &v3electionpb.ResignRequest{}, &v3electionpb.ResignResponse{}), errMissingLeaderKey)
	}
	stream, err := two.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
	if err == nil {
		err = stream.SendMsg(&v3electionpb.LeaderRequest{Name: name})
	}
	if err != nil {
		t.Fatal(err)
	}
	observe := func(key, value string) {
		t.Helper()
		seen := &v3electionpb.LeaderResponse{}
		if err := stream.RecvMsg(seen); err != nil || string(seen.Kv.Key) != key || string(seen.Kv.Value) != value {
			t.Fatalf("observed %v, %v, want %s of %s", seen, err, value, key)
		}
	}
	elected := &v3electionpb.CampaignResponse{}
	if err := one.call("Campaign", &v3electionpb.CampaignRequest{Name: name, Lease: 1, Value: []byte("a")}, elected); err != nil {
		t.Fatal(err)
	}
	observe("e/1", "a")
	next := &v3electionpb.CampaignResponse{}
	waiting := two.contending(member, "e", func() error {
		return two.call("Campaign", &v3electionpb.CampaignRequest{Name: name, Lease: 2, Value: []byte("b")}, next)
	})
	proclaim := &v3electionpb.ProclaimRequest{Leader: elected.Leader, Value: []byte("c")}
	if err := one.call("Proclaim", proclaim, &v3electionpb.ProclaimResponse{}); err != nil {
		t.Fatal(err)
	}
	observe("e/1", "c")
	if err := one.call("Resign", &v3electionpb.ResignRequest{Leader: elected.Leader}, &v3electionpb.ResignResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil || next.Leader.Rev <= elected.Leader.Rev {
		t.Fatalf("the next one: %v, %v", next, err)
	}
	observe("e/2", "b")
	wantStatus(t, "who has resigned", one.call("Proclaim", proclaim, &v3electionpb.ProclaimResponse{}), errNotElected)
	leader := &v3electionpb.LeaderResponse{}
	if err := one.call("Leader", &v3electionpb.LeaderRequest{Name: name}, leader); err != nil || string(leader.Kv.Value) != "b" {
		t.Errorf("elected is %v, %v", leader, err)
	}
	if err := member.server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stream.RecvMsg(leader); err == nil || err == io.EOF {
		t.Errorf("the stream of a stopped server ended with %v", err)
	}
}

// etcd's package concurrency and the services stand in the same queues.
func TestPackageConcurrency(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	session, err := concurrency.NewSession(client, concurrency.WithTTL(60))
	if err != nil {
		t.Fatal(err)
	}
	mutex := concurrency.NewMutex(session, "l")
	if err := mutex.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := newContender(t, member.address, 2)
	waiting := other.contending(member, "l", func() error { _, err := other.lock(t.Context(), "l"); return err })
	if err := mutex.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	if err := mutex.TryLock(t.Context()); err != concurrency.ErrLocked {
		t.Errorf("a lock that somebody holds: %v", err)
	}
	election := concurrency.NewElection(session, "e")
	if err := election.Campaign(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	if leader, err := election.Leader(t.Context()); err != nil || string(leader.Kvs[0].Value) != "v" {
		t.Errorf("elected is %v, %v", leader, err)
	}
	_, err = concurrency.NewSTM(client, func(stm concurrency.STM) error { stm.Put("n", stm.Get("n")+"x"); return nil })
	if err != nil {
		t.Error(err)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-session.Done():
	case <-time.After(10 * time.Second):
		t.Error("the session goes on without its lease")
	}
	if get, err := client.Get(t.Context(), "e/", clientv3.WithPrefix()); err != nil || get.Count != 0 {
		t.Errorf("an election outlives its session: %v, %v", get, err)
	}
}
