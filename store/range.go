package store

import (
	"bytes"
	"context"
	"math"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// moment is when a read happens: the current revision and the compact revision.
type moment struct{ revision, compacted int64 }

// readAt returns the revision that a request for the given one reads at, or why it cannot.
func (m moment) readAt(requested int64) (int64, error) {
	switch {
	case requested > m.revision:
		return 0, rpctypes.ErrGRPCFutureRev
	case requested <= 0:
		return m.revision, nil
	case requested < m.compacted:
		return 0, rpctypes.ErrGRPCCompacted
	}
	return requested, nil
}

// executeRange answers a range request. What it does with combinations of sort, filter and limit is what etcd does.
func executeRange(ctx context.Context, v *view, now moment, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if !validSort(r) {
		return nil, rpctypes.ErrGRPCInvalidSortOption
	}
	rev, err := now.readAt(r.Revision)
	if err != nil {
		return nil, err
	}
	s := selection{request: r, fetch: fetchLimit(r)}
	if err := s.gather(ctx, v, newInterval(r.Key, r.RangeEnd), rev); err != nil {
		return nil, err
	}
	response := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: now.revision}, Count: s.count}
	if r.CountOnly {
		return response, nil
	}
	if r.SortTarget == pb.RangeRequest_VALUE && sorted(r) {
		if err := v.loadAll(ctx, s.kept); err != nil {
			return nil, err
		}
	}
	s.sort()
	if r.Limit > 0 && int64(len(s.kept)) > r.Limit {
		s.kept = s.kept[:r.Limit]
		response.More = true
	}
	if !r.KeysOnly {
		if err := v.loadAll(ctx, s.kept); err != nil {
			return nil, err
		}
	}
	response.Kvs = s.keyValues()
	return response, nil
}

func validSort(r *pb.RangeRequest) bool {
	return r.SortOrder >= pb.RangeRequest_NONE && r.SortOrder <= pb.RangeRequest_DESCEND &&
		r.SortTarget >= pb.RangeRequest_KEY && r.SortTarget <= pb.RangeRequest_VALUE
}

// IsDefaultOrder reports whether a range asks for the order that it has anyway.
func IsDefaultOrder(r *pb.RangeRequest) bool {
	return r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
}

// HasRevisionFilters reports whether a range asks for keys of certain revisions only.
func HasRevisionFilters(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

// sorted reports whether the keys that were fetched are sorted. A target without an order sorts too, though the
// limit is then applied as if it did not: etcd's clients are used to that.
func sorted(r *pb.RangeRequest) bool {
	return !IsDefaultOrder(r) || r.SortTarget != pb.RangeRequest_KEY
}

// fetchLimit returns how many keys are fetched before filters and sorting: one more than are asked for, to know
// whether there are more, or 0 for all of them.
func fetchLimit(r *pb.RangeRequest) int64 {
	if r.Limit <= 0 || !IsDefaultOrder(r) || HasRevisionFilters(r) {
		return 0
	}
	if r.Limit == math.MaxInt64 {
		return r.Limit
	}
	return r.Limit + 1
}

// selection gathers what a range request asks for.
type selection struct {
	request *pb.RangeRequest
	fetch   int64 // see fetchLimit
	count   int64 // of keys in the range, whatever the filters and limits say
	kept    []found
}

// gather scans an interval up to the last key that may be in the answer; what comes after it is counted.
func (s *selection) gather(ctx context.Context, v *view, in interval, rev int64) (err error) {
	if s.request.CountOnly {
		s.count, err = v.count(ctx, in, rev)
		return err
	}
	if err := v.scan(ctx, in, rev, s.visit); err != nil || in.single || !s.full() {
		return err
	}
	after := append(bytes.Clone(s.kept[len(s.kept)-1].key), 0)
	rest, err := v.count(ctx, interval{start: after, end: in.end}, rev)
	s.count += rest
	return err
}

func (s *selection) visit(f *found) (bool, error) {
	s.count++
	if !s.filtered(f) {
		f.key = bytes.Clone(f.key)
		s.kept = append(s.kept, *f)
	}
	return !s.full(), nil
}

// full reports whether nothing that comes now can be in the answer.
func (s *selection) full() bool {
	n := int64(len(s.kept))
	return s.fetch > 0 && n >= s.fetch || s.request.Limit > 0 && n > s.request.Limit && !sorted(s.request)
}

func (s *selection) filtered(f *found) bool {
	r := s.request
	return r.MaxModRevision != 0 && f.at.main > r.MaxModRevision ||
		r.MinModRevision != 0 && f.at.main < r.MinModRevision ||
		r.MaxCreateRevision != 0 && f.created > r.MaxCreateRevision ||
		r.MinCreateRevision != 0 && f.created < r.MinCreateRevision
}

// sort sorts what was kept. Of keys that compare equal the order is that of the standard library's sort, as in etcd.
func (s *selection) sort() {
	if !sorted(s.request) {
		return
	}
	by := byTarget{s.kept, s.request.SortTarget}
	if s.request.SortOrder == pb.RangeRequest_DESCEND {
		sort.Sort(sort.Reverse(by))
	} else {
		sort.Sort(by)
	}
}

type byTarget struct {
	kept   []found
	target pb.RangeRequest_SortTarget
}

func (b byTarget) Len() int      { return len(b.kept) }
func (b byTarget) Swap(i, j int) { b.kept[i], b.kept[j] = b.kept[j], b.kept[i] }
func (b byTarget) Less(i, j int) bool {
	x, y := &b.kept[i], &b.kept[j]
	switch b.target {
	case pb.RangeRequest_VERSION:
		return x.count < y.count
	case pb.RangeRequest_CREATE:
		return x.created < y.created
	case pb.RangeRequest_MOD:
		return x.at.main < y.at.main
	case pb.RangeRequest_VALUE:
		return bytes.Compare(x.value, y.value) < 0
	}
	return bytes.Compare(x.key, y.key) < 0
}

// keyValues makes the answer. Of keys without values etcd leaves out the lease too, unless they are sorted by value.
func (s *selection) keyValues() []*mvccpb.KeyValue {
	kvs := make([]*mvccpb.KeyValue, len(s.kept))
	all := make([]mvccpb.KeyValue, len(s.kept))
	for i := range s.kept {
		f, kv := &s.kept[i], &all[i]
		kv.Key, kv.CreateRevision, kv.ModRevision, kv.Version = f.key, f.created, f.at.main, f.count
		if !s.request.KeysOnly {
			kv.Value = f.value
		}
		if !s.request.KeysOnly || s.request.SortTarget == pb.RangeRequest_VALUE {
			kv.Lease = f.lease
		}
		kvs[i] = kv
	}
	return kvs
}

// keyValue returns a version with its value, which must be loaded.
func (f *found) keyValue() *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: f.key, CreateRevision: f.created, ModRevision: f.at.main, Version: f.count, Lease: f.lease, Value: f.value,
	}
}

func (v *view) loadAll(ctx context.Context, all []found) error {
	for i := range all {
		if i%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := v.load(&all[i]); err != nil {
			return err
		}
	}
	return nil
}
