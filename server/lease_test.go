package server

import (
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

func TestLeases(t *testing.T) {
	client := newClient(t, startStore(t).address)
	ctx := t.Context()
	granted, err := client.Grant(ctx, 60)
	if err != nil || granted.ID <= 0 || granted.TTL != 60 || granted.Revision != 1 || granted.MemberId != 1 || granted.RaftTerm != 3 {
		t.Fatalf("granted %+v, %v", granted, err)
	}
	for i, key := range []string{"b", "a", "c"} {
		put, err := client.Put(ctx, key, "v", clientv3.WithLease(granted.ID))
		wantHeader(t, "put with a lease", put.Header, err, int64(i+2))
	}
	if _, err := client.Put(ctx, "c", "detached"); err != nil {
		t.Fatal(err)
	}
	ttl, err := client.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil || ttl.TTL < 59 || ttl.TTL > 60 || ttl.GrantedTTL != 60 || fmt.Sprintf("%s", ttl.Keys) != "[a b]" {
		t.Errorf("time to live %+v, %v", ttl, err)
	}
	kept, err := client.KeepAliveOnce(ctx, granted.ID)
	if err != nil || kept.TTL != 60 || kept.ID != granted.ID || kept.Revision != 5 {
		t.Errorf("kept alive: %+v, %v", kept, err)
	}
	other, err := client.Grant(ctx, 30)
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.Leases(ctx)
	if err != nil || !slices.Equal(list.Leases, []clientv3.LeaseStatus{{ID: other.ID}, {ID: granted.ID}}) {
		t.Errorf("leases %+v, %v", list, err)
	}
	revoked, err := client.Revoke(ctx, granted.ID)
	if err != nil || revoked.Header.Revision != 6 {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
	get, err := client.Get(ctx, "", clientv3.WithPrefix())
	if err != nil || len(get.Kvs) != 1 || string(get.Kvs[0].Key) != "c" {
		t.Errorf("left are %v, %v", get, err)
	}
	if gone, err := client.TimeToLive(ctx, granted.ID); err != nil || gone.TTL != -1 || gone.GrantedTTL != 0 {
		t.Errorf("time to live of a revoked lease: %+v, %v", gone, err)
	}
	if empty, err := client.Revoke(ctx, other.ID); err != nil || empty.Header.Revision != 6 {
		t.Errorf("a lease without keys: %+v, %v", empty, err)
	}
}

// What is refused, and in whose words.
func TestLeaseErrors(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	leases := pb.NewLeaseClient(dial(t, member.address))
	ctx := t.Context()
	if granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: -5}); err != nil || granted.TTL != 2 || granted.ID != 7 {
		t.Errorf("granted %v, %v", granted, err)
	}
	_, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 10})
	wantStatus(t, "the same id again", err, rpctypes.ErrGRPCLeaseExist)
	_, err = leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: store.MaxLeaseTTL + 1})
	wantStatus(t, "for too long", err, rpctypes.ErrGRPCLeaseTTLTooLarge)
	_, err = client.Revoke(ctx, 8)
	wantError(t, "revoking what is not there", err, rpctypes.ErrLeaseNotFound)
	_, err = client.KeepAliveOnce(ctx, 8)
	wantError(t, "keeping alive what is not there", err, rpctypes.ErrLeaseNotFound)
	_, err = client.Put(ctx, "k", "v", clientv3.WithLease(8))
	wantError(t, "a put with an unknown lease", err, rpctypes.ErrLeaseNotFound)
	_, err = client.Txn(ctx).Then(clientv3.OpPut("a", ""), clientv3.OpPut("k", "v", clientv3.WithLease(8))).Commit()
	wantError(t, "a transaction with an unknown lease", err, rpctypes.ErrLeaseNotFound)
	if _, err := client.Put(ctx, "k", "v", clientv3.WithLease(7)); err != nil {
		t.Error(err)
	}
	if _, err := client.Put(ctx, "k", "w", clientv3.WithIgnoreLease()); err != nil {
		t.Error(err)
	}
	get, err := client.Get(ctx, "k")
	if err != nil || get.Kvs[0].Lease != 7 || get.Header.Revision != 3 {
		t.Errorf("got %v, %v", get, err)
	}
}

// An id that a lease has already is not given to another.
func TestChosenLeaseIDsAreFree(t *testing.T) {
	member := startStore(t)
	client, apply, others := newClient(t, member.address), member.group.apply, 0
	member.group.answer(func(entry raft.Entry) ([]byte, error) {
		if others++; others == 1 { // somebody else is granted this very id just before
			apply(entry)
		}
		return apply(entry)
	})
	granted, err := client.Grant(t.Context(), 10)
	if err != nil || member.store.LeaseCount() != 2 {
		t.Errorf("%+v, %v; %d leases", granted, err, member.store.LeaseCount())
	}
}

// Many keep-alives of one stream share commands, and are answered in their order.
func TestKeepAlivesShareCommands(t *testing.T) {
	kvs, group := newStore(t)
	s, address := start(t, Config{Group: group, Store: kvs, LeaseTick: time.Hour})
	member := &storeMember{server: s, store: kvs, group: group, address: address}
	leases := pb.NewLeaseClient(dial(t, member.address))
	for id := range int64(3) {
		if _, err := leases.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: id + 1, TTL: 100 * (id + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := leases.LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun, proceed := member.hold()
	ask := func(id int64) {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	before := member.group.proposals.Load()
	ask(1)
	<-begun // a command is on its way: what comes now shares the next
	const n = 300
	for i := range int64(n) {
		ask(i%5 + 1)
	}
	stream.CloseSend()
	close(proceed)
	want := func(id int64) {
		t.Helper()
		answer, err := stream.Recv()
		ttl := 100 * id
		if id > 3 {
			ttl = 0
		}
		if err != nil || answer.ID != id || answer.TTL != ttl || answer.Header.Revision != 1 || answer.Header.MemberId != 1 {
			t.Fatalf("lease %d: %v, %v", id, answer, err)
		}
	}
	want(1)
	for i := range int64(n) {
		want(i%5 + 1)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Errorf("the stream ended with %v", err)
	}
	if commands := member.group.proposals.Load() - before; commands > n/3 {
		t.Errorf("%d keep-alives took %d commands", n+1, commands)
	}
}

// A stream that asks for a leader ends where there is none for long, and each does when the server stops.
func TestKeepAliveStreamsEnd(t *testing.T) {
	member := startStore(t)
	leases := pb.NewLeaseClient(dial(t, member.address))
	stream, err := leases.LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || answer.TTL != 0 {
		t.Fatal(answer, err)
	}
	if err := member.server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("a keep-alive was answered by a server that is stopped")
	}
}
