package balsa

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// A member whose state is of no use, because its tables are damaged, a replica of it differs, or it does not reach its log, keeps its
// log and its vote, and is given another state:
//
//	whoever notices ──▶ applier: the state machine gives its state up ──▶ loop: raft.LoseState
//	   follower: asks its leader for a snapshot, until one is installed
//	   leader:   appends nothing, hands over, and is a follower then
//	snapshot, as in snapshotreceive.go ──▶ applier: Restore ──▶ loop: raft.Install, and applying goes on behind it
//
// Nothing is read here meanwhile, and not before the new state is where the lost one had been (E50). At a start the state may also come from
// a snapshot that lies on this disk, or from the log, where that goes back far enough.

// loss is why there is no state, and what the next one must be.
type loss struct {
	err     error // wraps ErrStateLost
	atLeast Index // what was shown of the lost state: an older one would let time go back
	askAt   actor.Instant
}

// errLostAtStart is the cause where a state machine in memory finds no snapshot that reaches its log.
var errLostAtStart = errors.New("no snapshot on this disk reaches the log")

func newLoss(cause error, atLeast Index) *loss {
	return &loss{err: fmt.Errorf("%w: %w", ErrStateLost, cause), atLeast: atLeast}
}

// Lost returns why this member's state is of no use and is being rebuilt: an error that wraps ErrStateLost and the cause, or nil.
func (g *Group) Lost() error {
	if l := g.lost.Load(); l != nil {
		return l.err
	}
	return nil
}

// StateDamaged says that the state machine's stored state was found to be damaged: by a read, a check, a comparison. The state is
// given up and rebuilt; where the state machine is no Rebuilder the group is fenced. It returns at once, and does nothing more
// where the state is lost already.
func (g *Group) StateDamaged(cause error) { g.loseState(cause) }

func (g *Group) loseState(cause error) {
	a := g.applier
	a.asks.Post(func() { a.lose(cause) })
}

// out returns why nothing can be applied.
func (a *applier) out() error {
	if a.err != nil {
		return a.err
	}
	return a.lost
}

// lose has the state machine give its state up, and tells the loop. Who waits for what the state would have shown is answered.
func (a *applier) lose(cause error) {
	if a.out() != nil {
		return
	}
	machine, ok := a.machine.(Rebuilder)
	if !ok {
		a.fence(cause)
		return
	}
	// What was made of a state that differs from the others differs too. It goes first: a restart must not find it, and take it.
	err := a.group.host.snapshots.spool.RemoveOlder(a.group.id, math.MaxUint64)
	if err == nil {
		err = guarded(func() error { return machine.Lose(cause) })
	}
	if err != nil {
		a.fence(errors.Join(cause, err))
		return
	}
	l := newLoss(cause, max(a.applied.Index, a.batch.Position.Index)) // of a batch that failed nobody knows whether it was seen
	for i := range a.waits {
		if a.waits[i].done != nil {
			l.atLeast = max(l.atLeast, a.waits[i].index)
		}
	}
	a.lost = l.err
	a.epoch++
	a.answer()
	a.applied, a.unflushed = Position{}, 0
	clear(a.batch.Commands)
	a.batch, a.adopted, a.bytes = Batch{Commands: a.batch.Commands[:0]}, nil, 0
	a.group.recovered.Store(false)
	a.group.lost.Store(l)
	a.group.applied.Store(0)
	a.wakeWaits()
	a.loop.applied.Post(&applyBatch{replica: a.replica, epoch: a.epoch, lost: l, results: a.takeResults()})
}

func (a *applier) takeResults() []forwardedResult {
	results := a.results
	a.results = nil
	return results
}

// pass answers who waits for entries of a state that was lost since they were handed out. They come again.
func (a *applier) pass(b *applyBatch) {
	for i := range b.waiters {
		w := &b.waiters[i]
		if w.from != 0 {
			a.group.refused(1)
			a.group.forwardedBytes.Add(-int64(w.bytes))
			a.results = append(a.results, forwardedResult{w.from, doubt(w.id, ErrStateLost)})
			continue
		}
		w.answer(Result{}, unknown(ErrStateLost), a.group)
		a.group.release(1, w.bytes)
	}
}

// loseState lets the protocol go on without a state. It runs in the loop.
func (r *replica) loseState(l *loss) {
	r.epoch++
	if r.out != nil {
		r.out.epoch = r.epoch
	}
	if r.stopped != nil {
		return
	}
	r.note(event{what: "state lost", index: l.atLeast})
	r.lost = l
	r.recoverTo = max(r.recoverTo, l.atLeast)
	r.applied, r.durable, r.cutAgain = 0, Position{}, false
	r.guard(func() { r.raft.LoseState(r.now()) })
	r.giveUpWaiting(l.err)
	r.failReads(l.err)
	r.reportLoss()
	w := r.loop.host.snapshots
	w.inbox.Post(func() { w.distrust(w.shelf(r)) })
	r.expireBy(r.loop.now)
}

func (r *replica) reportLoss() {
	r.loop.host.tell(Trouble{
		Kind: TroubleState, Group: r.config.ID,
		Text: "this member's state is of no use: nothing is read here, it goes on voting, and a leader sends it another one",
		Remedy: "none while another member is well: it mends itself; look at this member's disk, that may be failing. Where there is no other " +
			"member with a sound state, restore a backup",
	}, slog.String("reason", r.lost.err.Error()), slog.Uint64("at least", uint64(r.lost.atLeast)))
}

// regainState takes note of the state that the state machine was given.
func (r *replica) regainState(at Position) {
	if r.lost == nil {
		return
	}
	r.loop.host.config.Logger.Info("this member has a state again", groupAttr(r.config.ID), slog.Uint64("index", uint64(at.Index)))
	r.lost = nil
	r.group.lost.Store(nil)
	r.loop.host.ClearTrouble(TroubleState, r.config.ID)
}

// wantsState reports whether a snapshot would do.
func (r *replica) wantsState(at Position) bool { return r.lost == nil || at.Index >= r.lost.atLeast }

// seekState does what can be done for a state, once an election timeout.
func (r *replica) seekState() {
	if r.lost == nil || r.loop.now < r.lost.askAt {
		if r.lost != nil {
			r.expireBy(r.lost.askAt)
		}
		return
	}
	r.lost.askAt = r.loop.now.Add(r.config.ElectionTimeout)
	r.expireBy(r.lost.askAt)
	switch leader := r.leadership.Leader; {
	case r.leadership.Role == raft.Leader:
		if to := furthest(r.raft.Status()); to != 0 {
			_ = r.raft.Transfer(r.now(), to) // one that is under way goes on
		}
	case leader != 0 && r.loop.host.knows(leader, transport.FeatureStateRepair):
		s := r.raft.Status()
		r.loop.outbox(leader).encoder.StateRequest(wire.StateRequest{
			Group: r.config.ID, From: r.loop.host.config.Member, To: leader, FromLife: r.raft.Life(), Term: s.Term,
			AtLeast: max(r.lost.atLeast, s.First-1),
		})
	}
}

// stateRequested has a follower sent what it asks for.
func (r *replica) stateRequested(q *wire.StateRequest) {
	if r.stopped != nil || r.lost != nil || r.leadership.Role != raft.Leader || q.Term != r.leadership.Term || q.To != r.loop.host.config.Member {
		return
	}
	if !r.raft.Knows(raft.Member{ID: q.From, Life: q.FromLife}) {
		return
	}
	r.note(event{what: "state asked for", peer: q.From, term: q.Term, index: q.AtLeast})
	r.needSnapshot(raft.SnapshotNeed{To: q.From, FromLife: r.raft.Life(), ToLife: q.FromLife, Term: q.Term, AtLeast: q.AtLeast})
}

// refuseAll refuses what a leader without a state is asked to append: it could not say what came of it.
func (r *replica) refuseAll(batch []proposal) {
	for i := range batch {
		if batch[i].from != 0 {
			r.refuse(&batch[i], &NotLeaderError{}) // who forwarded it waits for the next leader
			continue
		}
		r.refuse(&batch[i], r.lost.err)
	}
}
