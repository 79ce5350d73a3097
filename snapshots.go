package balsa

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// snapshotWorker writes snapshots of state machines into files, sends them to followers that need entries which the log
// has no longer, and receives them. It is an actor of its own, so that neither the log nor a heartbeat waits for it.
//
//	leader    loop ──need──▶ worker ──ask──▶ applier: Snapshot ──▶ worker: file ──pieces, bulk lane──▶
//	follower  ──▶ worker: file, verified and durable ──▶ applier: Restore ──▶ loop: the protocol's Install
//
// A file is written first and sent then, on both sides: so a follower that is slow keeps nobody waiting, several share one
// file, and a state machine is never given a snapshot that was not verified to its end. What takes long is done by an actor for each
// group, its scribe.
type snapshotWorker struct {
	host  *Host
	spool *snapshot.Spool
	inbox actor.Mailbox[func()]
	task  actor.Task
	now   actor.Instant

	shelves  []*shelf
	sends    []*snapshotSend
	ordered  []*delegation // to others
	receipts []*snapshotReceipt

	closed   bool
	stopping atomic.Bool // the host is: what goes on in other actors ends early
	first    int         // the send that goes first in this turn
	sending  pace
	disk     diskPace

	arrived atomic.Int64 // bytes of pieces in the inbox
}

// shelf is what the worker has of one group's own snapshots.
type shelf struct {
	replica *replica
	newest  raft.Position // of the file, zero where there is none
	making  bool
	scribe  *scribe         // nil until there is something to write
	waiting []*snapshotSend // for the one that is being made
	// failures counts, for each member, the snapshots in a row that it did not install.
	failures map[MemberID]int
	// held is what members have a part of, as they have told this leader; alone those for whom another's sending came to nothing, so that
	// this leader sends itself.
	held  map[MemberID]*wire.SnapshotNews
	alone map[MemberID]bool
	// keepUntil is how long the newest file stays though nobody is being sent it, and keptUntil what has arrived in part though nobody
	// sends the rest; 0 where there is nothing.
	keepUntil, keptUntil actor.Instant
	// leftovers could not be removed; they are tried again at sweepAt.
	leftovers []snapshot.Entry
	sweepAt   actor.Instant
}

func newSnapshotWorker(h *Host) (*snapshotWorker, error) {
	spool, err := snapshot.OpenSpool(h.config.FS, h.config.SnapshotDir)
	if err != nil {
		return nil, err
	}
	rate := h.config.SnapshotRate
	return &snapshotWorker{host: h, spool: spool, sending: pace{rate: rate}, disk: diskPace{scheduler: h.scheduler, pace: pace{rate: rate}}}, nil
}

func (w *snapshotWorker) turn(now actor.Instant) actor.Instant {
	w.now = now
	for _, act := range w.inbox.Take() {
		act()
	}
	return min(w.pumpSends(), w.pumpOrdered(), w.expireReceipts(), w.sweep())
}

func (w *snapshotWorker) shelf(r *replica) *shelf {
	i := slices.IndexFunc(w.shelves, func(s *shelf) bool { return s.replica == r })
	if i < 0 {
		i = len(w.shelves)
		w.shelves = append(w.shelves, &shelf{replica: r, failures: map[MemberID]int{}, held: map[MemberID]*wire.SnapshotNews{}, alone: map[MemberID]bool{}})
		w.inherit(w.shelves[i])
	}
	return w.shelves[i]
}

// inherit takes over what an earlier life had: the newest file may be what a transfer goes on from, and a part what one goes on to.
func (w *snapshotWorker) inherit(s *shelf) {
	newest, found, err := w.spool.Newest(s.replica.config.ID)
	if found {
		s.newest = newest.Position
		w.keep(s)
	}
	kept, failed := w.spool.Kept(s.replica.config.ID)
	if len(kept) > 0 {
		s.keptUntil = w.now.Add(keepFor * s.replica.config.ElectionTimeout)
	}
	if err = errors.Join(err, failed); err != nil {
		w.host.config.Logger.Warn("what is left of earlier snapshots cannot be seen", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
	}
}

// keepFor is how many election timeouts a file is kept for a transfer to go on from, or to, after that has ended: its sender, or its
// receiver, may be back by then, or another leader have it go on.
const keepFor = 300

// keep lets the newest file stay for a while.
func (w *snapshotWorker) keep(s *shelf) {
	s.keepUntil = w.now.Add(keepFor * s.replica.config.ElectionTimeout)
}

// distrust gives up the newest file: it may be the reason why something failed.
func (w *snapshotWorker) distrust(s *shelf) {
	if at := s.newest; at.Index > 0 && !s.replica.inMemory() {
		_ = w.remove(s, s.entry(at)) // it is told, and tried again
	}
	s.newest = raft.Position{}
}

// make has a new snapshot of the group's state machine made.
func (w *snapshotWorker) make(s *shelf) {
	if s.making {
		return
	}
	s.making = true
	a := s.replica.applier
	a.asks.Post(func() {
		state, at, runtime, err := a.snapshot()
		if !w.inbox.Post(func() { w.made(s, state, at, runtime, err) }) && state != nil {
			_ = guarded(state.Close)
		}
	})
}

// made has the state written into a file.
func (w *snapshotWorker) made(s *shelf, state Snapshot, at raft.Position, runtime []byte, err error) {
	if err != nil {
		w.written(s, at, err)
		return
	}
	if w.closed || !slices.Contains(w.shelves, s) {
		_ = guarded(state.Close) // the group is closed
		return
	}
	r, c := s.replica, w.scribe(s)
	s.wanted(at)
	meta := snapshot.Meta{Group: r.config.ID, Position: at, Runtime: runtime}
	if !w.host.loop.control.Post(func() {
		r.pin(s, 0, at.Index)
		meta.Identity = max(w.host.config.Random(), 1)
		if !c.inbox.Post(func() {
			err := c.write(w, r.group, meta, state)
			w.inbox.Post(func() { w.written(s, at, err) })
		}) {
			_ = guarded(state.Close)
		}
	}) {
		_ = guarded(state.Close)
	}
}

// written starts whoever waits for a snapshot that is a file now.
func (w *snapshotWorker) written(s *shelf, at raft.Position, err error) {
	if !slices.Contains(w.shelves, s) {
		return // the group is closed
	}
	if err == nil {
		w.shelved(s, at)
	} else if at.Index > s.newest.Index {
		_ = w.remove(s, s.entry(at)) // it may be there all the same, if only the last sync failed
	}
	r := s.replica
	defer w.host.loop.control.Post(func() { r.unpin(s) })
	s.making = false
	waiting := s.waiting
	s.waiting = nil
	if err != nil {
		w.host.config.Logger.Warn("a snapshot could not be made", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
		for _, send := range waiting {
			w.sendFailed(send)
		}
		return
	}
	for _, send := range waiting {
		w.begin(send)
	}
	w.tidy(s)
}

// shelved notes a durable file. A state machine in memory starts from it again, so the log before it is not needed any more.
func (w *snapshotWorker) shelved(s *shelf, at raft.Position) {
	if at.Index <= s.newest.Index {
		return
	}
	s.newest = at
	if r := s.replica; r.inMemory() {
		w.host.loop.control.Post(func() { r.durableTo(at) })
	}
}

func groupAttr(id GroupID) slog.Attr { return slog.Uint64("group", uint64(id)) }

// recover gives a state machine in memory the newest snapshot that is whole, and returns its position, and the configuration that
// it covers. A damaged one is passed over: the log may reach back further.
func (w *snapshotWorker) recover(id GroupID, machine Snapshotter) (at Position, covered *raft.ConfigurationAt, err error) {
	return w.recoverFrom(id, machine, 0)
}

// recoverFrom is recover with snapshots that are not older than an index.
func (w *snapshotWorker) recoverFrom(id GroupID, machine Snapshotter, atLeast Index) (at Position, covered *raft.ConfigurationAt, err error) {
	all, err := w.spool.List()
	if err != nil {
		return at, nil, err
	}
	for _, entry := range slices.Backward(all) {
		if entry.Group != id || entry.Position.Index < atLeast {
			continue
		}
		if covered, err = w.restore(entry, machine, func(f *snapshot.File) io.Reader { return f }); err == nil {
			return entry.Position, covered, nil
		}
		if panicked := (*panicError)(nil); errors.As(err, &panicked) {
			return at, nil, fmt.Errorf("restoring the snapshot at index %d: %w", entry.Position.Index, err) // nobody knows what the state is now
		}
		w.host.config.Logger.Error("a snapshot is of no use; an older one or the log itself may be", groupAttr(id),
			slog.Uint64("index", uint64(entry.Position.Index)), slog.String("error", err.Error()))
	}
	return Position{}, nil, nil
}

// restore gives a snapshot to a state machine, which reads it from what from makes of the file, and returns the configuration that it covers.
func (w *snapshotWorker) restore(entry snapshot.Entry, machine Snapshotter, from func(*snapshot.File) io.Reader) (covered *raft.ConfigurationAt, err error) {
	file, err := w.spool.Open(entry)
	if err != nil {
		return nil, err
	}
	if covered, err = decodeRuntime(file.Meta().Runtime); err == nil {
		err = guarded(func() error { return machine.Restore(entry.Position, from(file)) })
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	return covered, err
}

// forget ends all that is under way for a group that is closed.
func (w *snapshotWorker) forget(r *replica) {
	for _, s := range slices.Clone(w.sends) {
		if s.replica == r {
			w.end(s)
		}
	}
	for _, d := range slices.Clone(w.ordered) {
		if d.replica == r {
			w.endDelegation(d)
		}
	}
	for _, c := range slices.Clone(w.receipts) {
		if c.replica == r {
			w.abort(c)
		}
	}
	for _, s := range w.shelves {
		if s.replica == r && s.scribe != nil {
			s.scribe.stop()
		}
	}
	w.shelves = slices.DeleteFunc(w.shelves, func(s *shelf) bool { return s.replica == r })
}

// close ends everything. The actor is stopped by now: whoever calls it owns the worker.
func (w *snapshotWorker) close() {
	w.closed = true
	for _, s := range w.shelves {
		if s.scribe != nil {
			s.scribe.stop()
		}
	}
	for _, act := range w.inbox.Close() {
		act() // states are let go so
	}
	for len(w.sends) > 0 {
		w.end(w.sends[0])
	}
	for len(w.receipts) > 0 {
		w.abort(w.receipts[0])
	}
}

// inMemory reports whether the group's state machine keeps its state in memory.
func (r *replica) inMemory() bool {
	_, durable := r.config.StateMachine.(DurableStateMachine)
	return !durable
}
