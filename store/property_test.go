package store

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestTwin sends random commands and reads to a store and to its naive twin, and compares every field of every
// answer. On the way the garbage is collected in steps, the power is cut, and a second replica, which gets the same
// log in batches of its own, must come to the same digest.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDuel(t, engine.NewMemory())
		t.Repeat(map[string]func(*rapid.T){
			"put":     d.put,
			"delete":  d.deleteRange,
			"txn":     d.txn,
			"txn2":    d.txn,
			"compact": d.compact,
			"grant":   d.grant,
			"revoke":  d.revoke,
			"expire":  d.expire,
			"renew":   d.renew,
			"tick":    d.tick,
			"range":   d.readRange,
			"range2":  d.readRange,
			"chunks":  d.readChunks,
			"collect": d.collect,
			"flush":   d.flush,
			"crash":   d.crash,
			"replica": d.replica,
			"":        d.check,
		})
	})
}

// duel is a store, its twin, and the log that both have applied.
type duel struct {
	engine  *engine.Memory
	store   *Store
	model   *model
	log     []raft.Entry
	results [][]byte // by index, as first answered
}

func newDuel(t *rapid.T, e *engine.Memory) *duel {
	d := &duel{engine: e, model: newModel()}
	d.open(t)
	return d
}

func (d *duel) open(t *rapid.T) {
	s, err := Open(d.engine, Options{Group: 7})
	if err != nil {
		t.Fatal(err)
	}
	s.chunkBytes = 3
	s.writer.recent = newRecent(4)
	s.writer.unflushed.size, s.writer.unflushed.room = 3, 3
	s.writer.census.bucketKeys, s.writer.census.log = 1, 300
	d.store = s
}

// batchOf returns the log's entries from index first to last as a batch.
func (d *duel) batchOf(first, last balsa.Index) *balsa.Batch {
	b := &balsa.Batch{Position: balsa.Position{Index: last, Term: 1}}
	for i := first; i <= last; i++ {
		b.Commands = append(b.Commands, balsa.Command{Index: i, Term: 1, Payload: d.log[i-1].Payload()})
	}
	return b
}

// command applies a command to the store and compares its answer with the twin's.
func (d *duel) command(t *rapid.T, entry raft.Entry, err error, want proto.Message, wantErr error) {
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.apply(t, entry)
	compare(t, got, err, want, wantErr)
}

func compare(t *rapid.T, got proto.Message, err error, want proto.Message, wantErr error) {
	if !errors.Is(err, wantErr) || err == nil && !proto.Equal(got, want) {
		t.Fatalf("got  %v, %v\nwant %v, %v", got, err, want, wantErr)
	}
}

var testKeys = []string{"\x00", "\x00\x00", "a", "a\x00", "a\x00\x01", "aa", "ab", "b", "\xff", "\xff\xff"}

func drawKey(t *rapid.T) []byte { return []byte(rapid.SampledFrom(testKeys).Draw(t, "key")) }

// drawEnd draws a range_end: none, from-key, or some key.
func drawEnd(t *rapid.T) []byte {
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		return nil
	case 1:
		return []byte{0}
	}
	return drawKey(t)
}

func drawValue(t *rapid.T) []byte {
	return []byte(rapid.SampledFrom([]string{"", "x", "y", "\x00z"}).Draw(t, "value"))
}

func drawPut(t *rapid.T) *pb.PutRequest {
	r := &pb.PutRequest{Key: drawKey(t), PrevKv: rapid.Bool().Draw(t, "prev")}
	switch rapid.IntRange(0, 9).Draw(t, "put") {
	case 0:
		r.IgnoreValue = true
	case 1:
		r.IgnoreLease, r.Value = true, drawValue(t)
	case 2, 3, 4:
		r.Lease, r.Value = drawLease(t), drawValue(t)
	default:
		r.Value = drawValue(t)
	}
	return r
}

func drawDelete(t *rapid.T) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: drawKey(t), RangeEnd: drawEnd(t), PrevKv: rapid.Bool().Draw(t, "prev")}
}

// drawRevision draws a revision near those that mean something.
func (d *duel) drawRevision(t *rapid.T) int64 {
	return rapid.Int64Range(-2, d.model.revision+2).Draw(t, "revision")
}

func (d *duel) drawRange(t *rapid.T) *pb.RangeRequest {
	r := &pb.RangeRequest{Key: drawKey(t), RangeEnd: drawEnd(t)}
	if rapid.Bool().Draw(t, "all") {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	if rapid.Bool().Draw(t, "old") {
		r.Revision = d.drawRevision(t)
	}
	if rapid.Bool().Draw(t, "limited") {
		r.Limit = rapid.Int64Range(-1, 5).Draw(t, "limit")
	}
	r.KeysOnly = rapid.Bool().Draw(t, "keys-only")
	r.CountOnly = rapid.IntRange(0, 5).Draw(t, "count-only") == 0
	if rapid.Bool().Draw(t, "sorted") {
		r.SortOrder = pb.RangeRequest_SortOrder(rapid.Int32Range(0, 2).Draw(t, "order"))
		r.SortTarget = pb.RangeRequest_SortTarget(rapid.Int32Range(0, 4).Draw(t, "target"))
	}
	for _, filter := range []*int64{
		&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision,
	} {
		if rapid.IntRange(0, 5).Draw(t, "filter") == 0 {
			*filter = d.drawRevision(t)
		}
	}
	return r
}

func (d *duel) drawCompare(t *rapid.T) *pb.Compare {
	c := &pb.Compare{Key: drawKey(t), Result: pb.Compare_CompareResult(rapid.Int32Range(0, 3).Draw(t, "result"))}
	if rapid.Bool().Draw(t, "ranged") {
		c.RangeEnd = drawEnd(t)
	}
	n := rapid.Int64Range(0, d.model.revision).Draw(t, "operand")
	switch c.Target = pb.Compare_CompareTarget(rapid.Int32Range(0, 4).Draw(t, "target")); c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: min(n, 3)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: drawValue(t)}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: n % 2}
	}
	return c
}

func (d *duel) drawTxn(t *rapid.T, depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		r.Compare = append(r.Compare, d.drawCompare(t))
	}
	r.Success, r.Failure = d.drawOps(t, depth), d.drawOps(t, depth)
	return r
}

func (d *duel) drawOps(t *rapid.T, depth int) (ops []*pb.RequestOp) {
	for range rapid.IntRange(0, 3).Draw(t, "ops") {
		op := &pb.RequestOp{}
		switch kind := rapid.IntRange(0, 6).Draw(t, "op"); {
		case kind < 2:
			op.Request = &pb.RequestOp_RequestRange{RequestRange: d.drawRange(t)}
		case kind < 4:
			op.Request = &pb.RequestOp_RequestPut{RequestPut: drawPut(t)}
		case kind == 4:
			op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: drawDelete(t)}
		case depth > 0:
			op.Request = &pb.RequestOp_RequestTxn{RequestTxn: d.drawTxn(t, depth-1)}
		}
		ops = append(ops, op)
	}
	return ops
}

func (d *duel) put(t *rapid.T) {
	r := drawPut(t)
	entry, err := EncodePut(r)
	want, wantErr := d.model.put(r)
	d.command(t, entry, err, want, wantErr)
}

func (d *duel) deleteRange(t *rapid.T) {
	r := drawDelete(t)
	entry, err := EncodeDeleteRange(r)
	want, wantErr := d.model.deleteRange(r)
	d.command(t, entry, err, want, wantErr)
}

func (d *duel) txn(t *rapid.T) {
	r := d.drawTxn(t, 2)
	if IsReadOnlyTxn(r) && rapid.Bool().Draw(t, "read locally") {
		got, err := d.store.ReadTxn(context.Background(), r)
		want, wantErr := d.model.txn(r)
		compare(t, got, err, want, wantErr)
		return
	}
	entry, err := EncodeTxn(r)
	want, wantErr := d.model.txn(r)
	d.command(t, entry, err, want, wantErr)
}

func (d *duel) compact(t *rapid.T) {
	rev := d.drawRevision(t)
	entry, err := EncodeCompaction(&pb.CompactionRequest{Revision: rev})
	want, wantErr := d.model.compact(rev)
	d.command(t, entry, err, want, wantErr)
}

func (d *duel) readRange(t *rapid.T) {
	r := d.drawRange(t)
	got, err := d.store.Range(context.Background(), r)
	want, wantErr := d.model.rangeKeys(r)
	compare(t, got, err, want, wantErr)
}

// readChunks joins the chunks of a range: they must be the answer in one piece.
func (d *duel) readChunks(t *rapid.T) {
	r := d.drawRange(t)
	if rapid.IntRange(0, 3).Draw(t, "any") > 0 { // else most would be refused
		r.SortOrder, r.SortTarget = 0, 0
		r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
	}
	got := &pb.RangeResponse{}
	err := d.store.RangeChunks(context.Background(), r, func(chunk *pb.RangeResponse) error {
		if got.Header != nil {
			t.Fatal("a chunk came after the one with the header")
		}
		kvs := append(got.Kvs, chunk.Kvs...)
		got = chunk
		got.Kvs = kvs
		return nil
	})
	if !IsDefaultOrder(r) || HasRevisionFilters(r) {
		if err == nil {
			t.Fatal("a stream was sorted or filtered")
		}
		return
	}
	r.SortTarget = pb.RangeRequest_KEY
	want, wantErr := d.model.rangeKeys(r)
	compare(t, got, err, want, wantErr)
}

func (d *duel) collect(t *rapid.T) {
	more, err := d.store.CollectGarbage(rapid.IntRange(1, 20).Draw(t, "records"))
	if err != nil {
		t.Fatal(err)
	}
	if !more {
		d.checkGarbage(t)
	}
}

// checkGarbage looks for records of versions that no compaction retains, once they should be gone.
func (d *duel) checkGarbage(t *rapid.T) {
	v := view{layout: d.store.layout, reader: d.engine}
	defer v.close()
	total, err := v.sum(context.Background(), -1, maxRevision)
	if err != nil {
		t.Fatal(err)
	}
	if int64(total.size) != d.store.Size() {
		t.Fatalf("%d bytes of versions are left, %d are retained", total.size, d.store.Size())
	}
	i, err := d.engine.NewIterator(d.store.single(spaceLog), d.store.single(spaceLog+1))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var logged uint64
	for ok := i.First(); ok; ok = i.Next() {
		at, _ := cutLogKey(i.Key())
		record, err := decodeLogValue(at, i.Value())
		if err != nil {
			t.Fatal(err)
		}
		logged += uint64(len(record.key)+len(record.value)) + versionOverhead
	}
	if logged != total.size {
		t.Fatalf("the revision log holds %d bytes, the index %d", logged, total.size)
	}
}

// flush makes durable what was applied: from then on writers need not look for it in the engine's memory.
func (d *duel) flush(t *rapid.T) {
	if err := d.store.Flush(); err != nil {
		t.Fatal(err)
	}
}

// crash cuts the power, after a flush or not, and applies again what was lost.
func (d *duel) crash(t *rapid.T) {
	if rapid.Bool().Draw(t, "flush") {
		if err := d.store.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	durable, err := d.store.Durable()
	if err != nil {
		t.Fatal(err)
	}
	before, _ := d.store.Digest()
	d.engine = d.engine.Crash()
	d.open(t)
	applied, err := d.store.Applied()
	if err != nil || applied != durable {
		t.Fatalf("after the crash %v is applied, %v was durable; %v", applied, durable, err)
	}
	d.replay(t, d.store)
	if after, _ := d.store.Digest(); after != before {
		t.Fatalf("digest %v after the crash and the replay, %v before", after, before)
	}
}

// replay applies the rest of the log in random batches.
func (d *duel) replay(t *rapid.T, s *Store) {
	applied, _ := s.Applied()
	for last := balsa.Index(len(d.log)); applied.Index < last; applied, _ = s.Applied() {
		until := applied.Index + balsa.Index(rapid.IntRange(1, int(last-applied.Index)).Draw(t, "batch"))
		b := d.batchOf(applied.Index+1, until)
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Commands {
			if !bytes.Equal(c.Result, d.results[c.Index-1]) {
				t.Fatalf("index %d: result %q in another batch, %q at first", c.Index, c.Result, d.results[c.Index-1])
			}
		}
	}
}

// replica applies all of the log to another store, in batches of other sizes.
func (d *duel) replica(t *rapid.T) {
	s, err := Open(engine.NewMemory(), Options{Group: 9})
	if err != nil {
		t.Fatal(err)
	}
	d.replay(t, s)
	got, gotAt := s.Digest()
	want, wantAt := d.store.Digest()
	if got != want || gotAt.Index != wantAt.Index || s.Size() != d.store.Size() {
		t.Fatalf("a replica at %v has digest %v and %d bytes; the other at %v has %v and %d",
			gotAt, got, s.Size(), wantAt, want, d.store.Size())
	}
	rev := rapid.Int64Range(max(d.model.compacted, 0), d.model.revision).Draw(t, "revision")
	a, _, _, err := s.HashKV(context.Background(), rev)
	b, _, _, err2 := d.store.HashKV(context.Background(), rev)
	if err := errors.Join(err, err2); err != nil || a != b {
		t.Fatalf("hashes of revision %d: %08x and %08x; %v", rev, a, b, err)
	}
}

// check is done after every step.
func (d *duel) check(t *rapid.T) {
	if d.store.Revision() != d.model.revision || d.store.CompactRevision() != d.model.compacted {
		t.Fatalf("revision %d, compacted %d; want %d, %d",
			d.store.Revision(), d.store.CompactRevision(), d.model.revision, d.model.compacted)
	}
	if got, want := d.store.Size(), d.model.size(); got != want {
		t.Fatalf("size %d, want %d", got, want)
	}
	d.checkLeases(t)
	if err := d.store.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}
