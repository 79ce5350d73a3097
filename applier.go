package balsa

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// applier gives committed commands to the state machine, in order and in batches, and tells who waits for them. It is an actor.
type applier struct {
	group   *Group
	loop    *loop
	replica *replica
	machine StateMachine
	inbox   actor.Mailbox[*applyBatch]
	asks    actor.Mailbox[func()] // what wants the state machine between two batches
	task    actor.Task
	flusher *flusher // nil for a state machine in memory

	applied Position
	// configuration is the last one that was applied, nil where none was; adopted is that of the batch.
	configuration, adopted *raft.ConfigurationAt
	batch                  Batch
	bytes                  int // of entries in batch
	// waiters belong to commands of the batch, in index order.
	waiters []waiter
	// results go back to the members that forwarded the commands.
	results []forwardedResult
	// waits are for indexes above applied, in index order.
	waits []appliedWait
	// unflushed counts the bytes of log that were applied since the flusher was last called.
	unflushed int
	err       error // set once the group is fenced
	// lost is why there is no state to apply anything to; see rebuild.go. epoch counts the states that there were before.
	lost  error
	epoch uint64
}

// applyBatch is what one turn of the loop has for the applier. The applier hands it back empty, with what came of it.
type applyBatch struct {
	entries []raft.Entry
	waiters []waiter
	waits   []appliedWait
	stop    error // set where the group stops: everything that waits ends with it

	replica  *replica
	applied  Index                 // how far the state machine is; 0 where an earlier batch of the same turn says so
	restored Position              // a snapshot that the state machine took; such a batch has nothing else
	covered  *raft.ConfigurationAt // of it
	results  []forwardedResult

	epoch uint64 // of the state that the entries are for, or of what is reported
	lost  *loss  // the state was lost; such a batch has nothing else
}

type forwardedResult struct {
	to     MemberID
	result wire.Result
}

// appliedWait is somebody who is told once the state machine has applied an index: a read barrier, or a proposal that
// the leader has answered.
type appliedWait struct {
	index  Index
	read   func(Index, error)
	done   func(Result, error)
	result Result
	bytes  int
}

func (b *applyBatch) empty() bool { return len(b.entries) == 0 && len(b.waits) == 0 && b.stop == nil }

func (b *applyBatch) reset() {
	clear(b.entries)
	clear(b.waiters)
	clear(b.waits)
	clear(b.results)
	*b = applyBatch{
		replica: b.replica, epoch: b.epoch,
		entries: b.entries[:0], waiters: b.waiters[:0], waits: b.waits[:0], results: b.results[:0],
	}
}

func (a *applier) turn(now actor.Instant) actor.Instant {
	a.applyInbox()
	for _, ask := range a.asks.Take() {
		ask()
	}
	return actor.Never
}

func (a *applier) applyInbox() {
	batches := a.inbox.Take()
	for i, b := range batches {
		if b.epoch == a.epoch {
			a.add(b)
		} else {
			a.pass(b)
		}
		if b.stop != nil && a.err == nil {
			a.apply()
			a.err = b.stop
		}
		if i < len(batches)-1 {
			a.hold(b.waits)
			b.reset()
			b.epoch = a.epoch
			a.loop.applied.Post(b)
		}
	}
	if len(batches) == 0 {
		return
	}
	a.apply()
	last := batches[len(batches)-1]
	a.hold(last.waits)
	a.wakeWaits()
	last.reset()
	last.applied, last.epoch = a.applied.Index, a.epoch
	last.results, a.results = a.results, last.results
	a.loop.applied.Post(last)
}

// add makes entries part of the batch, and applies it whenever it is full.
func (a *applier) add(b *applyBatch) {
	a.waiters = append(a.waiters, b.waiters...)
	for _, e := range b.entries {
		if e.Index() <= a.applied.Index {
			continue // a snapshot brought it
		}
		switch e.Kind() {
		case raft.EntryNormal:
			a.batch.Commands = append(a.batch.Commands, Command{Index: e.Index(), Term: e.Term(), Payload: e.Payload()})
		case raft.EntryNoop:
		case raft.EntryConfiguration:
			a.adopt(e)
		default: // skipping it would let this replica diverge from those that know it
			a.fence(fmt.Errorf("the entry at index %d is of kind %v, which this build does not know: a newer one wrote it", e.Index(), e.Kind()))
		}
		a.batch.Position = e.Position()
		a.bytes += len(e)
		if len(a.batch.Commands) >= a.group.limits.ApplyCommands || a.bytes >= a.group.limits.ApplyBytes {
			a.apply()
		}
	}
}

// apply gives the batch to the state machine and answers who waits for its commands.
func (a *applier) apply() {
	if a.batch.Position.Index > a.applied.Index && a.out() == nil {
		start := a.group.host.scheduler.Now()
		if err := a.call(); errors.Is(err, ErrStateDamaged) {
			a.lose(err)
		} else if err != nil {
			a.fence(err)
		} else {
			a.applied = a.batch.Position
			if a.adopted != nil {
				a.configuration = a.adopted
				a.group.settled.Store(a.adopted)
			}
			a.group.applied.Store(uint64(a.applied.Index))
			a.group.appliedCommands.Add(uint64(len(a.batch.Commands)))
			took := a.group.host.scheduler.Now() - start
			a.group.host.config.Observer.BatchApplied(a.group.id, len(a.batch.Commands), time.Duration(took))
			a.flushIfDue()
		}
	}
	a.answer()
	clear(a.batch.Commands)
	a.batch = Batch{Commands: a.batch.Commands[:0]}
	a.adopted = nil
	a.bytes = 0
}

// adopt makes a configuration what the batch has the state machine remember.
func (a *applier) adopt(e raft.Entry) {
	c, err := raft.DecodeConfiguration(e.Payload())
	if err != nil {
		a.fence(fmt.Errorf("the entry at index %d: %w", e.Index(), err))
		return
	}
	a.adopted = &raft.ConfigurationAt{Index: e.Index(), Configuration: c}
	a.batch.Runtime = encodeRuntime(a.adopted)
}

// snapshot takes the state as it is now, with what the runtime remembers beside it.
func (a *applier) snapshot() (state Snapshot, at Position, runtime []byte, err error) {
	machine, ok := a.machine.(Snapshotter)
	switch {
	case a.out() != nil:
		return nil, at, nil, a.out()
	case !ok:
		return nil, at, nil, fmt.Errorf("a %T cannot give a snapshot", a.machine)
	}
	err = guarded(func() error {
		if state, err = machine.Snapshot(); err != nil {
			return err
		}
		if at = state.Position(); at == a.applied {
			return nil
		}
		return errors.Join(fmt.Errorf("it is one of index %d of term %d, and applied is index %d of term %d",
			at.Index, at.Term, a.applied.Index, a.applied.Term), state.Close())
	})
	if err != nil {
		return nil, at, nil, fmt.Errorf("the state machine gave no snapshot at index %d: %w", a.applied.Index, err)
	}
	return state, at, encodeRuntime(a.configuration), nil
}

// restore gives the state machine a snapshot, unless it is further already, and tells the loop. What was committed below
// it and comes from the loop later is passed over.
func (a *applier) restore(w *snapshotWorker, entry snapshot.Entry) error {
	if a.err != nil {
		return a.err
	}
	if entry.Position.Index > a.applied.Index || a.lost != nil {
		task := a.group.beginTask(&snapshotTask{stage: SnapshotRestoring}, entry.Position, 0)
		covered, err := w.restore(entry, a.machine.(Snapshotter), func(f *snapshot.File) io.Reader {
			task.total.Store(f.Size())
			return &pacedReader{f, &w.disk, w.stopping.Load, task}
		})
		a.group.endTask(task)
		if failed := (*panicError)(nil); errors.As(err, &failed) {
			a.fence(err) // nobody knows what the state is now
		}
		if err != nil {
			return err
		}
		a.applied, a.lost = entry.Position, nil
		if covered != nil {
			a.configuration = covered
			a.group.settled.Store(covered)
		}
		a.group.applied.Store(uint64(a.applied.Index))
		a.unflushed = 0
		a.wakeWaits()
	}
	a.loop.applied.Post(&applyBatch{replica: a.replica, epoch: a.epoch, restored: entry.Position, covered: a.configuration})
	return nil
}

// call runs the state machine.
func (a *applier) call() error {
	err := guarded(func() error { return a.machine.Apply(&a.batch) })
	if err != nil {
		return fmt.Errorf("the state machine failed in the batch that ends at index %d: %w", a.batch.Position.Index, err)
	}
	return nil
}

func (a *applier) flushIfDue() {
	a.unflushed += a.bytes
	if a.unflushed < a.group.limits.FlushBytes {
		return
	}
	a.unflushed = 0
	a.replica.makeDurable()
}

// fence stops the group: what is in hand and what still comes is answered as unknown.
func (a *applier) fence(cause error) {
	if a.err != nil {
		return
	}
	a.err = &fencedError{a.group.id, cause}
	r := a.replica
	a.loop.control.Post(func() { r.fence(cause) })
}

// answer tells the waiters of the batch's commands.
func (a *applier) answer() {
	commands := a.batch.Commands
	local, bytes, used := 0, 0, 0
	for used < len(a.waiters) && (a.waiters[used].index <= a.applied.Index || a.out() != nil) {
		w := &a.waiters[used]
		for len(commands) > 0 && commands[0].Index < w.index {
			commands = commands[1:]
		}
		if w.from != 0 {
			a.answerForwarded(w, commands)
		} else {
			a.answerLocal(w, commands)
			local, bytes = local+1, bytes+w.bytes
		}
		used++
	}
	a.group.release(local, bytes)
	n := copy(a.waiters, a.waiters[used:])
	clear(a.waiters[n:])
	a.waiters = a.waiters[:n]
}

func (a *applier) answerLocal(w *waiter, commands []Command) {
	if err := a.missed(w, commands); err != nil {
		w.answer(Result{}, unknown(err), a.group)
		return
	}
	w.answer(Result{Index: w.index, Term: w.term, Value: commands[0].Result}, nil, a.group)
}

func (a *applier) answerForwarded(w *waiter, commands []Command) {
	result := wire.Result{ID: w.id, Index: w.index, Term: w.term, Code: wire.CodeApplied}
	if err := a.missed(w, commands); err != nil {
		a.group.refused(1)
		result = doubt(w.id, err)
	} else {
		result.Value = commands[0].Result
	}
	a.group.forwardedBytes.Add(-int64(w.bytes))
	a.results = append(a.results, forwardedResult{w.from, result})
}

// missed says why the first of the commands is not the one that w waits for. A waiter counts only for the entry that it
// was appended as: where its index holds another term's entry, its own was lost, and this member cannot say more (E47).
func (a *applier) missed(w *waiter, commands []Command) error {
	switch {
	case a.out() != nil:
		return a.out()
	case len(commands) == 0 || commands[0].Index != w.index || commands[0].Term != w.term:
		return ErrLeaderChanged
	}
	return nil
}

// hold keeps waits until their index is applied.
func (a *applier) hold(waits []appliedWait) {
	for _, w := range waits {
		i := len(a.waits)
		if i > 0 && a.waits[i-1].index > w.index {
			i = sort.Search(i, func(i int) bool { return a.waits[i].index > w.index })
		}
		a.waits = slices.Insert(a.waits, i, w)
	}
}

// wakeWaits tells those whose index is applied; all of them once the group is fenced.
func (a *applier) wakeWaits() {
	used := 0
	for used < len(a.waits) && (a.waits[used].index <= a.applied.Index || a.out() != nil) {
		a.waits[used].answer(a.group, a.out())
		used++
	}
	n := copy(a.waits, a.waits[used:])
	clear(a.waits[n:])
	a.waits = a.waits[:n]
}

// answer tells who waits. A proposal's outcome is known by now, but not its result to be seen here, where err is not nil.
func (w *appliedWait) answer(g *Group, err error) {
	if w.read != nil {
		g.reading.Add(-1)
		if err != nil {
			w.read(0, err)
		} else {
			w.read(w.index, nil)
		}
		return
	}
	g.release(1, w.bytes)
	if err != nil && !errors.Is(err, ErrStateLost) { // who lost his state reads nothing here before it has this index
		g.refused(1)
		w.done(Result{}, unknown(err))
		return
	}
	w.done(w.result, nil)
}

// abandon ends everything that waits. The actor is stopped by now: whoever calls it owns the applier.
func (a *applier) abandon(cause error) {
	for _, b := range a.inbox.Close() {
		a.waiters = append(a.waiters, b.waiters...)
		a.hold(b.waits)
	}
	if a.err == nil {
		a.err = cause
	}
	a.answer()
	a.wakeWaits()
}

// flusher makes a durable state machine's state durable from time to time, beside the applier. It is an actor.
type flusher struct {
	group   *Group
	loop    *loop
	replica *replica
	machine DurableStateMachine
	inbox   actor.Mailbox[struct{}]
	task    actor.Task
	failed  bool
}

func (f *flusher) turn(now actor.Instant) actor.Instant {
	if len(f.inbox.Take()) == 0 || f.failed {
		return actor.Never
	}
	durable, err := Position{}, f.flush()
	if err == nil {
		err = guarded(func() (err error) { durable, err = f.machine.Durable(); return err })
	}
	r := f.replica
	if errors.Is(err, ErrStateDamaged) {
		f.group.loseState(err)
		return actor.Never
	}
	f.loop.control.Post(func() {
		if err != nil {
			r.fence(err)
			return
		}
		r.durableTo(durable)
		r.loop.touch(r)
	})
	f.failed = err != nil
	return actor.Never
}

func (f *flusher) flush() (err error) {
	start := f.group.host.scheduler.Now()
	err = guarded(func() error { return f.machine.Flush() })
	if err != nil {
		return fmt.Errorf("the state machine could not make its state durable: %w", err)
	}
	f.group.host.config.Observer.Flushed(f.group.id, time.Duration(f.group.host.scheduler.Now()-start))
	return nil
}
