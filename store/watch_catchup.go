package store

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/balsadb/balsa/engine"
)

// A late watcher's way back: pieces of the revision log, each up to the revision that the store had when the piece
// was begun, until the ring has the rest.

// catchUp is what Feed.Next knows of late watchers. It is Next's own.
type catchUp struct {
	taken    []Delivery
	laggards []*Watcher
	index    watcherIndex // of the laggards
	touched  []*Watcher
	// position is the revision that the last of them has come to; 0 where none is late.
	position atomic.Int64
}

// Next returns what is to be sent now, in order; nothing where there is nothing. more says that watchers are being
// brought up to date: call again at once. Otherwise call again when the feed's wake was called. What it returns is
// valid until the next call. An error is a failure of this replica, or the context's.
func (f *Feed) Next(ctx context.Context) (deliveries []Delivery, more bool, err error) {
	f.mu.Lock()
	clear(f.taken)
	f.queue, f.taken = f.taken[:0], f.queue
	f.bytes, f.pending = 0, 0
	for _, w := range f.behind {
		f.laggards = append(f.laggards, w)
		f.index.add(w)
	}
	f.behind = f.behind[:0]
	f.mu.Unlock()

	// All that was queued for those late ones is in f.taken, and precedes what comes of the log.
	if len(f.laggards) > 0 {
		if err := f.advance(ctx); err != nil {
			return nil, false, err
		}
	}
	if err := f.store.loadPrevious(ctx, f.taken); err != nil {
		return nil, false, err
	}
	return f.taken, len(f.laggards) > 0, nil
}

// advance lets those join that can, and brings the others a piece further.
func (f *Feed) advance(ctx context.Context) error {
	f.join()
	if len(f.laggards) == 0 {
		return nil
	}
	if err := f.read(ctx); err != nil {
		return err
	}
	f.join()
	return nil
}

// read reads a piece of the revision log for all late watchers. The log is not damaged where the compact revision,
// looked at when the iterator is there, has not passed what is read: garbage is removed later than that is shown.
func (f *Feed) read(ctx context.Context) (err error) {
	s := f.store
	now := s.use()
	defer now.engine.leave()
	from := f.laggards[0].next
	for _, w := range f.laggards {
		from = min(from, w.next)
	}
	f.position.Store(from)
	if from > now.revision {
		return nil // published, but not dispatched yet, or cancelled
	}
	walk, err := now.engine.NewIterator(
		s.appendLogKey(nil, revision{from, 0}), s.appendLogKey(nil, revision{now.revision + 1, 0}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, walk.Close()) }()
	f.cancelCompacted(s.state.Load().compacted)
	through, err := f.readPiece(ctx, walk, from)
	if err != nil {
		return err
	}
	if !walk.Valid() {
		through = now.revision
	}
	f.deliverPiece(through)
	return nil
}

// readPiece gathers the events of a piece, and returns the last revision of it. Where it comes to the end of the log
// the iterator is not valid any more.
func (f *Feed) readPiece(ctx context.Context, walk engine.Iterator, from int64) (through int64, err error) {
	through = from - 1
	bytes, records := int64(0), 0
	for ok := walk.First(); ok; ok = walk.Next() {
		at, err := cutLogKey(walk.Key())
		if err != nil {
			return 0, err
		}
		if at.main > through {
			if bounds := &f.store.hub.bounds; bytes >= bounds.Piece || records >= bounds.PieceRecords {
				break
			}
			through = at.main
		}
		records++
		record, err := decodeLogValue(at, walk.Value())
		if err != nil {
			return 0, err
		}
		bytes += f.gatherRecord(at, &record)
		if records%checkEvery == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return through, walk.Error()
}

// gatherRecord gathers the event of a record for the late watchers that it is for, and returns its size if there are any.
func (f *Feed) gatherRecord(at revision, record *logged) (size int64) {
	var e *Event
	f.index.visit(record.key, func(w *Watcher) {
		if !w.takes(at.main, record.tombstone) {
			return
		}
		if e == nil {
			e = newEvent(at, record)
			size = e.size()
		}
		if w.gathered == nil {
			f.touched = append(f.touched, w)
		}
		w.gathered = append(w.gathered, e)
	})
	return size
}

// deliverPiece makes deliveries of what was gathered up to a revision, and moves the late watchers behind that.
func (f *Feed) deliverPiece(through int64) {
	for i, w := range f.touched {
		f.store.hub.events.Add(uint64(len(w.gathered)))
		if !w.ended.Load() {
			f.taken = append(f.taken, Delivery{Kind: DeliverEvents, Watcher: w, Revision: through, Events: w.gathered})
		}
		w.gathered, f.touched[i] = nil, nil
	}
	f.touched = f.touched[:0]
	for _, w := range f.laggards {
		w.next = max(w.next, through+1)
	}
}

// cancelCompacted ends the late watchers whose next revision was compacted.
func (f *Feed) cancelCompacted(compacted int64) {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	f.keep(func(w *Watcher) bool { return w.next >= compacted || w.ended.Load() }, func(w *Watcher) {
		h.end(w)
		f.taken = append(f.taken, Delivery{Kind: DeliverCompacted, Watcher: w, Revision: compacted})
	})
	f.tellProgress(h.dispatched)
}

// keep takes the watchers for which stays returns false out of the late ones, and hands them to leave.
func (f *Feed) keep(stays func(*Watcher) bool, leave func(*Watcher)) {
	kept := f.laggards[:0]
	for _, w := range f.laggards {
		if stays(w) {
			kept = append(kept, w)
		} else {
			f.index.remove(w)
			leave(w)
		}
	}
	clear(f.laggards[len(kept):])
	f.laggards = kept
}

// join makes live those late watchers for which the ring has all that they still miss, and queues it for them.
func (f *Feed) join() {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dispatch()
	first := max(h.ring.first(h.dispatched), f.store.state.Load().compacted)
	from := h.dispatched + 1
	for _, w := range f.laggards {
		if w.next >= first {
			from = min(from, w.next)
		}
	}
	for _, r := range h.ring.from(from) {
		f.replay(r, first)
	}
	f.keep(func(w *Watcher) bool { return w.next < first && !w.ended.Load() }, func(w *Watcher) {
		if w.ended.Load() {
			return
		}
		w.live = true
		h.live.add(w)
		f.recover(1)
	})
	f.tellProgress(h.dispatched)
}

// replay queues what is in the ring of one revision for the late watchers that will be live when it is over. It does
// not ask for room: the ring is small.
func (f *Feed) replay(r *happened, first int64) {
	for i, e := range r.events {
		f.index.visit(e.key, func(w *Watcher) {
			if w.next >= first && !w.ended.Load() && w.wants(e) {
				f.touched = w.gather(f.touched, r.events, i)
			}
		})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, w := range f.touched {
		f.push(Delivery{Kind: DeliverEvents, Watcher: w, Revision: r.revision, Events: w.gathered}, sizeOf(w.gathered))
		w.gathered, f.touched[i] = nil, nil
	}
	f.touched = f.touched[:0]
}
