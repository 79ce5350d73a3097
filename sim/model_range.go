package sim

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// modelMoment is when something is read: the current revision then, and the compact revision.
type modelMoment struct{ revision, compacted int64 }

func (m *model) moment() modelMoment { return modelMoment{m.revision, m.compacted} }

// rangeAt answers a range.
func (m *model) rangeAt(now modelMoment, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	at := r.Revision
	switch {
	case r.SortOrder < 0 || r.SortOrder > pb.RangeRequest_DESCEND || r.SortTarget < 0 || r.SortTarget > pb.RangeRequest_VALUE:
		return nil, rpctypes.ErrGRPCInvalidSortOption
	case at > now.revision:
		return nil, rpctypes.ErrGRPCFutureRev
	case at <= 0:
		at = now.revision
	case at < now.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	pairs := m.within(r.Key, r.RangeEnd, at)
	response := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: now.revision}, Count: int64(len(pairs))}
	if r.CountOnly {
		return response, nil
	}
	pairs = selectPairs(r, pairs)
	if limit := r.Limit; limit > 0 && int64(len(pairs)) > limit {
		pairs, response.More = pairs[:limit], true
	}
	for _, pair := range pairs {
		if r.KeysOnly {
			bare := &mvccpb.KeyValue{Key: pair.Key, CreateRevision: pair.CreateRevision, ModRevision: pair.ModRevision, Version: pair.Version}
			if r.SortTarget == pb.RangeRequest_VALUE {
				bare.Lease = pair.Lease
			}
			pair = bare
		}
		response.Kvs = append(response.Kvs, pair)
	}
	return response, nil
}

// selectPairs filters and sorts, as etcd does: where nothing is sorted by an order, the limit comes before the rest.
func selectPairs(r *pb.RangeRequest, pairs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	plain := r.SortOrder == pb.RangeRequest_NONE || r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	filters := [...]struct{ least, most int64 }{{r.MinModRevision, r.MaxModRevision}, {r.MinCreateRevision, r.MaxCreateRevision}}
	if plain && filters[0] == filters[1] && filters[0].least == 0 && filters[0].most == 0 && r.Limit > 0 && r.Limit < math.MaxInt64 {
		pairs = pairs[:min(int64(len(pairs)), r.Limit+1)]
	}
	pairs = slices.DeleteFunc(pairs, func(pair *mvccpb.KeyValue) bool {
		for i, at := range [...]int64{pair.ModRevision, pair.CreateRevision} {
			if filters[i].least != 0 && at < filters[i].least || filters[i].most != 0 && at > filters[i].most {
				return true
			}
		}
		return false
	})
	if !plain || r.SortTarget != pb.RangeRequest_KEY {
		var by sort.Interface = pairsBy{pairs, r.SortTarget}
		if r.SortOrder == pb.RangeRequest_DESCEND {
			by = sort.Reverse(by)
		}
		sort.Sort(by)
	}
	return pairs
}

// pairsBy sorts with the standard library's algorithm, which says where equal ones end up.
type pairsBy struct {
	pairs  []*mvccpb.KeyValue
	target pb.RangeRequest_SortTarget
}

func (p pairsBy) Len() int      { return len(p.pairs) }
func (p pairsBy) Swap(i, j int) { p.pairs[i], p.pairs[j] = p.pairs[j], p.pairs[i] }

func (p pairsBy) Less(i, j int) bool {
	a, b := p.pairs[i], p.pairs[j]
	switch p.target {
	case pb.RangeRequest_VERSION:
		return a.Version < b.Version
	case pb.RangeRequest_CREATE:
		return a.CreateRevision < b.CreateRevision
	case pb.RangeRequest_MOD:
		return a.ModRevision < b.ModRevision
	case pb.RangeRequest_VALUE:
		return bytes.Compare(a.Value, b.Value) < 0
	}
	return bytes.Compare(a.Key, b.Key) < 0
}

// compare says whether a comparison of a transaction holds at a revision: for all keys of its range, or for one that is not there.
func (m *model) compare(c *pb.Compare, revision int64) bool {
	pairs := m.within(c.Key, c.RangeEnd, revision)
	if len(pairs) == 0 {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		pairs = []*mvccpb.KeyValue{{}}
	}
	for _, pair := range pairs {
		var order int
		switch c.Target {
		case pb.Compare_VALUE:
			order = bytes.Compare(pair.Value, c.GetValue())
		case pb.Compare_VERSION:
			order = cmp.Compare(pair.Version, c.GetVersion())
		case pb.Compare_CREATE:
			order = cmp.Compare(pair.CreateRevision, c.GetCreateRevision())
		case pb.Compare_MOD:
			order = cmp.Compare(pair.ModRevision, c.GetModRevision())
		case pb.Compare_LEASE:
			order = cmp.Compare(pair.Lease, c.GetLease())
		}
		holds := map[pb.Compare_CompareResult]bool{
			pb.Compare_EQUAL: order == 0, pb.Compare_NOT_EQUAL: order != 0, pb.Compare_GREATER: order > 0, pb.Compare_LESS: order < 0,
		}
		if !holds[c.Result] {
			return false
		}
	}
	return true
}
