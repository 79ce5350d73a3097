package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"
)

// counted is a store with small buckets, and the log that it has applied.
type counted struct {
	home  *engine.MemoryHome
	store *Store
	keys  int64 // in a bucket
	log   [][]byte
}

func (c *counted) open(t *rapid.T) {
	s, err := OpenHome(c.home, Options{Group: 3})
	if err != nil {
		t.Fatal(err)
	}
	c.store = s
	c.small()
}

func (c *counted) small() {
	c.store.writer.census.bucketKeys, c.store.writer.census.log = c.keys, 500
}

// apply applies the log from what was applied on, in random batches.
func (c *counted) apply(t *rapid.T) {
	for applied, _ := c.store.Applied(); int(applied.Index) < len(c.log); applied, _ = c.store.Applied() {
		last := int(applied.Index) + rapid.IntRange(1, len(c.log)-int(applied.Index)).Draw(t, "batch")
		b := balsa.Batch{Position: balsa.Position{Index: balsa.Index(last), Term: 1}}
		for i := int(applied.Index); i < last; i++ {
			b.Commands = append(b.Commands, balsa.Command{Index: balsa.Index(i + 1), Term: 1, Payload: c.log[i]})
		}
		if err := c.store.Apply(&b); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *counted) propose(t *rapid.T, entry interface{ Payload() []byte }, err error) {
	if err != nil {
		t.Fatal(err)
	}
	c.log = append(c.log, entry.Payload())
}

var countedKey = rapid.StringMatching(`[a-c]{1,4}`)

// write puts, deletes and deletes ranges, also in transactions.
func (c *counted) write(t *rapid.T) {
	for range rapid.IntRange(1, 12).Draw(t, "commands") {
		key, other := []byte(countedKey.Draw(t, "key")), []byte(countedKey.Draw(t, "other"))
		put := &pb.PutRequest{Key: key, Value: []byte("value")}
		remove := &pb.DeleteRangeRequest{Key: key}
		if rapid.Bool().Draw(t, "range") {
			remove.RangeEnd = other
		}
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			e, err := EncodeDeleteRange(remove)
			c.propose(t, e, err)
		case 1:
			e, err := EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: put}}, {Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: remove}},
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: other}}},
				{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, CountOnly: true}}},
			}})
			c.propose(t, e, err)
		default:
			e, err := EncodePut(put)
			c.propose(t, e, err)
		}
	}
	c.apply(t)
}

func (c *counted) compact(t *rapid.T) {
	rev := rapid.Int64Range(c.store.Revision()-3, c.store.Revision()).Draw(t, "compact")
	e, err := EncodeCompaction(&pb.CompactionRequest{Revision: rev})
	c.propose(t, e, err)
	c.apply(t)
}

func (c *counted) tidy(t *rapid.T) {
	if _, err := c.store.CollectGarbage(rapid.IntRange(1, 20).Draw(t, "records")); err != nil {
		t.Fatal(err)
	}
}

// crash cuts the power, and applies again what was lost.
func (c *counted) crash(t *rapid.T) {
	if rapid.Bool().Draw(t, "flush") {
		if err := c.store.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	c.home = c.home.Crash()
	c.open(t)
	c.known(t)
	c.apply(t)
}

// transfer restores a snapshot of the store in an empty one.
func (c *counted) transfer(t *rapid.T) {
	if len(c.log) == 0 {
		return
	}
	snapshot, err := c.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	_, err = snapshot.WriteTo(&text)
	at := snapshot.Position()
	if err = errors.Join(err, snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	c.home = engine.NewMemoryHome()
	c.open(t)
	if err := c.store.Restore(at, &text); err != nil {
		t.Fatal(err)
	}
	c.small()
	c.known(t)
}

// known says that counts need no scan.
func (c *counted) known(t *rapid.T) {
	if c.store.state.Load().census == nil || c.store.writer.census.distrusted > 0 {
		t.Fatal("the census is not known")
	}
}

// check compares counts of every kind, as of any revision, with what is found.
func (c *counted) check(t *rapid.T) {
	c.known(t)
	if err := c.store.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	r := &pb.RangeRequest{Key: []byte(countedKey.Draw(t, "from")), RangeEnd: []byte{0}}
	if rapid.Bool().Draw(t, "to") {
		r.RangeEnd = []byte(countedKey.Draw(t, "to"))
	}
	r.Revision = rapid.Int64Range(max(1, c.store.CompactRevision()), c.store.Revision()).Draw(t, "revision")
	all, err := c.store.Range(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if all.Count != int64(len(all.Kvs)) {
		t.Fatalf("%v: %d keys, and a count of %d", r, len(all.Kvs), all.Count)
	}
	r.Limit = rapid.Int64Range(1, 4).Draw(t, "limit")
	page, err := c.store.Range(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.CountOnly = true
	count, err := c.store.Range(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if page.Count != all.Count || count.Count != all.Count || page.More != (all.Count > r.Limit) {
		t.Fatalf("%v: %d keys, a page says %d (more: %v), a count %d", r, len(all.Kvs), page.Count, page.More, count.Count)
	}
}

// TestCounts compares counts with scans, through splits, joins, compactions, power cuts and restores.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &counted{home: engine.NewMemoryHome(), keys: rapid.Int64Range(1, 6).Draw(t, "bucket")}
		c.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"write": c.write, "write2": c.write, "compact": c.compact, "tidy": c.tidy, "tidy2": c.tidy,
			"crash": c.crash, "transfer": c.transfer, "": c.check,
		})
	})
}

// TestCensusRecord writes any census and reads it.
func TestCensusRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := emptyBuckets()
		for _, start := range rapid.SliceOf(rapid.String()).Draw(t, "starts") {
			b.Set(start, rapid.Int64Range(0, 1<<40).Draw(t, "keys"))
		}
		rev := rapid.Int64Range(1, 1<<40).Draw(t, "revision")
		record := appendCensus(nil, b, rev)
		read, at, err := decodeCensus(record)
		if err != nil || at != rev || fmt.Sprint(read.KeyValues()) != fmt.Sprint(b.KeyValues()) {
			t.Fatal(read, at, err)
		}
		damaged := bytes.Clone(record)
		damaged[rapid.IntRange(0, len(record)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, err := decodeCensus(damaged); !errors.Is(err, errCorrupt) {
			t.Fatalf("a damaged census was read: %v", err)
		}
	})
}

// TestCensusIsMadeAnew takes the record away, and damages it: counts scan then, and the worker counts anew.
func TestCensusIsMadeAnew(t *testing.T) {
	for name, spoil := range map[string]func(engine.Batch, []byte){
		"removed":  func(b engine.Batch, key []byte) { b.Delete(key) },
		"damaged":  func(b engine.Batch, key []byte) { b.Set(key, []byte("\x01nonsense, nonsense")) },
		"of later": func(b engine.Batch, key []byte) { b.Set(key, appendCensus(nil, emptyBuckets(), 1<<40)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := engine.NewMemory()
			f := newFixture(t, e)
			for i := range 100 {
				f.put(fmt.Sprintf("key%02d", i), "value")
			}
			b := e.NewBatch()
			spoil(b, f.store.single(spaceCensus))
			if err := e.Apply(b); err != nil {
				t.Fatal(err)
			}
			f = newFixture(t, e)
			f.store.writer.census.bucketKeys = 5
			if f.store.state.Load().census != nil {
				t.Fatal("a census is there")
			}
			f.wantCount("key", 100)
			f.put("key", "one more")
			if _, err := f.store.CollectGarbage(1); err != nil {
				t.Fatal(err)
			}
			if b := f.store.state.Load().census; b == nil || b.Len() < 15 {
				t.Fatal("no census was made", b)
			}
			f.wantCount("key", 101)
			if err := f.store.Verify(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func (f *fixture) wantCount(prefix string, want int64) {
	f.t.Helper()
	end := []byte(prefix)
	end[len(end)-1]++
	r, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte(prefix), RangeEnd: end, CountOnly: true})
	if err != nil || r.Count != want {
		f.t.Fatal(r, err, "want", want)
	}
}

// TestCountsReadLittle counts many keys, and looks at how much of the engine that reads.
func TestCountsReadLittle(t *testing.T) {
	e := &countingEngine{Engine: engine.NewMemory()}
	f := newFixture(t, e)
	f.store.writer.census.bucketKeys = 10
	for i := range 2000 {
		f.put(fmt.Sprintf("/pods/%04d", i), "value")
		if i%50 == 0 {
			f.tidyAll()
		}
	}
	f.tidyAll()
	past := f.store.Revision()
	for i := range 30 {
		f.put(fmt.Sprintf("/pods/%04dx", i), "value")
	}
	for _, r := range []*pb.RangeRequest{
		{Key: []byte("/pods/"), RangeEnd: []byte("/pods0"), CountOnly: true},
		{Key: []byte("/pods/0005"), RangeEnd: []byte("/pods0"), Limit: 3},
		{Key: []byte("/pods/0005"), RangeEnd: []byte("/pods0"), Limit: 3, Revision: past},
		{Key: []byte("/"), RangeEnd: []byte{0}, CountOnly: true, Revision: past},
	} {
		e.moves = 0
		response, err := f.store.Range(context.Background(), r)
		if err != nil || response.Count < 1900 {
			t.Fatal(response, err)
		}
		if e.moves > 200 {
			t.Errorf("%v moved over %d records", r, e.moves)
		}
	}
}

func (f *fixture) tidyAll() {
	f.t.Helper()
	for more := true; more; {
		var err error
		if more, err = f.store.CollectGarbage(100); err != nil {
			f.t.Fatal(err)
		}
	}
}

// countingEngine counts how often iterators move.
type countingEngine struct {
	engine.Engine
	moves int
}

func (e *countingEngine) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	i, err := e.Engine.NewIterator(lower, upper)
	return &countingIterator{i, e}, err
}

type countingIterator struct {
	engine.Iterator
	engine *countingEngine
}

func (i *countingIterator) Next() bool       { i.engine.moves++; return i.Iterator.Next() }
func (i *countingIterator) NextPrefix() bool { i.engine.moves++; return i.Iterator.NextPrefix() }

// TestCountsOfLongAgo counts at revisions that so much has happened since that a scan is cheaper.
func TestCountsOfLongAgo(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.store.writer.census.bucketKeys = 2
	for i := range 40 {
		f.put(fmt.Sprintf("k%02d", i), "")
	}
	f.tidyAll()
	past := f.store.Revision()
	for range freeCost {
		f.put("k00", strings.Repeat("x", 10))
	}
	f.put("l", "")
	for _, rev := range []int64{past, past + freeCost - 100, past + freeCost, 0} {
		r, err := f.store.Range(context.Background(), &pb.RangeRequest{
			Key: []byte("k"), RangeEnd: []byte{0}, CountOnly: true, Revision: rev})
		if want := int64(40); err != nil || rev == 0 && r.Count != want+1 || rev > 0 && r.Count != want {
			t.Fatal(rev, r, err)
		}
	}
}

// TestCountsWhileBucketsAreCut counts at fixed and at current revisions while keys come and go and the worker cuts.
func TestCountsWhileBucketsAreCut(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.store.writer.census.bucketKeys = 3
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var group errgroup.Group
	group.Go(func() error {
		if err := f.store.RunCollector(ctx, CollectOptions{Batch: 5, Pause: 1}); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	for range 2 {
		group.Go(func() error {
			for ctx.Err() == nil {
				r := &pb.RangeRequest{Key: []byte("b"), RangeEnd: []byte("y"), Revision: f.store.Revision()}
				all, err := f.store.Range(context.Background(), r)
				if err != nil {
					return err
				}
				r.CountOnly = true
				count, err := f.store.Range(context.Background(), r)
				if err != nil || count.Count != int64(len(all.Kvs)) {
					return fmt.Errorf("revision %d: %d keys, a count of %v, %w", r.Revision, len(all.Kvs), count, err)
				}
			}
			return nil
		})
	}
	for i := range 3000 {
		key := fmt.Sprintf("%c%d", 'a'+i%26, i*7919%211)
		if i/500%2 == 1 {
			if _, err := f.apply(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(key + "5")})); err != nil {
				t.Fatal(err)
			}
		} else {
			f.put(key, "value")
		}
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	if f.store.state.Load().census == nil || f.store.writer.census.distrusted > 0 {
		t.Fatal("the census was wrong once")
	}
}

// TestBucketIsCutWhileKeysCome has keys come and go in a bucket, between the scan that cuts it and the cut.
func TestBucketIsCutWhileKeysCome(t *testing.T) {
	e := &scannedEngine{Engine: engine.NewMemory()}
	f := newFixture(t, e)
	f.store.writer.census.bucketKeys = 5
	for i := range 21 {
		f.put(fmt.Sprintf("k%02d", i), "")
	}
	e.scanned = func() {
		f.put("k051", "")
		f.put("k05", "again")
		if _, err := f.apply(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("k10"), RangeEnd: []byte("k12")})); err != nil {
			t.Fatal(err)
		}
	}
	f.tidyAll()
	if e.scanned != nil {
		t.Fatal("nothing was scanned")
	}
	if c := &f.store.writer.census; c.distrusted > 0 || c.buckets == nil || c.buckets.Len() < 4 {
		t.Fatalf("distrusted %d times, %v", c.distrusted, c.buckets)
	}
	if err := f.store.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// scannedEngine calls scanned once, when the first iterator is closed.
type scannedEngine struct {
	engine.Engine
	scanned func()
}

func (e *scannedEngine) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	i, err := e.Engine.NewIterator(lower, upper)
	return &scannedIterator{i, e}, err
}

type scannedIterator struct {
	engine.Iterator
	engine *scannedEngine
}

func (i *scannedIterator) Close() error {
	err := i.Iterator.Close()
	if scanned := i.engine.scanned; scanned != nil {
		i.engine.scanned = nil
		scanned()
	}
	return err
}
