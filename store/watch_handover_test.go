package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// row checks that a watcher of one key, which is written at every revision, is told each of them once.
type row struct {
	t    testing.TB
	next int64 // what comes next
}

func (r *row) hear(deliveries []Delivery) {
	for i := range deliveries {
		for _, e := range deliveries[i].Events {
			if e.Revision != r.next {
				r.t.Fatalf("told revision %d, want %d", e.Revision, r.next)
			}
			kv := decodeEvent(r.t, e, false).Kv
			if string(kv.Value) != strconv.FormatInt(r.next, 10) {
				r.t.Fatalf("revision %d has value %q", r.next, kv.Value)
			}
			r.next++
		}
	}
}

func (f *fixture) write(n int) {
	for range n {
		f.put("k", strconv.FormatInt(f.store.Revision()+1, 10))
	}
}

// TestHandOverAtEveryPoint lets a watcher come back from every revision of the past, with writes before and after each
// step of its way, dispatched at once or later.
func TestHandOverAtEveryPoint(t *testing.T) {
	const past, steps = 6, 8
	for start := int64(2); start <= past+2; start++ {
		for pattern := range 1 << steps {
			for _, ring := range []int64{0, 300, 1 << 20} {
				f := newFixture(t, engine.NewMemory())
				f.store.hub.bounds = WatchBounds{Inbox: 1 << 20, Ring: ring, Feed: 1 << 20, Piece: 1 << 20, PieceRecords: 2}
				f.write(past)
				feed := f.store.NewFeed(func() {})
				if _, err := feed.Watch(WatchOptions{Key: []byte("k"), Start: start}); err != nil {
					t.Fatal(err)
				}
				told := &row{t: t, next: start}
				for step := range steps {
					switch pattern >> (step / 2 * 2) & 3 {
					case 1:
						f.write(1)
					case 2:
						f.write(1)
						f.store.DispatchEvents()
					case 3:
						f.write(3)
					}
					next(t, feed, told)
				}
				f.store.DispatchEvents()
				for next(t, feed, told) {
				}
				next(t, feed, told)
				if want := f.store.Revision() + 1; told.next != want {
					t.Fatalf("start %d, pattern %b, ring %d: the next is %d, want %d", start, pattern, ring, told.next, want)
				}
			}
		}
	}
}

func next(t testing.TB, feed *Feed, told *row) (more bool) {
	deliveries, more, err := feed.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	told.hear(deliveries)
	return more
}

// TestWatchersRace has watchers come and go, at the head and in the past, beside a writer, a dispatcher, compactions
// and the removal of garbage. Each is told every revision from its first on, once, in order, or that it was compacted.
func TestWatchersRace(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.store.hub.bounds = WatchBounds{Inbox: 4 << 10, Ring: 2 << 10, Feed: 2 << 10, Piece: 1 << 10, PieceRecords: 16}
	f.write(1)
	const last = 4000
	written := make(chan struct{})
	arrived := make(chan struct{}, 1)
	f.store.OnEvents(func() { poke(arrived) })
	var others, watchers sync.WaitGroup
	others.Go(func() {
		for range arrived {
			f.store.DispatchEvents()
		}
	})
	for id := range 4 {
		watchers.Go(func() { watchInTurns(t, f.store, written, last, uint64(id)) })
	}
	for f.store.Revision() < last {
		f.write(1)
		if rev := f.store.Revision(); rev%300 == 0 {
			if _, err := f.apply(EncodeCompaction(&pb.CompactionRequest{Revision: rev - 100})); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.store.CollectGarbage(5); err != nil {
			t.Fatal(err)
		}
	}
	close(written)
	watchers.Wait()
	f.store.OnEvents(nil)
	close(arrived)
	others.Wait()
	if n := f.store.hub.watching.Load(); n != 0 {
		t.Fatalf("%d watchers are left", n)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watchInTurns watches for a while, and begins anew, until all is written; the last time up to the last revision.
func watchInTurns(t *testing.T, s *Store, written chan struct{}, last int64, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 44))
	for done := false; !done; {
		select {
		case <-written:
			done = true
		default:
		}
		woken := make(chan struct{}, 1)
		feed := s.NewFeed(func() { poke(woken) })
		told := &row{t: t, next: max(2, s.Revision()-random.Int64N(60))}
		if _, err := feed.Watch(WatchOptions{Key: []byte("k"), Start: told.next}); err != nil {
			t.Error(err)
			return
		}
		for until := min(told.next+random.Int64N(300), last); told.next <= until; {
			deliveries, more, err := feed.Next(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			told.hear(deliveries)
			if n := len(deliveries); n > 0 && deliveries[n-1].Kind == DeliverCompacted {
				if compacted := deliveries[n-1].Revision; told.next >= compacted {
					t.Errorf("told that %d is compacted, next is %d", compacted, told.next)
				}
				break
			}
			if !more && told.next <= until {
				<-woken
			}
		}
		feed.Close()
	}
}

// TestWatchersOutliveRestore restores a snapshot over a store with watchers: those at the head and those behind go on
// from the log of the new state, and those whose revisions it does not have any more are told.
func TestWatchersOutliveRestore(t *testing.T) {
	source := newFixture(t, engine.NewMemory())
	source.write(50)
	if _, err := source.apply(EncodeCompaction(&pb.CompactionRequest{Revision: 30})); err != nil {
		t.Fatal(err)
	}
	snapshot, err := source.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := snapshot.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	for _, behind := range []int{10, 35} {
		home := engine.NewMemoryHome()
		s, err := OpenHome(home, Options{Group: 1})
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{t: t, store: s}
		f.write(behind)
		feed := s.NewFeed(func() {})
		told := &row{t: t, next: int64(behind) + 2}
		if _, err := feed.Watch(WatchOptions{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		f.write(3)
		s.DispatchEvents()
		if err := s.Restore(snapshot.Position(), bytes.NewReader(text.Bytes())); err != nil {
			t.Fatal(err)
		}
		f.index = balsa.Index(snapshot.Position().Index)
		s.DispatchEvents() // nothing is written any more, and yet there is something to tell
		var end Delivery
		for more := true; more; {
			var deliveries []Delivery
			if deliveries, more, err = feed.Next(context.Background()); err != nil {
				t.Fatal(err)
			}
			told.hear(deliveries)
			end = deliveries[len(deliveries)-1]
		}
		if compacted := behind < 30; compacted != (end.Kind == DeliverCompacted && end.Revision == 30) || !compacted && told.next != 52 {
			t.Fatalf("restored over %d: the next is %d, at last %+v", behind, told.next, end)
		}
		f.write(2)
		s.DispatchEvents()
		next(t, feed, told)
		if behind >= 30 && told.next != 54 {
			t.Fatalf("restored over %d: the next is %d after two more", behind, told.next)
		}
		feed.Close()
		if err := home.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_ = snapshot.Close()
}

// TestEventsAreShared has many watchers told the very same bytes, and each its own choice of one revision's events.
func TestEventsAreShared(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	feed := f.store.NewFeed(func() {})
	for i := range 10 {
		o := WatchOptions{Key: []byte("a")}
		if i%2 == 0 {
			o.RangeEnd = []byte("c")
		}
		if i == 1 {
			o.Key = []byte("z")
		}
		if _, err := feed.Watch(o); err != nil {
			t.Fatal(err)
		}
	}
	txn := &pb.TxnRequest{}
	for _, key := range []string{"a", "z", "b"} {
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(fmt.Sprint("value of ", key))},
		}})
	}
	if _, err := f.apply(EncodeTxn(txn)); err != nil {
		t.Fatal(err)
	}
	f.store.DispatchEvents()
	deliveries, _, err := feed.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	first, told := map[string]*Event{}, 0
	for i := range deliveries {
		for _, e := range deliveries[i].Events {
			told++
			if shared := first[string(e.key)]; shared == nil {
				first[string(e.key)] = e
			} else if shared != e {
				t.Fatalf("the event of %q was made twice", e.key)
			}
			kv := decodeEvent(t, e, false)
			if kv.Type != mvccpb.Event_PUT || string(kv.Kv.Key) != string(e.key) || !within(&deliveries[i].Watcher.options, e.key) {
				t.Fatal(kv)
			}
		}
	}
	if want := 5*2 + 5; told != want {
		t.Fatalf("told %d events, want %d", told, want)
	}
}

// TestProgressIsNotAheadOfEvents has progress come due between a batch and its dispatch.
func TestProgressIsNotAheadOfEvents(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.write(5)
	feed := f.store.NewFeed(func() {})
	if _, err := feed.Watch(WatchOptions{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	late, err := feed.Watch(WatchOptions{Key: []byte("k"), Start: 2})
	if err != nil {
		t.Fatal(err)
	}
	feed.AskProgress() // one is late
	f.write(1)
	feed.Cancel(late)
	f.store.DispatchEvents()
	deliveries, _, err := feed.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var progress int64
	for i := range deliveries {
		switch d := &deliveries[i]; d.Kind {
		case DeliverProgress:
			progress = d.Revision
		case DeliverEvents:
			if progress == 0 || d.Events[0].Revision <= progress {
				t.Fatalf("told revision %d after progress %d", d.Events[0].Revision, progress)
			}
			return
		}
	}
	t.Fatal("the event is missing")
}

// TestCompactedThoughRemembered refuses what was compacted also where the hub still knows it: what a watcher is told
// must not hang on who else watches.
func TestCompactedThoughRemembered(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	feed := f.store.NewFeed(func() {})
	if _, err := feed.Watch(WatchOptions{Key: []byte("other")}); err != nil {
		t.Fatal(err)
	}
	f.write(5)
	if _, err := f.apply(EncodeCompaction(&pb.CompactionRequest{Revision: 4})); err != nil {
		t.Fatal(err)
	}
	for start := int64(2); start <= 4; start++ {
		if _, err := feed.Watch(WatchOptions{Key: []byte("k"), Start: start}); err != nil {
			t.Fatal(err)
		}
		deliveries, _, err := feed.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if end := deliveries[len(deliveries)-1]; (end.Kind == DeliverCompacted) != (start < 4) {
			t.Fatalf("from %d: told %+v", start, end)
		}
	}
}

// midApply is an engine that has something happen while a batch is being applied.
type midApply struct {
	engine.Engine
	happen func()
}

func (e *midApply) Apply(batch engine.Batch) error {
	if happen := e.happen; happen != nil {
		e.happen = nil
		happen()
	}
	return e.Engine.Apply(batch)
}

// TestWatchBeginsWithinAnApply begins to watch the future when a batch is on its way that was begun while nobody
// watched, or somebody else did: what it changes is the future.
func TestWatchBeginsWithinAnApply(t *testing.T) {
	for _, others := range []int{0, 1} {
		e := &midApply{Engine: engine.NewMemory()}
		f := newFixture(t, e)
		f.write(3)
		feed, quiet := f.store.NewFeed(func() {}), f.store.NewFeed(func() {})
		for range others {
			if _, err := quiet.Watch(WatchOptions{Key: []byte("other")}); err != nil {
				t.Fatal(err)
			}
		}
		told := &row{t: t, next: f.store.Revision() + 1}
		e.happen = func() {
			if _, err := feed.Watch(WatchOptions{Key: []byte("k")}); err != nil {
				t.Fatal(err)
			}
		}
		f.write(1)
		f.store.DispatchEvents()
		for range 3 {
			next(t, feed, told)
		}
		if want := f.store.Revision() + 1; told.next != want {
			t.Fatalf("beside %d others: the next is %d, want %d", others, told.next, want)
		}
	}
}
