package store

import (
	"bytes"
	"math"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// model is the naive twin of a store: the list of everything that ever happened, and answers by going through it.
type model struct {
	revision, compacted int64
	history             []event
	leases              map[int64]modelLease
	clock               uint64
}

type event struct {
	kv      *mvccpb.KeyValue // of a deletion: key and mod revision
	deleted bool
}

func newModel() *model {
	return &model{revision: 1, compacted: -1, leases: map[int64]modelLease{}}
}

// live returns the key's value as of a revision, nil where it has none.
func (m *model) live(key []byte, rev int64) *mvccpb.KeyValue {
	for _, e := range slices.Backward(m.history) {
		if e.kv.ModRevision <= rev && bytes.Equal(e.kv.Key, key) {
			if e.deleted {
				return nil
			}
			return proto.Clone(e.kv).(*mvccpb.KeyValue)
		}
	}
	return nil
}

// keys returns all live keys of a range in order.
func (m *model) keys(key, end []byte, rev int64) []*mvccpb.KeyValue {
	in := func(k []byte) bool {
		switch {
		case len(end) == 0:
			return bytes.Equal(k, key)
		case len(end) == 1 && end[0] == 0:
			return bytes.Compare(k, key) >= 0
		}
		return bytes.Compare(k, key) >= 0 && bytes.Compare(k, end) < 0
	}
	var names []string
	for _, e := range m.history {
		if in(e.kv.Key) {
			names = append(names, string(e.kv.Key))
		}
	}
	slices.Sort(names)
	var kvs []*mvccpb.KeyValue
	for _, name := range slices.Compact(names) {
		if kv := m.live([]byte(name), rev); kv != nil {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

func (m *model) rangeKeys(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	rev := r.Revision
	switch {
	case rev > m.revision:
		return nil, rpctypes.ErrGRPCFutureRev
	case rev <= 0:
		rev = m.revision
	case rev < m.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	kvs := m.keys(r.Key, r.RangeEnd, rev)
	response := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: m.revision}, Count: int64(len(kvs))}
	if r.CountOnly {
		return response, nil
	}
	plain := r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	filters := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if plain && !filters && r.Limit > 0 && r.Limit < math.MaxInt64 && int64(len(kvs)) > r.Limit+1 {
		kvs = kvs[:r.Limit+1]
	}
	kvs = slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool {
		return r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision
	})
	sortModel(kvs, r)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, response.More = kvs[:r.Limit], true
	}
	for _, kv := range kvs {
		if r.KeysOnly {
			kv.Value = nil
			if r.SortTarget != pb.RangeRequest_VALUE {
				kv.Lease = 0
			}
		}
	}
	response.Kvs = kvs
	return response, nil
}

type modelSort struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) bool
}

func (s modelSort) Len() int           { return len(s.kvs) }
func (s modelSort) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s modelSort) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) }

func sortModel(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	order := r.SortOrder
	if order == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		order = pb.RangeRequest_ASCEND
	}
	less := map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) bool{
		pb.RangeRequest_KEY:     func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Key, b.Key) < 0 },
		pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) bool { return a.Version < b.Version },
		pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) bool { return a.CreateRevision < b.CreateRevision },
		pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) bool { return a.ModRevision < b.ModRevision },
		pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Value, b.Value) < 0 },
	}[r.SortTarget]
	switch order {
	case pb.RangeRequest_ASCEND:
		sort.Sort(modelSort{kvs, less})
	case pb.RangeRequest_DESCEND:
		sort.Sort(sort.Reverse(modelSort{kvs, less}))
	}
}

// writing is a command in progress: it has its main revision once it has changed something.
type writing struct {
	*model
	before int
	rev    int64
}

func (m *model) begin() *writing { return &writing{m, len(m.history), m.revision} }

func (w *writing) change(e event) {
	w.revision = w.rev + 1
	e.kv.ModRevision = w.revision
	w.history = append(w.history, e)
}

func (w *writing) rollback() {
	w.history, w.revision = w.history[:w.before], w.rev
}

func (w *writing) put(r *pb.PutRequest) (*pb.PutResponse, error) {
	previous := w.live(r.Key, math.MaxInt64)
	if (r.IgnoreValue || r.IgnoreLease) && previous == nil {
		return nil, rpctypes.ErrGRPCKeyNotFound
	}
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease, CreateRevision: w.rev + 1, Version: 1}
	if previous != nil {
		kv.CreateRevision, kv.Version = previous.CreateRevision, previous.Version+1
		if r.IgnoreValue {
			kv.Value = previous.Value
		}
		if r.IgnoreLease {
			kv.Lease = previous.Lease
		}
	}
	w.change(event{kv: kv})
	response := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: w.revision}}
	if r.PrevKv {
		response.PrevKv = previous
	}
	return response, nil
}

func (w *writing) deleteRange(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	kvs := w.keys(r.Key, r.RangeEnd, math.MaxInt64)
	for _, kv := range kvs {
		w.change(event{kv: &mvccpb.KeyValue{Key: kv.Key}, deleted: true})
	}
	response := &pb.DeleteRangeResponse{
		Header: &pb.ResponseHeader{Revision: w.revision}, Deleted: int64(len(kvs)),
	}
	if r.PrevKv {
		response.PrevKvs = kvs
	}
	return response
}

func (m *model) put(r *pb.PutRequest) (*pb.PutResponse, error) {
	if _, exists := m.leases[r.Lease]; r.Lease != 0 && !exists {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	return m.begin().put(r)
}

func (m *model) deleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return m.begin().deleteRange(r), nil
}

func (m *model) compact(rev int64) (*pb.CompactionResponse, error) {
	if rev <= m.compacted {
		return nil, rpctypes.ErrGRPCCompacted
	}
	if rev > m.revision {
		return nil, rpctypes.ErrGRPCFutureRev
	}
	m.compacted = rev
	return &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: m.revision}}, nil
}

// txn executes a transaction: the branches are chosen on the state before it, and checked on it.
func (m *model) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	choice := map[*pb.TxnRequest]bool{}
	m.choose(r, choice)
	if err := m.check(r, choice); err != nil {
		return nil, err
	}
	w := m.begin()
	response, err := w.run(r, choice)
	if err != nil {
		w.rollback()
		return nil, err
	}
	response.Header.Revision = w.revision
	return response, nil
}

func chosen(r *pb.TxnRequest, choice map[*pb.TxnRequest]bool) []*pb.RequestOp {
	if choice[r] {
		return r.Success
	}
	return r.Failure
}

func (m *model) choose(r *pb.TxnRequest, choice map[*pb.TxnRequest]bool) {
	choice[r] = !slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return !m.compare(c) })
	for _, op := range chosen(r, choice) {
		if nested := op.GetRequestTxn(); nested != nil {
			m.choose(nested, choice)
		}
	}
}

func (m *model) compare(c *pb.Compare) bool {
	kvs := m.keys(c.Key, c.RangeEnd, m.revision)
	if len(kvs) == 0 {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		kvs = []*mvccpb.KeyValue{{}}
	}
	return !slices.ContainsFunc(kvs, func(kv *mvccpb.KeyValue) bool {
		var got, want int64
		switch c.Target {
		case pb.Compare_VALUE:
			got = int64(bytes.Compare(kv.Value, c.GetValue()))
		case pb.Compare_VERSION:
			got, want = kv.Version, c.GetVersion()
		case pb.Compare_CREATE:
			got, want = kv.CreateRevision, c.GetCreateRevision()
		case pb.Compare_MOD:
			got, want = kv.ModRevision, c.GetModRevision()
		case pb.Compare_LEASE:
			got, want = kv.Lease, c.GetLease()
		}
		holds := map[pb.Compare_CompareResult]bool{
			pb.Compare_EQUAL: got == want, pb.Compare_NOT_EQUAL: got != want,
			pb.Compare_GREATER: got > want, pb.Compare_LESS: got < want,
		}
		return !holds[c.Result]
	})
}

func (m *model) check(r *pb.TxnRequest, choice map[*pb.TxnRequest]bool) error {
	for _, op := range chosen(r, choice) {
		if r := op.GetRequestRange(); r != nil && r.Revision != 0 {
			if r.Revision > m.revision {
				return rpctypes.ErrGRPCFutureRev
			}
			if r.Revision < m.compacted {
				return rpctypes.ErrGRPCCompacted
			}
		}
		if r := op.GetRequestPut(); r != nil {
			if _, exists := m.leases[r.Lease]; r.Lease != 0 && !exists {
				return rpctypes.ErrGRPCLeaseNotFound
			}
			if (r.IgnoreValue || r.IgnoreLease) && m.live(r.Key, m.revision) == nil {
				return rpctypes.ErrGRPCKeyNotFound
			}
		}
		if r := op.GetRequestTxn(); r != nil {
			if err := m.check(r, choice); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writing) run(r *pb.TxnRequest, choice map[*pb.TxnRequest]bool) (*pb.TxnResponse, error) {
	response := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: choice[r]}
	for _, op := range chosen(r, choice) {
		answer := &pb.ResponseOp{}
		var err error
		switch request := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			var inner *pb.RangeResponse
			inner, err = w.rangeKeys(request.RequestRange)
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: inner}
		case *pb.RequestOp_RequestPut:
			var inner *pb.PutResponse
			inner, err = w.put(request.RequestPut)
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: inner}
		case *pb.RequestOp_RequestDeleteRange:
			inner := w.deleteRange(request.RequestDeleteRange)
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: inner}
		case *pb.RequestOp_RequestTxn:
			var inner *pb.TxnResponse
			inner, err = w.run(request.RequestTxn, choice)
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}
		}
		if err != nil {
			return nil, err
		}
		response.Responses = append(response.Responses, answer)
	}
	return response, nil
}

// size is the logical size: of every event that a compaction at the compact revision retains.
func (m *model) size() (total int64) {
	for i, e := range m.history {
		superseded := slices.ContainsFunc(m.history[i+1:], func(later event) bool {
			return bytes.Equal(later.kv.Key, e.kv.Key) && later.kv.ModRevision <= m.compacted
		})
		if e.kv.ModRevision >= m.compacted || !superseded && !e.deleted {
			total += int64(len(e.kv.Key)+len(e.kv.Value)) + versionOverhead
		}
	}
	return total
}
