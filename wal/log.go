package wal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/balsadb/balsa/raft"
)

// Log is an open log. Append, Discard, Sync, Idle and Close have one caller at a time, the log writer. Read, Horizon, Prepare,
// NeedsPrepare and Stats may be called by anybody at any time.
type Log struct {
	files
	identity    Identity
	segmentSize int64
	lock        io.Closer

	// The writer's own.
	active   *segment
	tail     Position // where the next batch goes
	synced   Position // everything before it is durable
	marking  Position // the mark of the last batch, synced or not
	proved   Position // everything before it is durable, and so is a mark that says so
	marked   bool     // the last batch is a mark, or there is none: nothing durable lacks a proof
	votes    votes
	building builder
	echo     []run // the last batch's runs, which the next one repeats
	echoAt   int64
	gather   gather
	taken    int // writes at the start of a refused Append that are in the log already
	failure  error

	discarding []*group // groups with a floor that waits to be recorded
	free       release

	doubts doubts // the writer's own, too

	mu       sync.RWMutex // guards groups, wounds (both written to by the writer only) and segments
	groups   *groups
	wounds   []*wound
	segments []*segment // consecutive numbers

	reading sync.RWMutex // held by readers while they use the segments' files, so that Close waits for them
	closed  bool

	prepare preparation
	stats   counters
}

// fail makes the log unusable for ever and says why.
func (l *Log) fail(err error) error {
	if l.failure == nil {
		l.failure = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return l.failure
}

// Sync makes everything that was appended durable. Where terms or votes changed, their second copy is, too. An error is final.
func (l *Log) Sync() error {
	if l.failure != nil {
		return l.failure
	}
	if l.synced != l.tail {
		if err := l.active.file.Sync(); err != nil {
			return l.fail(err)
		}
		l.synced, l.proved = l.tail, l.marking
		l.stats.syncs.Add(1)
	}
	if l.votes.changed {
		if err := l.votes.write(l.files, l.identity, l.synced, l.groups); err != nil {
			return l.fail(err)
		}
		l.proved = l.synced
		l.stats.voteSyncs.Add(1)
	}
	l.stats.proved.Store(l.proved.progress())
	l.freeSegments()
	return nil
}

// Progress grows for as long as the directory lives, restarts and repairs included: all up to there is durable, with a proof of it. It
// may be called by anybody at any time.
func (l *Log) Progress() uint64 { return l.stats.proved.Load() }

// progress makes one number of a position: segments are smaller than 64 GiB, and fewer than 268 million.
func (p Position) progress() uint64 { return p.Segment<<36 | uint64(p.Offset)&(1<<36-1) }

// Idle appends a mark, which proves that what was synced was durable: without it the last batch, if it is damaged
// later, looks like a torn tail (E53). It does nothing where the last batch is proved already, or is not synced yet.
//
// The log writer calls Idle when nothing is waiting after a Sync: it is one small write. A process that is killed then
// leaves the mark behind. Against a power cut the mark must be synced too: call Sync once nothing has
// followed for some milliseconds, so that a busy log pays nothing for it.
func (l *Log) Idle() error {
	if l.failure != nil {
		return l.failure
	}
	if l.marked || l.synced != l.tail {
		return nil
	}
	b := &l.building.batch
	b.echo, b.echoOffset = l.echo, l.echoAt
	if b.measure(); l.tail.Offset+b.size > l.active.size {
		b.echo, b.echoOffset = nil, 0
		b.measure()
	}
	if l.tail.Offset+b.size > l.active.size {
		return nil // the head of the next segment will be the proof
	}
	l.stats.marks.Add(1)
	return l.write()
}

// Close writes what proves that the log is whole, and releases it. What was not synced is synced.
func (l *Log) Close() error {
	if l.failure == nil {
		_ = l.Sync() // a failure shows in l.failure
	}
	if l.failure == nil && l.Idle() == nil {
		_ = l.Sync()
	}
	var failed error
	if l.failure != nil && !errors.Is(l.failure, ErrClosed) {
		failed = l.failure
	}
	l.failure = ErrClosed
	prepared := l.prepare.close(l.files, l.identity, failed == nil)
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	errs := []error{failed, prepared}
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	errs = append(errs, l.votes.close(), l.lock.Close())
	return errors.Join(errs...)
}

// Stats are counters since the log was opened, and sizes as they are.
type Stats struct {
	Segments      int    // files in use
	Bytes         uint64 // from the first segment's start to the end of the log
	AppendedBytes uint64
	Batches       uint64
	Entries       uint64
	Marks         uint64
	Syncs         uint64 // of the log itself: each is one fdatasync
	VoteSyncs     uint64 // of the second copy of terms and votes
	Rolls         uint64
	Removed       uint64 // segments that nobody needed any more
	Reserve       uint64 // bytes that can be appended before more space is needed
}

type counters struct {
	appended, batches, entries, marks, syncs, voteSyncs, rolls, removed atomic.Uint64
	tail, room                                                          atomic.Int64
	proved                                                              atomic.Uint64
}

// Stats may be called by anybody at any time.
func (l *Log) Stats() Stats {
	s := Stats{
		AppendedBytes: l.stats.appended.Load(), Batches: l.stats.batches.Load(), Entries: l.stats.entries.Load(),
		Marks: l.stats.marks.Load(), Syncs: l.stats.syncs.Load(), VoteSyncs: l.stats.voteSyncs.Load(), Rolls: l.stats.rolls.Load(),
		Removed: l.stats.removed.Load(),
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s.Segments = len(l.segments)
	for _, segment := range l.segments[:s.Segments-1] {
		s.Bytes += uint64(segment.size)
	}
	s.Bytes += uint64(l.stats.tail.Load())
	s.Reserve = uint64(l.stats.room.Load() + l.prepare.ready.Load())
	return s
}

// GroupWrite is one write of one group. The log refers to its entries until Append returns.
type GroupWrite struct {
	Group raft.GroupID
	Write *raft.Write
}
