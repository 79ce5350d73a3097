package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func must(t testing.TB) func(raft.Entry, error) []byte {
	return func(entry raft.Entry, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return entry.Payload()
	}
}

// leaseCommands attach and detach keys in all ways that there are, and revoke two leases in the end.
func leaseCommands(t testing.TB) [][]byte {
	entry := must(t)
	put := func(key string, lease int64) []byte {
		return entry(EncodePut(&pb.PutRequest{Key: []byte(key), Lease: lease}))
	}
	return [][]byte{
		entry(EncodeLeaseGrant(&pb.LeaseGrantRequest{ID: 1, TTL: 10})),
		entry(EncodeLeaseGrant(&pb.LeaseGrantRequest{ID: 2, TTL: 20})),
		put("c", 1), put("moved", 1), put("detached", 1), put("deleted", 1), put("back", 1), put("a", 1), put("b", 1),
		put("moved", 2), put("detached", 0), put("back", 2), put("back", 1),
		entry(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("deleted")})),
		entry(EncodePut(&pb.PutRequest{Key: []byte("a"), IgnoreLease: true})),
		EncodeLeaseTick(1, 1000, 2).Payload(),
		entry(EncodeLeaseRevoke(&pb.LeaseRevokeRequest{ID: 1})),
	}
}

// A revocation deletes the lease's keys, and no other, in their order and at one revision; whether what attached and
// detached them is in the same batch or not.
func TestRevocationIsOneRevisionInTheOrderOfKeys(t *testing.T) {
	commands := leaseCommands(t)
	last := len(commands)
	for cut := range commands {
		f := newFixture(t, engine.NewMemory())
		for _, part := range [][2]int{{0, cut}, {cut, last}} {
			batch := &balsa.Batch{Position: balsa.Position{Index: balsa.Index(part[1]), Term: 1}}
			for i := part[0]; i < part[1]; i++ {
				batch.Commands = append(batch.Commands, balsa.Command{Index: balsa.Index(i + 1), Term: 1, Payload: commands[i]})
			}
			if err := f.store.Apply(batch); err != nil {
				t.Fatal(err)
			}
		}
		v := view{layout: f.store.layout, reader: f.engine}
		var deleted []string
		for sub := range uint32(4) {
			record, err := v.logged(revision{f.store.Revision(), sub})
			if err != nil || !record.tombstone {
				t.Fatalf("cut at %d: record %d of the last revision: %+v, %v", cut, sub, record, err)
			}
			deleted = append(deleted, string(record.key))
		}
		if err := v.close(); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(deleted) != "[a b back c]" {
			t.Errorf("cut at %d: deleted %v", cut, deleted)
		}
		left, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, KeysOnly: true})
		if err != nil || left.Count != 2 || left.Header.Revision != f.store.Revision() {
			t.Errorf("cut at %d: left %v, %v", cut, left, err)
		}
		if keys, err := f.store.LeaseKeys(2); err != nil || fmt.Sprint(keys) != "[moved]" {
			t.Errorf("cut at %d: the other lease has %v, %v", cut, keys, err)
		}
		if err := f.store.Verify(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// What a snapshot brings, the leader goes on with: the leases, their keys, and the clock.
func TestSnapshotsHoldLeases(t *testing.T) {
	from := newFixture(t, engine.NewMemory())
	commands := leaseCommands(t)
	for _, payload := range commands[:len(commands)-1] {
		from.index++
		batch := &balsa.Batch{
			Commands: []balsa.Command{{Index: from.index, Term: 1, Payload: payload}}, Position: balsa.Position{Index: from.index, Term: 1},
		}
		if err := from.store.Apply(batch); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := from.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	var stream bytes.Buffer
	if _, err := snapshot.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	to, err := OpenHome(engine.NewMemoryHome(), Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Restore(snapshot.Position(), &stream); err != nil {
		t.Fatal(err)
	}
	list := func(s *Store) (all []Lease, clock uint64) {
		clock = s.Leases(func(l Lease) bool { all = append(all, l); return true })
		return all, clock
	}
	got, gotClock := list(to)
	want, wantClock := list(from.store)
	if len(want) != 2 || fmt.Sprint(got, gotClock) != fmt.Sprint(want, wantClock) || wantClock != 1000 {
		t.Errorf("leases %v at %d, want %v at %d", got, gotClock, want, wantClock)
	}
	revoke := balsa.Command{Index: from.index + 1, Term: 1, Payload: commands[len(commands)-1]}
	for _, s := range []*Store{from.store, to} {
		if err := s.Apply(&balsa.Batch{Commands: []balsa.Command{revoke}, Position: balsa.Position{Index: revoke.Index, Term: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	gotDigest, _ := to.Digest()
	if wantDigest, _ := from.store.Digest(); gotDigest != wantDigest {
		t.Errorf("after a revocation the digests are %v and %v", gotDigest, wantDigest)
	}
}
