package store

import "sync"

// inbox is what Apply leaves for the hub.
type inbox struct {
	mu      sync.Mutex
	changes []change // in the order of their revisions
	bytes   int
	missed  int64  // changes up to this revision are only in the log; 0 where none are
	wake    func() // must not block

	spare []change // the hub's, under its lock
}

// add takes over the changes of a batch, unless there are more bytes waiting then than are allowed. It copies the
// list, not what it refers to.
func (b *inbox) add(changes []change, bound int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range changes {
		b.bytes += len(changes[i].key) + len(changes[i].value) + eventOverhead
	}
	b.changes = append(b.changes, changes...)
	if b.bytes > bound {
		b.miss(changes[len(changes)-1].at.main)
	}
	if b.wake != nil {
		b.wake()
	}
}

// skip says that the changes up to a revision were not collected.
func (b *inbox) skip(through int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.miss(through)
	if b.wake != nil {
		b.wake()
	}
}

func (b *inbox) miss(through int64) {
	clear(b.changes)
	b.changes, b.bytes, b.missed = b.changes[:0], 0, through
}

// tellWatchers puts a batch's changes into the inbox, once they are published.
func (s *Store) tellWatchers() {
	e := &s.writer
	if s.hub.watching.Load() > 0 && e.revision > e.base {
		if e.collecting {
			s.hub.inbox.add(e.news, s.hub.bounds.Inbox)
		} else {
			s.hub.inbox.skip(e.revision)
		}
	}
	clear(e.news)
	e.news = e.news[:0]
}

// take empties the inbox. What it returns is valid until the next call.
func (b *inbox) take() (changes []change, missed int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.spare)
	changes, missed = b.changes, b.missed
	b.changes, b.spare = b.spare[:0], changes
	b.bytes, b.missed = 0, 0
	return changes, missed
}
