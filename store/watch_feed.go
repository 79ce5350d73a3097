package store

import (
	"errors"
	"sync"
	"sync/atomic"
)

// WatchOptions say what a watcher is told of.
type WatchOptions struct {
	// Owner is whatever the reader of the feed wants to know a watcher by.
	Owner any
	// Key and RangeEnd are as in all requests of the API.
	Key, RangeEnd []byte
	// Start is the first revision of interest; 0 is the one after the current one.
	Start int64
	// NoPut and NoDelete leave out events of a kind.
	NoPut, NoDelete bool
	// PreviousKV asks for the pair before each event.
	PreviousKV bool
}

// Watcher is a watcher on a feed.
type Watcher struct {
	feed    *Feed
	options WatchOptions
	in      interval

	// next is the first revision that it was not handed yet. For a live watcher it counts only where it is beyond what
	// was dispatched. It is guarded by the hub's lock, and belongs to Feed.Next while the watcher is late.
	next  int64
	since int64 // the store's revision when it was made
	// live, and the place in the feed's list, are guarded by the hub's lock.
	live   bool
	listed int
	ended  atomic.Bool // set with the hub's lock held

	// The place in the index that it is in, and the events that are being gathered for it: the index's owner's.
	crowd    *crowd
	place    int
	gathered []*Event
	first    int
}

// Owner returns what the watcher was made with.
func (w *Watcher) Owner() any { return w.options.Owner }

// PreviousKV reports whether the watcher is told what was there before.
func (w *Watcher) PreviousKV() bool { return w.options.PreviousKV }

// wants reports whether an event of one of its keys is for it.
func (w *Watcher) wants(e *Event) bool { return w.takes(e.Revision, e.deleted) }

func (w *Watcher) takes(revision int64, deleted bool) bool {
	if deleted && w.options.NoDelete || !deleted && w.options.NoPut {
		return false
	}
	return revision >= w.next
}

// gather adds events[i] to what is gathered for the watcher, and the watcher to those for whom something is. Where
// it gets a row of events without a gap it gets a piece of the list, which others share.
func (w *Watcher) gather(touched []*Watcher, events []*Event, i int) []*Watcher {
	switch n := len(w.gathered); {
	case n == 0:
		w.first, w.gathered = i, events[i:i+1:i+1]
		return append(touched, w)
	case w.first+n == i:
		w.gathered = events[w.first : i+1 : i+1]
	default:
		w.gathered = append(w.gathered, events[i])
	}
	return touched
}

// DeliveryKind says what a Delivery tells.
type DeliveryKind uint8

// What a feed delivers.
const (
	// DeliverEvents has all events of one or more revisions for a watcher; none of its revisions is divided.
	DeliverEvents DeliveryKind = iota
	// DeliverCreated comes before everything else for a watcher. Its revision is the store's at that moment.
	DeliverCreated
	// DeliverCanceled is the last for a watcher: Cancel was called.
	DeliverCanceled
	// DeliverCompacted is the last for a watcher: what it would be told next was compacted.
	DeliverCompacted
	// DeliverProgress says that everything up to the revision was delivered: to the watcher, or without one to all of the feed's.
	DeliverProgress
	// DeliverNote has what was given to Post.
	DeliverNote
)

// Delivery is something that a feed has for its client.
type Delivery struct {
	Kind    DeliveryKind
	Watcher *Watcher // nil for notes, and progress of the whole feed
	// Revision is one up to which, once this is delivered, the watcher was told everything; the compact revision for
	// DeliverCompacted.
	Revision int64
	Events   []*Event
	Note     any
}

// deliveryOverhead is what a delivery counts besides its events.
const deliveryOverhead = 64

// Feed brings the events of any number of watchers to one client, in order. One goroutine calls Next; everything
// else may be called concurrently with it.
type Feed struct {
	store *Store
	wake  func()

	watchers []*Watcher // guarded by the hub's lock, like closed and listed
	closed   bool
	listed   int // the place among the hub's feeds

	mu       sync.Mutex
	queue    []Delivery
	bytes    int64      // of the queue
	pending  int        // events in it
	behind   []*Watcher // late ones that Next does not know yet
	late     int        // how many are late, those that Next knows included
	progress bool       // is to be told once none is late

	catchUp
}

// NewFeed returns a feed without watchers. wake is called when Next may have something to return; it must not block.
func (s *Store) NewFeed(wake func()) *Feed {
	f := &Feed{store: s, wake: wake}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	f.listed = len(s.hub.feeds)
	s.hub.feeds = append(s.hub.feeds, f)
	return f
}

// ErrFeedClosed is the error of Watch after Close.
var ErrFeedClosed = errors.New("store: the feed is closed")

// Watch adds a watcher. Its DeliverCreated is queued before this returns.
func (f *Feed) Watch(options WatchOptions) (*Watcher, error) {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.closed {
		return nil, ErrFeedClosed
	}
	if h.watching.Add(1) == 1 {
		h.restart(f.store.state.Load().revision)
	} else {
		h.dispatch()
	}
	now := f.store.state.Load().revision
	w := &Watcher{
		feed: f, options: options, in: newInterval(options.Key, options.RangeEnd),
		next: options.Start, since: now, listed: len(f.watchers),
	}
	if w.next == 0 {
		w.next = now + 1
	}
	f.watchers = append(f.watchers, w)
	f.post(Delivery{Kind: DeliverCreated, Watcher: w, Revision: now})
	if w.next > h.dispatched {
		w.live = true
		h.live.add(w)
	} else {
		f.fall(w)
	}
	return w, nil
}

// Cancel ends a watcher, and queues its DeliverCanceled. It may be called again, and after a DeliverCompacted.
func (f *Feed) Cancel(w *Watcher) {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(w)
	f.post(Delivery{Kind: DeliverCanceled, Watcher: w, Revision: f.store.state.Load().revision})
	f.tellProgress(h.dispatched)
}

// end takes a watcher out of everything but the list of late ones, from which Feed.Next takes it.
func (h *hub) end(w *Watcher) {
	if w.ended.Swap(true) {
		return
	}
	if h.watching.Add(-1) == 0 {
		h.ring.clear()
	}
	f := w.feed
	last := len(f.watchers) - 1
	moved := f.watchers[last]
	f.watchers[w.listed], moved.listed = moved, w.listed
	f.watchers[last] = nil
	f.watchers = f.watchers[:last]
	if w.live {
		h.live.remove(w)
		w.live = false
	} else {
		f.recover(1)
	}
}

// Close ends all watchers, without telling. Next must have returned for the last time. It may be called again.
func (f *Feed) Close() {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.closed {
		return
	}
	for len(f.watchers) > 0 {
		h.end(f.watchers[len(f.watchers)-1])
	}
	f.closed = true
	h.forget(f)
}

// Post queues a note, in order with everything else.
func (f *Feed) Post(note any) { f.post(Delivery{Kind: DeliverNote, Note: note}) }

func (f *Feed) post(d Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.push(d, 0)
}

func (f *Feed) push(d Delivery, bytes int64) {
	f.queue = append(f.queue, d)
	f.bytes += bytes + deliveryOverhead
	f.pending += len(d.Events)
	f.wake()
}

// offer queues events for a watcher, and reports whether there was room for them.
func (f *Feed) offer(w *Watcher, revision int64, events []*Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes >= f.store.hub.bounds.Feed {
		return false
	}
	f.push(Delivery{Kind: DeliverEvents, Watcher: w, Revision: revision, Events: events}, sizeOf(events))
	return true
}

func sizeOf(events []*Event) (total int64) {
	for _, e := range events {
		total += e.size()
	}
	return total
}

// fall notes that a watcher is late.
func (f *Feed) fall(w *Watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = append(f.behind, w)
	f.late++
	if at := f.position.Load(); at == 0 || w.next < at {
		f.position.Store(w.next)
	}
	f.wake()
}

// recover notes that late watchers are late no more.
func (f *Feed) recover(watchers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.late -= watchers; f.late == 0 {
		f.position.Store(0)
	}
}

// AskProgress queues a DeliverProgress for the whole feed, as soon as no watcher of it is late. Like etcd it stays silent
// where there is no watcher, or one that begins in the future: a client would take it for a sign that it may begin earlier.
func (f *Feed) AskProgress() {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dispatch()
	f.mu.Lock()
	f.progress = true
	f.mu.Unlock()
	f.tellProgress(h.dispatched)
}

// tellProgress queues the progress that was asked for, if that is possible now. The hub's lock is held.
func (f *Feed) tellProgress(dispatched int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.progress || f.late > 0 {
		return
	}
	f.progress = false
	for _, w := range f.watchers {
		if w.waits(dispatched) {
			return
		}
	}
	if len(f.watchers) > 0 {
		f.push(Delivery{Kind: DeliverProgress, Revision: dispatched}, 0)
	}
}

// waits reports whether a live watcher begins in the future.
func (w *Watcher) waits(dispatched int64) bool { return w.next > max(dispatched, w.since)+1 }

// Progress queues a DeliverProgress for one watcher, if it is live and does not begin in the future.
func (f *Feed) Progress(w *Watcher) {
	h := &f.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.live && !w.waits(h.dispatched) {
		f.post(Delivery{Kind: DeliverProgress, Watcher: w, Revision: max(h.dispatched, w.since)})
	}
}
