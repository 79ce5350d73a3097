package store

import (
	"slices"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// modelLease is a lease of the naive twin, which has no list of a lease's keys: it looks through all keys.
type modelLease struct {
	ttl      int64
	renewed  balsa.Index
	deadline uint64 // 0: until the next tick
}

func (m *model) grant(r *pb.LeaseGrantRequest, at balsa.Index) (*pb.LeaseGrantResponse, error) {
	if r.TTL > MaxLeaseTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	if _, exists := m.leases[r.ID]; exists {
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	m.leases[r.ID] = modelLease{ttl: r.TTL, renewed: at}
	return &pb.LeaseGrantResponse{Header: &pb.ResponseHeader{Revision: m.revision}, ID: r.ID, TTL: r.TTL}, nil
}

func (m *model) attached(id int64) (keys []string) {
	for _, kv := range m.keys([]byte{0}, []byte{0}, m.revision) {
		if kv.Lease == id {
			keys = append(keys, string(kv.Key))
		}
	}
	return keys
}

func (m *model) revoke(id int64) (*pb.LeaseRevokeResponse, error) {
	if _, exists := m.leases[id]; !exists {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	keys, w := m.attached(id), m.begin()
	for _, key := range keys {
		w.change(event{kv: &mvccpb.KeyValue{Key: []byte(key)}, deleted: true})
	}
	delete(m.leases, id)
	return &pb.LeaseRevokeResponse{Header: &pb.ResponseHeader{Revision: m.revision}}, nil
}

func (m *model) expire(term balsa.Term, id int64, renewed balsa.Index) (*pb.LeaseRevokeResponse, error) {
	l, exists := m.leases[id]
	if term != 1 || exists && l.renewed != renewed {
		return nil, ErrStale
	}
	return m.revoke(id)
}

// drawLease draws an id of the few that there are. Both signs have neighbours in the order of the records.
func drawLease(t *rapid.T) int64 {
	return rapid.SampledFrom([]int64{1, 2, 256, -1, 1<<63 - 1}).Draw(t, "lease")
}

func (d *duel) next() balsa.Index { return balsa.Index(len(d.log) + 1) }

func (d *duel) grant(t *rapid.T) {
	r := &pb.LeaseGrantRequest{ID: drawLease(t), TTL: rapid.SampledFrom([]int64{1, 2, 60, MaxLeaseTTL, MaxLeaseTTL + 1}).Draw(t, "ttl")}
	entry, err := EncodeLeaseGrant(r)
	want, wantErr := d.model.grant(r, d.next())
	d.command(t, entry, err, want, wantErr)
}

func (d *duel) revoke(t *rapid.T) {
	r := &pb.LeaseRevokeRequest{ID: drawLease(t)}
	entry, err := EncodeLeaseRevoke(r)
	want, wantErr := d.model.revoke(r.ID)
	d.command(t, entry, err, want, wantErr)
}

// expire is made by a leader of this term or of one before, which knows of the last renewal or of one before.
func (d *duel) expire(t *rapid.T) {
	id, term := drawLease(t), balsa.Term(rapid.IntRange(0, 3).Draw(t, "term"))
	if term > 1 {
		term = 1
	}
	renewed := d.model.leases[id].renewed
	if rapid.IntRange(0, 2).Draw(t, "late") == 0 {
		renewed--
	}
	want, wantErr := d.model.expire(term, id, renewed)
	d.command(t, EncodeLeaseExpire(term, id, renewed), nil, want, wantErr)
}

func (d *duel) renew(t *rapid.T) {
	ids := rapid.SliceOfN(rapid.Custom(drawLease), 1, 4).Draw(t, "ids")
	var want []int64
	for _, id := range ids {
		l, exists := d.model.leases[id]
		if exists {
			d.model.leases[id] = modelLease{ttl: l.ttl, renewed: d.next()}
		}
		want = append(want, l.ttl)
	}
	d.apply(t, EncodeLeaseRenew(ids))
	revision, got, err := DecodeLeaseRenew(d.results[len(d.results)-1])
	if err != nil || !slices.Equal(got, want) || revision != d.model.revision {
		t.Fatalf("renewing %v: %v at revision %d, %v; want %v", ids, got, revision, err, want)
	}
}

func (d *duel) tick(t *rapid.T) {
	clock := uint64(max(0, int64(d.model.clock)+rapid.Int64Range(-1, 3000).Draw(t, "elapsed")))
	known := d.next() - min(d.next(), balsa.Index(rapid.IntRange(1, 3).Draw(t, "known")))
	got, err := d.apply(t, EncodeLeaseTick(1, clock, known))
	if clock < d.model.clock {
		compare(t, got, err, nil, ErrStale)
		return
	}
	compare(t, got, err, &pb.LeaseCheckpointResponse{Header: &pb.ResponseHeader{Revision: d.model.revision}}, nil)
	d.model.clock = clock
	for id, l := range d.model.leases {
		if l.deadline == 0 && l.renewed <= known {
			l.deadline = clock + uint64(l.ttl)*1000
			d.model.leases[id] = l
		}
	}
}

// apply applies a command alone.
func (d *duel) apply(t *rapid.T, entry raft.Entry) (proto.Message, error) {
	d.log = append(d.log, entry)
	last := balsa.Index(len(d.log))
	b := d.batchOf(last, last)
	if err := d.store.Apply(b); err != nil {
		t.Fatal(err)
	}
	d.results = append(d.results, b.Commands[0].Result)
	return DecodeResult(CommandKind(entry.Payload()), b.Commands[0].Result)
}

// checkLeases compares all leases and their keys.
func (d *duel) checkLeases(t *rapid.T) {
	n := 0
	clock := d.store.Leases(func(l Lease) bool {
		n++
		want, exists := d.model.leases[l.ID]
		remaining := time.Duration(want.ttl) * time.Second
		if want.deadline != 0 {
			remaining = time.Duration(int64(want.deadline-d.model.clock)) * time.Millisecond
		}
		if !exists || l.TTL != time.Duration(want.ttl)*time.Second || l.Renewed != want.renewed || l.Remaining != remaining {
			t.Fatalf("lease %+v, want %+v at %d", l, want, d.model.clock)
		}
		return true
	})
	if n != len(d.model.leases) || d.store.LeaseCount() != n || clock != d.model.clock {
		t.Fatalf("%d leases at %d, want %d at %d", n, clock, len(d.model.leases), d.model.clock)
	}
	for _, id := range []int64{1, 2, 256, -1, 1<<63 - 1} {
		keys, err := d.store.LeaseKeys(id)
		if want := d.model.attached(id); err != nil || !slices.Equal(keys, want) {
			t.Fatalf("lease %d has the keys %q, %v; want %q", id, keys, err, want)
		}
	}
}
