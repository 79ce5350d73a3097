package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa/store"
)

// sender is the sending half of a watch stream.
type sender struct {
	stream    watchServer
	notifying map[*streamWatcher]*store.Watcher // those that are told progress from time to time
	events    [][]byte                          // scratch
}

// run sends what the feed has until the stream ends, and says how it ended.
func (w *watchStream) run(ctx context.Context, stream watchServer, received <-chan error) error {
	w.stream = stream
	var progress progressTimer
	defer progress.stop()
	var lost <-chan struct{}
	if requiresLeader(ctx) {
		lost = w.server.leaderLost()
	}
	for {
		more, err := w.pump(ctx)
		if err != nil {
			return w.ending(ctx, err)
		}
		if more {
			signal(w.woken)
		}
		select {
		case <-w.woken:
		case <-progress.due(len(w.notifying) > 0, w.server.config.WatchProgressInterval):
			w.tellProgress()
		case err := <-received:
			return w.ending(ctx, err)
		case <-lost:
			return rpctypes.ErrGRPCNoLeader
		case <-w.server.fenced:
			return refusal(w.server.group.Err())
		case <-w.server.stopping:
			return rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			return rpctypes.ErrGRPCWatchCanceled
		}
	}
}

// ending puts the end of a stream into the API's words. A client that has gone hears nothing, but counters do.
func (w *watchStream) ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return apiError(err)
}

// pump sends what the feed has now, and reports whether there is more at once.
func (w *watchStream) pump(ctx context.Context) (more bool, err error) {
	deliveries, more, err := w.feed.Next(ctx)
	if err != nil {
		return false, err
	}
	return more, w.send(deliveries)
}

func (w *watchStream) send(deliveries []store.Delivery) error {
	for len(deliveries) > 0 {
		d := &deliveries[0]
		if d.Kind == store.DeliverEvents {
			n := w.together(deliveries)
			if err := w.sendEvents(deliveries[:n]); err != nil {
				return err
			}
			deliveries = deliveries[n:]
			continue
		}
		w.note(d)
		if err := w.stream.Send(w.server.controlResponse(d)); err != nil {
			return err
		}
		deliveries = deliveries[1:]
	}
	return nil
}

// note keeps account of a delivery that has no events.
func (w *watchStream) note(d *store.Delivery) {
	switch d.Kind {
	case store.DeliverCreated, store.DeliverCanceled, store.DeliverNote:
		<-w.controls
	}
	if d.Watcher == nil {
		return
	}
	watcher := d.Watcher.Owner().(*streamWatcher)
	switch d.Kind {
	case store.DeliverCreated:
		if watcher.progressNotify {
			w.notifying[watcher] = d.Watcher
		}
	case store.DeliverCanceled, store.DeliverCompacted:
		delete(w.notifying, watcher)
	}
}

// progressTimer ticks while a stream has watchers that are told progress from time to time.
type progressTimer struct{ ticker *time.Ticker }

// due returns what ticks, nil where nobody wants it.
func (t *progressTimer) due(wanted bool, interval time.Duration) <-chan time.Time {
	switch {
	case !wanted:
		t.stop()
		return nil
	case t.ticker == nil:
		t.ticker = time.NewTicker(interval)
	}
	return t.ticker.C
}

func (t *progressTimer) stop() {
	if t.ticker != nil {
		t.ticker.Stop()
		t.ticker = nil
	}
}

// tellProgress tells the watchers that want it, and were told nothing since it was last due, how far they are.
func (w *watchStream) tellProgress() {
	byID := func(a, b *streamWatcher) int { return cmp.Compare(a.id, b.id) }
	for _, watcher := range slices.SortedFunc(maps.Keys(w.notifying), byID) {
		if !watcher.told {
			w.feed.Progress(w.notifying[watcher])
		}
		watcher.told = false
	}
}

// joinedBytes is how large a response may become to which later revisions of the same watcher are added.
const joinedBytes = 64 << 10

// together returns how many deliveries, from the first on, go into one response: those of one watcher that follow on
// each other, which are many where its client is slower than the writers.
func (w *watchStream) together(deliveries []store.Delivery) int {
	size, first := 0, &deliveries[0]
	for i := range deliveries {
		d := &deliveries[i]
		if d.Kind != store.DeliverEvents || d.Watcher != first.Watcher || i > 0 && size > joinedBytes {
			return i
		}
		for _, e := range d.Events {
			size += len(e.Encoded())
		}
	}
	return len(deliveries)
}

// sendEvents sends deliveries of one watcher: in one response, or in fragments where the client wants those and one
// response would be larger than the largest request.
func (w *watchStream) sendEvents(deliveries []store.Delivery) error {
	of := deliveries[0].Watcher
	watcher := of.Owner().(*streamWatcher)
	watcher.told = true
	w.events = w.events[:0]
	for i := range deliveries {
		for _, e := range deliveries[i].Events {
			if of.PreviousKV() {
				w.events = append(w.events, e.EncodedWithPrevious())
			} else {
				w.events = append(w.events, e.Encoded())
			}
		}
	}
	revision := deliveries[len(deliveries)-1].Revision
	for rest := w.events; len(rest) > 0; {
		n := len(rest)
		if watcher.fragment {
			n = fragmentOf(rest, w.server.config.Limits.RequestBytes)
		}
		fragment := n < len(rest)
		if err := w.stream.SendMsg(w.server.eventResponse(watcher.id, revision, rest[:n], fragment)); err != nil {
			return err
		}
		rest = rest[n:]
	}
	clear(w.events)
	return nil
}

// responseHead is about what a response holds besides its events, in bytes.
const responseHead = 48

// fragmentOf returns how many events, at least one, make a response that is less than the limit.
func fragmentOf(events [][]byte, limit int) int {
	size := responseHead
	for i, e := range events {
		if size += len(e); size >= limit && i > 0 {
			return i
		}
	}
	return len(events)
}
