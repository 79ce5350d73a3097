package diff

import (
	"bytes"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// generator makes random streams of calls. It is made to hit what is rare: few keys, so that calls meet; revisions about
// where the stream is; and now and then what nobody should ask.
type generator struct {
	*rand.Rand
	keys     [][]byte
	members  int
	revision int64          // about where the stream is by now
	compacts map[int64]bool // the revisions that compactions were asked for
	leases   bool           // are granted, and attached to keys
}

// newGenerator makes the generator of a seed. Equal seeds make equal streams.
func newGenerator(seed uint64, members int) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), members: members, revision: 1, compacts: map[int64]bool{1: true}}
	all := []string{
		"a", "b", "aa", "ab", "a\x00", "a\xff", "b\x00", "\x00", "\x00\x00", "\xff", "\xff\xff", "k/1", "k/2", "k/10", "k0", "k/",
		"registry/pods/default/one", "registry/pods/default/two", "\xc3\xa9", "B",
	}
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, key := range all[:2+g.IntN(10)] { // mostly few
		g.keys = append(g.keys, []byte(key))
	}
	return g
}

// stream makes a stream of n calls.
func (g *generator) stream(n int) []call {
	var all []call
	for range n {
		all = append(all, g.call())
	}
	return all
}

// choice is a way to go on, with how often it is taken.
type choice[T any] struct {
	weight int
	take   func() T
}

func pick[T any](g *generator, choices ...choice[T]) T {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	at := g.IntN(total)
	for _, c := range choices {
		if at < c.weight {
			return c.take()
		}
		at -= c.weight
	}
	panic("unreachable: at is below the sum of the weights")
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) call() call {
	c := pick(g,
		choice[call]{22, func() call { return call{"Range", 0, g.rangeRequest()} }},
		choice[call]{8, func() call { return call{"RangeStream", 0, g.streamRequest()} }},
		choice[call]{25, func() call { return call{"Put", 0, g.put()} }},
		choice[call]{9, func() call { return call{"DeleteRange", 0, g.deleteRange()} }},
		choice[call]{24, func() call { return call{"Txn", 0, sparing(g.txn(0))} }},
		choice[call]{3, func() call { return call{"Compact", 0, g.compact()} }},
		choice[call]{3, func() call { return call{"HashKV", 0, g.hashKV()} }},
		choice[call]{1, func() call { return call{"Hash", 0, &pb.HashRequest{}} }},
		choice[call]{2, func() call { return call{"Status", 0, &pb.StatusRequest{}} }},
		choice[call]{1, func() call { return call{"Alarm", 0, &pb.AlarmRequest{}} }},
		choice[call]{1, func() call { return call{"MemberList", 0, &pb.MemberListRequest{Linearizable: g.chance(50)}} }},
	)
	c.member = g.IntN(g.members)
	return c
}

// key is mostly one of the stream's keys.
func (g *generator) key() []byte {
	if g.chance(2) {
		return nil // refused
	}
	return g.keys[g.IntN(len(g.keys))]
}

// end is a range's end, for a range that starts at key.
func (g *generator) end(key []byte) []byte {
	return pick(g,
		choice[[]byte]{6, func() []byte { return nil }},
		choice[[]byte]{3, func() []byte { return []byte{0} }},
		choice[[]byte]{4, func() []byte { return g.keys[g.IntN(len(g.keys))] }}, // above key, or not
		choice[[]byte]{3, func() []byte { return prefixEnd(key) }},
		choice[[]byte]{1, func() []byte { return append(bytes.Clone(key), 0) }},
		choice[[]byte]{1, func() []byte { return key }},
	)
}

// prefixEnd is the end of the range of all keys that start with key.
func prefixEnd(key []byte) []byte {
	end := bytes.Clone(key)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func (g *generator) value() []byte {
	return pick(g,
		choice[[]byte]{1, func() []byte { return nil }},
		choice[[]byte]{6, func() []byte { return []byte{'0' + byte(g.IntN(4))} }},
		choice[[]byte]{1, func() []byte { return bytes.Repeat([]byte{byte(g.IntN(256))}, 1+g.IntN(40)) }},
	)
}

// anyRevision is mostly "the latest" or a revision of the stream, and sometimes none that can be read.
func (g *generator) anyRevision() int64 {
	return pick(g,
		choice[int64]{6, func() int64 { return 0 }},
		choice[int64]{6, g.pastRevision},
		choice[int64]{1, func() int64 { return -g.Int64N(3) }},
		choice[int64]{1, func() int64 { return g.revision + g.Int64N(4) }},
		choice[int64]{1, func() int64 { return 1<<62 + g.Int64N(4) }},
	)
}

func (g *generator) pastRevision() int64 { return 1 + g.Int64N(g.revision) }

func (g *generator) rangeRequest() *pb.RangeRequest {
	key := g.key()
	r := &pb.RangeRequest{Key: key, RangeEnd: g.end(key), Serializable: g.chance(30), KeysOnly: g.chance(10), CountOnly: g.chance(10)}
	if g.chance(40) {
		r.Revision = g.anyRevision()
	}
	if g.chance(40) {
		r.Limit = g.Int64N(6) - 1
	}
	if g.chance(40) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	if g.chance(2) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(9) - 3)
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(9) - 2)
	}
	if g.chance(25) {
		for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
			if g.chance(40) {
				*bound = g.anyRevision()
			}
		}
	}
	return r
}

// streamRequest is mostly one that RangeStream takes: without sorts and filters. A sort target without an order is left
// out: etcd 3.7.3 sorts each chunk by it, and takes the last key of what is sorted for where the next one begins, so
// that most keys come more than once (3,000 keys by value, descending: 1,094,390). Balsa streams in the order of keys.
func (g *generator) streamRequest() *pb.RangeRequest {
	r := g.rangeRequest()
	if g.chance(80) {
		r.SortOrder, r.SortTarget = 0, 0
		r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
	}
	if r.SortOrder == pb.RangeRequest_NONE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	return r
}

func (g *generator) put() *pb.PutRequest {
	g.revision++
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(40), IgnoreValue: g.chance(8), IgnoreLease: g.chance(8)}
	if r.IgnoreValue && g.chance(80) {
		r.Value = nil
	}
	if g.leases && g.chance(60) {
		r.Lease = g.lease()
	} else if g.chance(3) {
		r.Lease = g.Int64N(3) - 1 + 77 // never granted, where there are no leases
	}
	return r
}

func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key := g.key()
	g.revision++
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: g.end(key), PrevKv: g.chance(50)}
}

func (g *generator) compact() *pb.CompactionRequest {
	r := &pb.CompactionRequest{Revision: g.anyRevision(), Physical: g.chance(30)}
	if g.chance(60) {
		r.Revision = 1 + g.Int64N(max(1, g.revision*3/4)) // leaves something to read
	}
	g.compacts[r.Revision] = true
	return r
}

// hashKV does not ask for revisions that were compacted to: etcd remembers the hashes of its last ten compactions, once
// each is through, and tells them even where a later one has made the revision unreadable.
func (g *generator) hashKV() *pb.HashKVRequest {
	r := &pb.HashKVRequest{Revision: g.anyRevision()}
	if g.compacts[r.Revision] {
		r.Revision = 0
	}
	return r
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range pick(g, choice[int]{3, func() int { return 0 }}, choice[int]{5, func() int { return 1 }}, choice[int]{2, func() int { return 3 }}) {
		r.Compare = append(r.Compare, g.compare())
	}
	onlyReads := g.chance(20)
	r.Success, r.Failure = g.ops(depth, onlyReads), g.ops(depth, onlyReads)
	return r
}

// sparing takes from a transaction what etcd 3.7.3 dies of, on all members and again at each start: that a key which a put
// takes its value or lease from exists is checked before the transaction runs, when a deletion in it may still come first.
func sparing(r *pb.TxnRequest) *pb.TxnRequest {
	deletes := false
	walkOps(r, func(op *pb.RequestOp) { deletes = deletes || op.GetRequestDeleteRange() != nil })
	walkOps(r, func(op *pb.RequestOp) {
		if put := op.GetRequestPut(); deletes && put != nil {
			put.IgnoreValue, put.IgnoreLease = false, false
		}
	})
	return r
}

// walkOps visits all operations of a transaction, of nested ones too.
func walkOps(r *pb.TxnRequest, visit func(*pb.RequestOp)) {
	for _, op := range slices.Concat(r.Success, r.Failure) {
		visit(op)
		if nested := op.GetRequestTxn(); nested != nil {
			walkOps(nested, visit)
		}
	}
}

func (g *generator) ops(depth int, onlyReads bool) []*pb.RequestOp {
	var all []*pb.RequestOp
	for range g.IntN(4) {
		all = append(all, g.op(depth, onlyReads))
	}
	return all
}

func (g *generator) op(depth int, onlyReads bool) *pb.RequestOp {
	writes, nested := 4, 2
	if onlyReads {
		writes = 0
	}
	if depth >= 2 {
		nested = 0
	}
	return pick(g,
		choice[*pb.RequestOp]{5, func() *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}}
		}},
		choice[*pb.RequestOp]{2 * writes, func() *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}}
		}},
		choice[*pb.RequestOp]{writes, func() *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRange()}}
		}},
		choice[*pb.RequestOp]{nested, func() *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth + 1)}}
		}},
	)
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key: g.key(), Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5)),
	}
	if g.chance(20) {
		c.RangeEnd = g.end(c.Key)
	}
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: g.Int64N(4)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.anyRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.anyRevision()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.Int64N(2) * 77}
		if g.leases {
			id := g.lease()
			c.TargetUnion = &pb.Compare_Lease{Lease: id}
			if id > chosenIDs[0] && c.Result != pb.Compare_EQUAL { // ids that a server gave are random, and larger than small ones
				c.Result = pb.Compare_NOT_EQUAL
			}
		}
	}
	if g.chance(3) {
		g.spoil(c)
	}
	return c
}

// spoil makes a compare that no client library would make.
func (g *generator) spoil(c *pb.Compare) {
	switch g.IntN(3) {
	case 0:
		c.TargetUnion = nil
	case 1:
		c.Target = pb.Compare_CompareTarget(g.IntN(8) - 1)
	case 2:
		c.Result = pb.Compare_CompareResult(g.IntN(8) - 1)
	}
}
