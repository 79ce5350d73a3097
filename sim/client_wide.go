package sim

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// wideClient asks about many keys at once: ranges of all kinds, transactions within transactions, deletions of ranges, hashes. Its keys
// are not those of the clients with single keys, of which a history is kept; it reads theirs, too.
type wideClient struct {
	worker
	drawn int
}

func (c *wideClient) next(h *Host, done func()) {
	switch n := c.random.IntN(20); {
	case n < 5:
		c.write(h, "put", must(store.EncodePut(c.put())), done)
	case n < 7:
		c.write(h, "delete range", must(store.EncodeDeleteRange(c.deleteRange())), done)
	case n < 12:
		r := c.txn(2, true)
		if store.IsReadOnlyTxn(r) {
			c.read(h, "read txn", c.readTxn(r), done)
			return
		}
		c.write(h, "txn", must(store.EncodeTxn(r)), done)
	case n < 16:
		c.read(h, "range", c.readRange(c.rangeRequest()), done)
	case n < 17:
		c.read(h, "range in parts", c.readParts(c.rangeRequest()), done)
	case n < 18:
		c.read(h, "read txn", c.readTxn(c.txn(2, false)), done)
	case n < 19:
		c.serializable(h, "range", c.readRange(c.rangeRequest()))
		done()
	default:
		c.serializable(h, "hash", c.hash)
		done()
	}
}

// unique returns a value that there is only one of.
func (c *wideClient) unique() string {
	c.drawn++
	return fmt.Sprintf("%d-%d", c.id, c.drawn)
}

func (c *wideClient) key() []byte {
	return fmt.Appendf(nil, "w%02d", c.random.IntN(c.run.plan.Crowd.Keys))
}

// interval draws a range among its own keys: one, some, or all from one on.
func (c *wideClient) interval() (key, end []byte) {
	key = c.key()
	switch c.random.IntN(4) {
	case 0:
		return key, c.key() // which may be empty
	case 1:
		return key, []byte("x")
	case 2:
		return []byte("w"), []byte("x")
	}
	return key, nil
}

// lease draws a lease that there is, or was, or (0) none.
func (c *wideClient) lease() int64 {
	if ids := c.run.crowd.leases; len(ids) > 0 && c.random.IntN(3) == 0 {
		return ids[max(0, len(ids)-1-c.random.IntN(4))]
	}
	return 0
}

func (c *wideClient) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: c.key(), Value: []byte(c.unique()), PrevKv: c.random.IntN(3) == 0}
	switch c.random.IntN(8) {
	case 0:
		r.IgnoreValue = true
	case 1:
		r.IgnoreLease = true
	case 2:
		r.Value = fmt.Appendf(r.Value, "-%0*d", c.random.IntN(300), 0)
		fallthrough
	default:
		r.Lease = c.lease()
	}
	if c.random.IntN(100) == 0 {
		r.Key = nil
	}
	return r
}

func (c *wideClient) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: c.random.IntN(2) == 0}
	r.Key, r.RangeEnd = c.interval()
	if len(r.RangeEnd) == 0 {
		r.RangeEnd = append(r.Key[:len(r.Key):len(r.Key)], 0)
	}
	r.RangeEnd = fmt.Appendf(r.RangeEnd, "\x00%s", c.unique()) // beyond all keys that it could meet
	return r
}

// revision draws one to read at: mostly the current one.
func (c *wideClient) revision() int64 {
	now := c.run.replay.revision
	switch c.random.IntN(12) {
	case 0, 1:
		return max(1, now-c.random.Int64N(30))
	case 2:
		return now + c.random.Int64N(3)
	}
	return 0
}

func (c *wideClient) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Revision: c.revision(), KeysOnly: c.random.IntN(4) == 0, CountOnly: c.random.IntN(8) == 0}
	r.Key, r.RangeEnd = c.interval()
	if c.random.IntN(4) == 0 {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	if c.random.IntN(2) == 0 {
		r.Limit = 1 + c.random.Int64N(6)
	}
	if c.random.IntN(2) == 0 {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(c.random.IntN(3)), pb.RangeRequest_SortTarget(c.random.IntN(5))
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if c.random.IntN(6) == 0 {
			*bound = max(1, c.run.replay.revision-c.random.Int64N(40))
		}
	}
	return r
}

func (c *wideClient) compare() *pb.Compare {
	q := &pb.Compare{Result: pb.Compare_CompareResult(c.random.IntN(4)), Target: pb.Compare_CompareTarget(c.random.IntN(5))}
	q.Key, q.RangeEnd = c.interval()
	near := max(1, c.run.replay.revision-c.random.Int64N(20))
	switch q.Target {
	case pb.Compare_VALUE:
		q.TargetUnion = &pb.Compare_Value{Value: fmt.Appendf(nil, "%d", c.random.IntN(300))}
	case pb.Compare_VERSION:
		q.TargetUnion = &pb.Compare_Version{Version: c.random.Int64N(4)}
	case pb.Compare_CREATE:
		q.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: near * c.random.Int64N(2)}
	case pb.Compare_MOD:
		q.TargetUnion = &pb.Compare_ModRevision{ModRevision: near}
	case pb.Compare_LEASE:
		q.TargetUnion = &pb.Compare_Lease{Lease: c.lease()}
	}
	return q
}

// txn draws a transaction with others in it, so deep. The first comparison makes it the only one of its kind.
func (c *wideClient) txn(depth int, writes bool) *pb.TxnRequest {
	r := &pb.TxnRequest{Compare: []*pb.Compare{{
		Key: c.key(), Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(c.unique())},
	}}}
	for range c.random.IntN(3) {
		r.Compare = append(r.Compare, c.compare())
	}
	for _, branch := range []*[]*pb.RequestOp{&r.Success, &r.Failure} {
		for range c.random.IntN(4) {
			*branch = append(*branch, c.operation(depth, writes))
		}
	}
	return r
}

func (c *wideClient) operation(depth int, writes bool) *pb.RequestOp {
	n := c.random.IntN(7)
	switch {
	case n == 0 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: c.txn(depth-1, writes)}}
	case n < 4 && writes:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: c.put()}}
	case n == 4 && writes:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: c.deleteRange()}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: c.rangeRequest()}}
}

// write has a command replicated. Its answer is judged by whoever replays it.
func (c *wideClient) write(h *Host, what string, entry raft.Entry, done func()) {
	c.note(h, what)
	c.run.command(h, what, entry, true, func(_ balsa.Result, err error) {
		if err == nil {
			c.run.counters["acknowledged: wide "+what]++
		}
		done()
	})
}

// read reads behind a barrier, as a server does.
func (c *wideClient) read(h *Host, what string, read func(*StoreState) error, done func()) {
	r, life := c.run, h.life
	c.note(h, what)
	fresh := r.fresh.barrier(h)
	h.Group.ReadAsync(func(index balsa.Index, err error) {
		switch {
		case life.over:
			return
		case err == nil:
			r.fail(r.fresh.name(), fresh(index))
			c.judge(h, what, read)
		}
		done()
	})
}

// serializable reads what a member has, without asking anybody.
func (c *wideClient) serializable(h *Host, what string, read func(*StoreState) error) {
	c.note(h, what)
	if h.Group.Recovered() {
		c.judge(h, what, read)
	}
}

func (c *wideClient) judge(h *Host, what string, read func(*StoreState) error) {
	c.run.counters["wide reads"]++
	if err := read(h.State.(*StoreState)); err != nil {
		c.run.fail(c.run.replay.name(), fmt.Errorf("member %d, at index %d: a %s: %w", h.ID, h.Group.Applied(), what, err))
	}
}

// momentOf is when a member's state is read.
func momentOf(s *StoreState) modelMoment { return modelMoment{s.Revision(), s.CompactRevision()} }

func (c *wideClient) readRange(q *pb.RangeRequest) func(*StoreState) error {
	return func(s *StoreState) error {
		want, wantErr := c.run.replay.rangeAt(momentOf(s), q)
		got, err := s.Range(context.Background(), q)
		return sameAnswer(q, got, err, want, wantErr)
	}
}

func (c *wideClient) readTxn(q *pb.TxnRequest) func(*StoreState) error {
	return func(s *StoreState) error {
		want, wantErr := c.run.replay.readTxn(momentOf(s), q)
		got, err := s.ReadTxn(context.Background(), q)
		return sameAnswer(q, got, err, want, wantErr)
	}
}

// readParts reads a range that is answered in parts, which have its order and no filters.
func (c *wideClient) readParts(q *pb.RangeRequest) func(*StoreState) error {
	q = &pb.RangeRequest{Key: q.Key, RangeEnd: q.RangeEnd, Revision: q.Revision, Limit: q.Limit, KeysOnly: q.KeysOnly, CountOnly: q.CountOnly}
	return func(s *StoreState) error {
		want, wantErr := c.run.replay.rangeAt(momentOf(s), q)
		got := &pb.RangeResponse{}
		err := s.RangeChunks(context.Background(), q, func(part *pb.RangeResponse) error {
			got.Kvs = append(got.Kvs, part.Kvs...)
			got.Header, got.More, got.Count = part.Header, part.More, part.Count
			return nil
		})
		return sameAnswer(q, got, err, want, wantErr)
	}
}

// sameAnswer compares a member's answer with the replay's.
func sameAnswer[M proto.Message](q proto.Message, got M, gotErr error, want M, wantErr error) error {
	switch {
	case wantErr != nil || gotErr != nil:
		if !errors.Is(gotErr, wantErr) {
			return fmt.Errorf("%.300v: answered with the error %v, the replay says %v", q, gotErr, wantErr)
		}
	case !proto.Equal(got, want):
		return fmt.Errorf("%.300v: answered with %.500v, the replay says %.500v", q, got, want)
	}
	return nil
}

// hash compares hashes of the state up to a revision: of the same revisions all members have the same.
func (c *wideClient) hash(s *StoreState) error {
	requested := c.revision()
	hash, compacted, hashed, err := s.HashKV(context.Background(), requested)
	if err != nil {
		_, want := c.run.replay.rangeAt(momentOf(s), &pb.RangeRequest{Key: []byte("k"), Revision: requested})
		return sameAnswer(nil, nil, err, (*pb.RangeResponse)(nil), want)
	}
	of := modelMoment{hashed, compacted}
	if known, is := c.run.crowd.hashes[of]; is && known != hash {
		return fmt.Errorf("up to revision %d, compacted at %d, its hash is %x; it was %x elsewhere", hashed, compacted, hash, known)
	}
	c.run.crowd.hashes[of] = hash
	return nil
}
