package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestWatchTwin lets random watchers watch a random history, and compares all that they are told with what a naive
// twin knows of it. Bounds are so small that watchers fall behind, read the log in pieces, and come back, all the time.
func TestWatchTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &watchDuel{duel: newDuel(t, engine.NewMemory())}
		d.tighten(t)
		t.Repeat(map[string]func(*rapid.T){
			"put":       d.put,
			"put2":      d.put,
			"delete":    d.deleteRange,
			"txn":       d.txn,
			"batch":     d.applyBatch,
			"compact":   d.compact,
			"collect":   d.collect,
			"crash":     d.crashAll,
			"watch":     d.watch,
			"watch2":    d.watch,
			"cancel":    d.cancel,
			"close":     d.closeFeed,
			"dispatch":  d.dispatch,
			"next":      d.next,
			"next2":     d.next,
			"progress":  d.askProgress,
			"progress1": d.askProgressOfOne,
			"quiet":     d.quiet,
			"":          d.checkCounts,
		})
	})
}

// watchDuel is a duel in which somebody watches.
type watchDuel struct {
	*duel
	feeds []*toldFeed
}

// toldFeed is a feed and what was told through it.
type toldFeed struct {
	*Feed
	told  []*told
	asked bool // for progress, and not answered yet
	woken bool
}

// told is what a watcher has been told: everything up to a revision.
type told struct {
	*Watcher
	created, ended bool
	canceled       bool // Cancel was called
	compacted      bool // it began where it could not
	through        int64
}

func (d *watchDuel) tighten(t *rapid.T) {
	d.store.hub.bounds = WatchBounds{
		Inbox:        rapid.SampledFrom([]int{200, 1 << 20}).Draw(t, "inbox"),
		Ring:         rapid.SampledFrom([]int64{0, 200, 500, 1 << 20}).Draw(t, "ring"),
		Feed:         rapid.SampledFrom([]int64{0, 200, 1 << 20}).Draw(t, "feed"),
		Piece:        rapid.SampledFrom([]int64{1, 200, 1 << 20}).Draw(t, "piece"),
		PieceRecords: rapid.IntRange(1, 8).Draw(t, "records"),
	}
}

func (d *watchDuel) crashAll(t *rapid.T) {
	d.crash(t)
	d.tighten(t)
	d.feeds = nil
}

// applyBatch applies several puts in one batch.
func (d *watchDuel) applyBatch(t *rapid.T) {
	first := len(d.log) + 1
	for range rapid.IntRange(2, 5).Draw(t, "commands") {
		r := &pb.PutRequest{Key: drawKey(t), Value: drawValue(t)}
		entry, err := EncodePut(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.model.put(r); err != nil {
			t.Fatal(err)
		}
		d.log = append(d.log, entry)
	}
	b := d.batchOf(balsa.Index(first), balsa.Index(len(d.log)))
	if err := d.store.Apply(b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Commands {
		d.results = append(d.results, c.Result)
	}
}

func (d *watchDuel) watch(t *rapid.T) {
	if len(d.feeds) == 0 || len(d.feeds) < 4 && rapid.IntRange(0, 3).Draw(t, "new feed") == 0 {
		f := &toldFeed{}
		f.Feed = d.store.NewFeed(func() { f.woken = true })
		d.feeds = append(d.feeds, f)
	}
	f := rapid.SampledFrom(d.feeds).Draw(t, "feed")
	o := WatchOptions{Key: drawKey(t), RangeEnd: drawEnd(t), PreviousKV: rapid.Bool().Draw(t, "prev")}
	if rapid.Bool().Draw(t, "all") {
		o.Key, o.RangeEnd = []byte{0}, []byte{0}
	}
	switch rapid.IntRange(0, 5).Draw(t, "filter") {
	case 0:
		o.NoPut = true
	case 1:
		o.NoDelete = true
	}
	if rapid.Bool().Draw(t, "from") {
		o.Start = rapid.Int64Range(1, d.model.revision+3).Draw(t, "start")
	}
	w := &told{through: o.Start - 1}
	if o.Start == 0 {
		w.through = d.model.revision
	}
	o.Owner = w
	w.compacted = o.Start > 0 && o.Start < d.model.compacted
	var err error
	if w.Watcher, err = f.Watch(o); err != nil {
		t.Fatal(err)
	}
	f.told = append(f.told, w)
}

// feed draws a feed, nil where there is none.
func (d *watchDuel) feed(t *rapid.T) *toldFeed {
	if len(d.feeds) == 0 {
		return nil
	}
	return rapid.SampledFrom(d.feeds).Draw(t, "feed")
}

func (d *watchDuel) watcher(t *rapid.T) (*toldFeed, *told) {
	f := d.feed(t)
	if f == nil || len(f.told) == 0 {
		return nil, nil
	}
	return f, rapid.SampledFrom(f.told).Draw(t, "watcher")
}

func (d *watchDuel) cancel(t *rapid.T) {
	if f, w := d.watcher(t); w != nil && !w.canceled {
		w.canceled = true
		f.Cancel(w.Watcher)
	}
}

func (d *watchDuel) closeFeed(t *rapid.T) {
	if f := d.feed(t); f != nil {
		f.Close()
		if _, err := f.Watch(WatchOptions{Key: []byte("a")}); !errors.Is(err, ErrFeedClosed) {
			t.Fatalf("watching through a closed feed: %v", err)
		}
		d.feeds = slices.DeleteFunc(d.feeds, func(other *toldFeed) bool { return other == f })
	}
}

func (d *watchDuel) dispatch(t *rapid.T) { d.store.DispatchEvents() }

func (d *watchDuel) askProgress(t *rapid.T) {
	if f := d.feed(t); f != nil {
		f.AskProgress()
		f.asked = true
	}
}

func (d *watchDuel) askProgressOfOne(t *rapid.T) {
	if f, w := d.watcher(t); w != nil && !w.ended {
		f.Progress(w.Watcher)
	}
}

func (d *watchDuel) next(t *rapid.T) {
	if f := d.feed(t); f != nil {
		d.nextOf(t, f)
	}
}

// nextOf takes what a feed has, and holds it against the twin. It reports whether there may be more.
func (d *watchDuel) nextOf(t *rapid.T, f *toldFeed) (more bool) {
	f.woken = false
	deliveries, more, err := f.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range deliveries {
		d.hear(t, f, &deliveries[i])
	}
	return more
}

func (d *watchDuel) hear(t *rapid.T, f *toldFeed, delivery *Delivery) {
	if delivery.Watcher == nil {
		if delivery.Kind != DeliverProgress {
			t.Fatalf("told %+v", delivery)
		}
		if f.asked = false; delivery.Revision > d.model.revision {
			t.Fatalf("progress %d at revision %d", delivery.Revision, d.model.revision)
		}
		for _, w := range f.told {
			if w.created && !w.ended {
				d.tell(t, w, delivery.Revision, nil)
			}
		}
		return
	}
	w := delivery.Watcher.Owner().(*told)
	if w.ended && !(w.canceled && delivery.Kind == DeliverCanceled) || w.created != (delivery.Kind != DeliverCreated) {
		t.Fatalf("a watcher that was created: %v, ended: %v, is told %+v", w.created, w.ended, delivery)
	}
	switch delivery.Kind {
	case DeliverCreated:
		w.created = true
	case DeliverEvents, DeliverProgress:
		if delivery.Kind == DeliverEvents && len(delivery.Events) == 0 {
			t.Fatal("told no events")
		}
		d.tell(t, w, delivery.Revision, delivery.Events)
	case DeliverCompacted:
		if d.model.compacted != delivery.Revision || w.through+1 >= d.model.compacted {
			t.Fatalf("told that %d is compacted, told up to %d before; compacted is %d",
				delivery.Revision, w.through, d.model.compacted)
		}
		w.ended = true
	case DeliverCanceled:
		w.ended = true
	}
}

// tell holds against the twin what a watcher was told to be all up to a revision.
func (d *watchDuel) tell(t *rapid.T, w *told, through int64, events []*Event) {
	if w.compacted {
		t.Fatalf("a watcher from the compacted revision %d is told %d events", w.options.Start, len(events))
	}
	want := d.expected(w, through)
	if len(events) != len(want) {
		t.Fatalf("told %d events up to %d after %d, want %d: %v", len(events), through, w.through, len(want), want)
	}
	for i, e := range events {
		got := decodeEvent(t, e, w.options.PreviousKV)
		compacted := e.Revision-1 < d.model.compacted
		anew := want[i].Kv.CreateRevision == e.Revision // whatever was there before was deleted in the same revision
		if w.options.PreviousKV && !anew && (!compacted || got.PrevKv != nil) {
			want[i].PrevKv = d.model.live(want[i].Kv.Key, e.Revision-1)
		}
		if !proto.Equal(got, want[i]) {
			t.Fatalf("told %v, want %v", got, want[i])
		}
	}
	w.through = max(w.through, through)
}

// expected returns all events for a watcher that it was not told yet, up to a revision.
func (d *watchDuel) expected(w *told, through int64) (events []*mvccpb.Event) {
	o := &w.options
	for _, happened := range d.model.history {
		rev := happened.kv.ModRevision
		if rev <= w.through || rev > through || !within(o, happened.kv.Key) ||
			happened.deleted && o.NoDelete || !happened.deleted && o.NoPut {
			continue
		}
		e := &mvccpb.Event{Kv: happened.kv}
		if happened.deleted {
			e.Type = mvccpb.Event_DELETE
		}
		events = append(events, e)
	}
	return events
}

func within(o *WatchOptions, key []byte) bool {
	switch {
	case len(o.RangeEnd) == 0:
		return bytes.Equal(key, o.Key)
	case bytes.Equal(o.RangeEnd, []byte{0}):
		return bytes.Compare(key, o.Key) >= 0
	}
	return bytes.Compare(key, o.Key) >= 0 && bytes.Compare(key, o.RangeEnd) < 0
}

func decodeEvent(t interface{ Fatal(...any) }, e *Event, previous bool) *mvccpb.Event {
	encoded := e.Encoded()
	if previous {
		encoded = e.EncodedWithPrevious()
	}
	var r pb.WatchResponse
	if err := proto.Unmarshal(encoded, &r); err != nil {
		t.Fatal(err)
	}
	if again, err := proto.Marshal(&r); err != nil || len(r.Events) != 1 || !bytes.Equal(again, encoded) {
		t.Fatal("an event is not encoded as the library does it", &r, err)
	}
	return r.Events[0]
}

// quiet lets everything that there is be told. Nobody must be left waiting then.
func (d *watchDuel) quiet(t *rapid.T) {
	d.store.DispatchEvents()
	for _, f := range d.feeds {
		for n := 0; d.nextOf(t, f) || f.woken; n++ {
			if n > 2*len(d.model.history)+10 {
				t.Fatal("a feed does not come to an end")
			}
		}
		watchers, future := 0, false
		for _, w := range f.told {
			if !w.created {
				t.Fatal("a watcher was not told that it was created")
			}
			if w.ended {
				continue
			}
			watchers++
			future = future || w.options.Start > d.model.revision+1
			if missed := d.expected(w, d.model.revision); len(missed) > 0 {
				t.Fatalf("a watcher that was told all up to %d was not told %v", w.through, missed)
			}
		}
		f.asked = true
		f.AskProgress()
		d.nextOf(t, f)
		if answered := !f.asked; answered != (watchers > 0 && !future) {
			t.Fatalf("%d watchers, some in the future: %v; progress is told: %v", watchers, future, answered)
		}
	}
}

func (d *watchDuel) checkCounts(t *rapid.T) {
	h := &d.store.hub
	watchers := 0
	for _, f := range d.feeds {
		late := 0
		for _, w := range f.watchers {
			if !w.live {
				late++
			}
		}
		if late != f.late {
			t.Fatalf("%d of a feed's watchers are late, it counts %d", late, f.late)
		}
		watchers += len(f.watchers)
	}
	if n := h.watching.Load(); n != int64(watchers) {
		t.Fatalf("%d watchers, counted %d", watchers, n)
	}
}
