package store

import (
	"sync"
	"sync/atomic"
)

// How events travel:
//
//	Apply ──inbox──▶ dispatch ──▶ the feeds of the live watchers that match ──▶ Feed.Next ──▶ client
//	                    └──ring: what was dispatched last            ▲
//	the revision log ──────────── catch-up, by Feed.Next ────────────┘
//
// Apply does no more than put a batch's changes into the inbox, and not even that where nobody watches. dispatch
// encodes them, once, and hands them to the live watchers, in the order of revisions, each revision whole. Nobody
// waits for a feed: where one has no room, its watcher stops being live, and remembers the first revision that it
// did not get. It reads on from there in the revision log when its client has taken what was queued, and becomes live
// again in one step: under the lock of the hub it is given what the ring holds beyond the log's part, and is added to
// the live ones. So it gets every revision once, in order. Watchers that begin in the past start like that.
//
// What holds, under the hub's lock: a live watcher was handed every event from its first revision up to dispatched,
// and of none beyond. What makes it hold though nobody waits for Apply: the state is published before its changes get
// into the inbox, and who begins to watch raises watching before it looks at the state. So changes that Apply did not
// collect, since it saw nobody watching, are either part of the state that the new watcher has seen, or Apply sees
// the watcher when it is done, and says that something was missed: then all fall back to the revision log.
type hub struct {
	// watching is the number of watchers. Where it is 0 that is all that Apply looks at.
	watching atomic.Int64
	inbox    inbox
	events   atomic.Uint64 // dispatched to somebody, counted once for each

	// mu orders dispatching, and watchers that come, go, and change between live and late. A feed's own lock is
	// taken after it.
	mu         sync.Mutex
	dispatched int64 // the last revision that the live watchers were handed
	live       watcherIndex
	ring       ring
	feeds      []*Feed // in an order that is the same wherever the same happens
	bounds     WatchBounds
	touched    []*Watcher
}

// WatchBounds is how much is kept for watchers, in bytes of events where it does not say otherwise. The zero value means the
// defaults; smaller ones make watchers catch up from the revision log more often, and are for tests.
type WatchBounds struct {
	// Inbox bounds what waits for dispatch; beyond that it is left to the revision log.
	Inbox int
	// Ring bounds what is kept of what was dispatched last: what is written while a late watcher reads its last piece should fit in.
	Ring int64
	// Feed bounds what waits for one client, beside what it is being sent.
	Feed int64
	// Piece is how much is read of the revision log at once, PieceRecords how many records of it are passed at once.
	Piece        int64
	PieceRecords int
}

var defaultWatchBounds = WatchBounds{Inbox: 16 << 20, Ring: 2 << 20, Feed: 1 << 20, Piece: 1 << 20, PieceRecords: 10_000}

// OnEvents sets what is called when there is something for DispatchEvents to do. It is called on Apply's path and must
// not block. Set it before the first watcher comes.
func (s *Store) OnEvents(wake func()) {
	s.hub.inbox.mu.Lock()
	defer s.hub.inbox.mu.Unlock()
	s.hub.inbox.wake = wake
}

// DispatchEvents hands what Apply has changed to the feeds whose watchers match. It may run concurrently with
// everything. A server calls it when OnEvents' function was called; a simulated one after Apply.
func (s *Store) DispatchEvents() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.dispatch()
}

// dispatch is DispatchEvents with the lock held.
func (h *hub) dispatch() {
	changes, missed := h.inbox.take()
	if missed > h.dispatched {
		h.miss(missed)
	}
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].at.main == changes[0].at.main {
			n++
		}
		switch main := changes[0].at.main; {
		case main <= h.dispatched: // before the first watcher came, or missed
		case main > h.dispatched+1:
			h.miss(main - 1)
			fallthrough
		default:
			h.spread(changes[:n])
		}
		changes = changes[n:]
	}
}

// restart begins to count at the current revision: nobody has watched so far.
func (h *hub) restart(revision int64) {
	h.dispatched = revision
	h.ring.clear()
}

// miss sends all live watchers that have not everything up to a revision to the revision log.
func (h *hub) miss(through int64) {
	for _, f := range h.feeds {
		for _, w := range f.watchers {
			if w.live && w.next <= through {
				h.fallBehind(w, max(w.next, h.dispatched+1))
			}
		}
	}
	h.dispatched = through
	h.ring.clear()
}

// forget takes a feed from the list.
func (h *hub) forget(f *Feed) {
	last := len(h.feeds) - 1
	moved := h.feeds[last]
	h.feeds[f.listed], moved.listed = moved, f.listed
	h.feeds[last] = nil
	h.feeds = h.feeds[:last]
}

// fallBehind makes a live watcher a late one, which has not got what is at or above a revision.
func (h *hub) fallBehind(w *Watcher, next int64) {
	h.live.remove(w)
	w.live, w.next = false, next
	w.feed.fall(w)
}

// spread hands the changes of one revision to the live watchers.
func (h *hub) spread(changes []change) {
	r := &happened{revision: changes[0].at.main, events: make([]*Event, len(changes))}
	for i := range changes {
		e := newEvent(changes[i].at, changes[i].logged())
		r.events[i] = e
		r.bytes += e.size()
		h.live.visit(e.key, func(w *Watcher) {
			if w.wants(e) {
				h.touched = w.gather(h.touched, r.events, i)
			}
		})
	}
	for i, w := range h.touched {
		h.events.Add(uint64(len(w.gathered)))
		if !w.feed.offer(w, r.revision, w.gathered) {
			h.fallBehind(w, r.revision)
		}
		w.gathered, h.touched[i] = nil, nil
	}
	h.touched = h.touched[:0]
	h.dispatched = r.revision
	h.ring.add(r, h.bounds.Ring)
}

func (c *change) logged() *logged {
	return &logged{tombstone: c.tombstone, key: c.key, created: c.created, count: c.count, lease: c.lease, value: c.value}
}
