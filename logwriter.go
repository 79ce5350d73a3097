package balsa

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
	"github.com/balsadb/balsa/wal"
)

// logWriter makes writes durable: all that have queued up, of all groups, with one gathered write and one sync. While
// that runs the next ones queue up. It is an actor.
type logWriter struct {
	host  *Host
	inbox actor.Mailbox[logWrite]
	jobs  actor.Mailbox[func(*wal.Log) error] // what else belongs to the writer: mending. An error is final
	task  actor.Task
	batch []wal.GroupWrite
	// refused are writes that the log had no room for. They are given to it again, before any that came later.
	refused []logWrite
	retryAt actor.Instant
	waits   atomic.Bool // there are some
	// idleAt is when the log is told that nothing follows, Never where it was told.
	idleAt actor.Instant
	failed bool
}

// logWrite is one group's write; write is nil where there is nothing but a position up to which its log is cut.
type logWrite struct {
	replica *replica
	write   *raft.Write
	discard raft.Position
}

// persisted says that a group's write is durable.
type persisted struct {
	replica *replica
	seq     raft.WriteSeq
}

// idleDelay is how long nothing is written before the log counts as idle, and is told to prove that its last batch was
// durable (E53). It is some tens of syncs, so that a lone client's writes do not each come with a mark.
const idleDelay = 5 * time.Millisecond

// fullInterval is how long a full disk is left before it is tried again.
const fullInterval = 100 * time.Millisecond

func (w *logWriter) turn(now actor.Instant) actor.Instant {
	writes := w.inbox.Take()
	if w.failed {
		return actor.Never
	}
	for _, job := range w.jobs.Take() {
		if err := job(w.host.log); err != nil {
			return w.fail(err)
		}
	}
	if len(w.refused) > 0 {
		w.refused = append(w.refused, writes...)
		if now < w.retryAt {
			return w.retryAt
		}
		writes = w.refused
	}
	var err error
	switch {
	case len(writes) > 0:
		err = w.commit(writes)
	case now >= w.idleAt:
		w.idleAt = actor.Never
		err = w.idle()
	}
	switch {
	case err == nil:
		if len(w.refused) > 0 {
			w.waits.Store(false)
		}
		clear(w.refused)
		w.refused = w.refused[:0]
	case errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, wal.ErrFailed):
		return w.waitForRoom(now, writes, err)
	default:
		return w.fail(err)
	}
	return w.idleAt
}

func (w *logWriter) fail(err error) actor.Instant {
	w.failed = true
	w.host.diskFailed(fmt.Errorf("the log's disk failed, and nothing that was in flight can be trusted (E45): %w", err))
	return actor.Never
}

// work has the writer do something with the log between two writes.
func (w *logWriter) work(job func(*wal.Log) error) { w.jobs.Post(job) }

// idle has the log prove that its last batch was durable. That costs a sync, and is observed like any other.
func (w *logWriter) idle() error {
	start := w.host.scheduler.Now()
	if err := w.host.log.Idle(); err != nil {
		return err
	}
	written := w.host.scheduler.Now()
	if err := w.host.log.Sync(); err != nil {
		return err
	}
	synced := w.host.scheduler.Now()
	w.prepare()
	w.host.config.Observer.LogWritten(LogWritten{Write: time.Duration(written - start), Sync: time.Duration(synced - written)})
	return nil
}

// waitForRoom keeps writes for which the disk is too full. Nothing is lost: the protocol takes in no more than its bounds
// meanwhile, and a leader gives up its office in time (E08).
func (w *logWriter) waitForRoom(now actor.Instant, writes []logWrite, err error) actor.Instant {
	if len(w.refused) == 0 {
		w.host.config.Logger.Error("the log's disk is full: nothing can be written until there is space", slog.String("error", err.Error()))
		w.refused = append(w.refused, writes...)
		w.waits.Store(true)
	}
	if w.host.config.Room.RanOut() {
		w.retryAt = now
		return now
	}
	w.retryAt = now.Add(fullInterval)
	return w.retryAt
}

func (w *logWriter) commit(writes []logWrite) error {
	entries, bytes := 0, 0
	w.batch = w.batch[:0]
	for _, lw := range writes {
		if lw.write == nil {
			w.discard(lw)
			continue
		}
		w.batch = append(w.batch, wal.GroupWrite{Group: lw.replica.config.ID, Write: lw.write})
		entries += len(lw.write.Entries)
		for _, e := range lw.write.Entries {
			bytes += len(e)
		}
	}
	start := w.host.scheduler.Now()
	if err := w.host.log.Append(w.batch); err != nil {
		return err
	}
	written := w.host.scheduler.Now()
	if err := w.host.log.Sync(); err != nil {
		return err
	}
	synced := w.host.scheduler.Now()
	for _, lw := range writes {
		if lw.write != nil {
			w.host.loop.persisted.Post(persisted{lw.replica, lw.write.Seq})
		}
	}
	clear(w.batch)
	w.prepare()
	w.idleAt = synced.Add(idleDelay)
	w.host.config.Observer.LogWritten(LogWritten{
		Entries: entries, Bytes: bytes, Write: time.Duration(written - start), Sync: time.Duration(synced - written),
	})
	return nil
}

// discard gives a part of a group's log up, with the next write.
func (w *logWriter) discard(lw logWrite) {
	err := w.host.log.Discard(lw.replica.config.ID, lw.discard)
	if err != nil && !errors.Is(err, wal.ErrNotInLog) { // the log is about to begin anew above it: it will be told again
		w.host.config.Logger.Warn("the log was not cut", groupAttr(lw.replica.config.ID),
			slog.Uint64("index", uint64(lw.discard.Index)), slog.String("error", err.Error()))
	}
}

// prepare has files made and removed where there is need.
func (w *logWriter) prepare() {
	if w.host.log.NeedsPrepare() {
		w.host.preparer.inbox.Post(struct{}{})
	}
}

// logReader reads entries that are no longer in memory, beside the writer so that no sync waits for it. It is an actor.
type logReader struct {
	host  *Host
	inbox actor.Mailbox[fetch]
	asks  actor.Mailbox[func(*wal.Log)] // reads for others
	task  actor.Task
}

// fetch is one group's request for old entries.
type fetch struct {
	replica *replica
	fetch   raft.Fetch
}

// fetched is its answer.
type fetched struct {
	replica *replica
	fetch   raft.Fetch
	entries []raft.Entry
}

// ask has the reader read something for others.
func (r *logReader) ask(read func(*wal.Log)) { r.asks.Post(read) }

func (r *logReader) turn(actor.Instant) actor.Instant {
	for _, read := range r.asks.Take() {
		read(r.host.log)
	}
	for _, f := range r.inbox.Take() {
		entries, err := r.host.log.Read(f.replica.config.ID, f.fetch.Low, f.fetch.High, f.fetch.MaxBytes)
		if errors.Is(err, wal.ErrCompacted) {
			err = nil // the log was cut meanwhile; the protocol sees that nothing came, and asks for a snapshot where it must
		}
		if damage := (*wal.CorruptionError)(nil); errors.As(err, &damage) {
			replica := f.replica
			r.host.loop.control.Post(func() { replica.foundDamaged(damage) })
			err = nil // the protocol asks again
		}
		if err != nil {
			replica, cause := f.replica, fmt.Errorf("reading entries [%d, %d) from the log: %w", f.fetch.Low, f.fetch.High, err)
			r.host.loop.control.Post(func() { replica.fence(cause) })
			continue
		}
		r.host.loop.fetched.Post(fetched{f.replica, f.fetch, entries})
	}
	return actor.Never
}

// logPreparer makes the log's next file ahead of need, beside the writer so that no sync waits for it. It is an actor.
type logPreparer struct {
	host  *Host
	inbox actor.Mailbox[struct{}]
	task  actor.Task
}

// prepareInterval is how long a failed preparation is left before it is tried again.
const prepareInterval = time.Second

func (p *logPreparer) turn(now actor.Instant) actor.Instant {
	p.inbox.Take()
	if !p.host.log.NeedsPrepare() {
		return actor.Never
	}
	err := p.host.log.Prepare()
	if errors.Is(err, vfs.ErrNoSpace) && p.host.config.Room.RanOut() {
		err = p.host.log.Prepare()
	}
	if err != nil { // nothing is lost yet: the writer makes the file itself where it must
		p.host.config.Logger.Warn("the log's next file could not be prepared", slog.String("error", err.Error()))
		return now.Add(prepareInterval)
	}
	return actor.Never
}
