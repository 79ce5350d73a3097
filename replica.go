package balsa

import (
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// replica is this host's member of one group, as the loop knows it: nobody else reads or writes it.
type replica struct {
	loop       *loop
	group      *Group
	config     GroupConfig
	raft       *raft.Raft
	applier    *applier
	leadership Leadership
	recorder   recorder
	stopped    error // why the replica does nothing any more

	proposals []proposal // of this turn
	spare     []proposal // the last turn's slice, to be used again
	entries   []raft.Entry
	held      []held
	waiting   waiters
	forwarded forwards

	arriving []func(Index, error) // read barriers of this turn
	reading  []readers
	lastRead raft.ReadID

	transfers  []transferWait
	changes    []changeWait
	expulsions []expulsion
	// saidRemoved: it was told that this member was removed.
	saidRemoved bool

	applied   Index // what the applier has reported
	recoverTo Index // what the log had recorded as committed when this host started, or what was applied when the state was lost

	mend  *mender // what the log lost; nil where nothing is missing
	lost  *loss   // why there is no state; see rebuild.go
	epoch uint64  // as the applier's

	durable         Position // of the state machine, when the group was started
	cutAt           Index    // the log begins after it
	cutAgain        bool     // more is durable than the loop knows to be applied
	pins            []pin    // what keeps the log from being cut
	ordered         bool     // a leader had this member send a snapshot in its place
	saidNoSnapshots bool

	out  *applyBatch // of this turn
	free []*applyBatch

	touched bool
	expiry  actor.Instant // when expire has something to do
	due     actor.Instant // in loop.timers
	timer   int
}

func (r *replica) now() raft.Instant { return raft.Instant(r.loop.now) }

// settle ends a replica's turn: time passes, what was gathered is proposed and asked, and what came of it all is carried out.
func (r *replica) settle() {
	r.guard(r.step)
	if r.stopped == nil {
		r.loop.timers.set(r)
	}
	r.handOver()
}

// handOver gives the applier what this turn has for it.
func (r *replica) handOver() {
	b := r.out
	if b == nil || b.empty() {
		return
	}
	r.out = nil
	if !r.applier.inbox.Post(b) { // the group is closed
		for i := range b.waiters {
			r.giveUp(&b.waiters[i], ErrClosed)
		}
		for i := range b.waits {
			b.waits[i].answer(r.group, ErrClosed)
		}
	}
}

func (r *replica) step() {
	if r.now() >= r.raft.Deadline() {
		r.raft.Tick(r.now())
	}
	r.expire()
	r.seekLosses()
	r.seekState()
	r.raiseLevel()
	r.propose()
	r.read()
	if r.raft.HasOutput() {
		r.carryOut(r.raft.Output())
	}
	if len(r.proposals) > 0 { // they were held, and there is a leader now
		r.propose()
		r.carryOut(r.raft.Output())
	}
}

// wantsTurn returns when the replica's next turn is due though nothing came.
func (r *replica) wantsTurn() actor.Instant {
	if r.raft.HasOutput() {
		return r.loop.now
	}
	if r.mend != nil {
		return min(actor.Instant(r.raft.Deadline()), r.expiry, r.mend.askAt)
	}
	return min(actor.Instant(r.raft.Deadline()), r.expiry)
}

func (r *replica) receive(env raft.Envelope) {
	r.note(event{what: messageName(env.Message), peer: env.From, term: env.Message.SenderTerm()})
	r.guard(func() { r.raft.Receive(r.now(), env) })
}

// messageName says what a message is, for the recorder.
func messageName(m raft.Message) string {
	switch m.(type) {
	case *raft.AppendEntries:
		return "append received"
	case *raft.AppendResponse:
		return "answer to an append received"
	case *raft.PreVoteRequest:
		return "request for a pre-vote received"
	case *raft.RequestVote:
		return "request for a vote received"
	case *raft.PreVoteResponse:
		return "pre-vote received"
	case *raft.VoteResponse:
		return "vote received"
	case *raft.TimeoutNow:
		return "order to campaign received"
	}
	return "message received"
}

// carryOut does what the protocol wants done.
func (r *replica) carryOut(o raft.Output) {
	if w := o.Write; w != nil {
		r.note(event{what: "write", term: w.HardState.Term, index: Index(len(w.Entries)), n: uint64(w.Seq)})
		r.loop.host.writer.inbox.Post(logWrite{replica: r, write: w})
	}
	for i := range o.Messages {
		r.loop.message(o.Messages[i])
	}
	if len(o.Committed) > 0 {
		r.commit(o.Committed)
	}
	for _, f := range o.Fetches {
		r.loop.host.reader.inbox.Post(fetch{r, f})
	}
	for _, need := range o.Snapshots {
		r.needSnapshot(need)
	}
	r.finishReads(o.Reads)
	if o.Membership != nil {
		r.changeMembership(*o.Membership)
	}
	if o.Leadership != nil {
		r.changeLeadership(*o.Leadership)
		r.checkRemoved()
	}
}

// commit hands committed entries to the applier, with those who wait for them.
func (r *replica) commit(entries []raft.Entry) {
	last := entries[len(entries)-1].Position()
	r.note(event{what: "committed", term: last.Term, index: last.Index, n: uint64(len(entries))})
	b := r.batch()
	b.entries = append(b.entries, entries...)
	b.waiters = r.waiting.take(b.waiters, last.Index)
	r.group.committed.Store(uint64(last.Index))
}

// batch returns what this turn has for the applier.
func (r *replica) batch() *applyBatch {
	if r.out == nil {
		if n := len(r.free); n > 0 {
			r.out, r.free = r.free[n-1], r.free[:n-1]
		} else {
			r.out = &applyBatch{replica: r}
		}
		r.out.epoch = r.epoch
	}
	return r.out
}

// recycle takes back a batch that the applier is done with.
func (r *replica) recycle(b *applyBatch) {
	b.reset()
	if len(r.free) < 16 && cap(b.entries) <= 1<<14 {
		r.free = append(r.free, b)
	}
}

// noteApplied takes note of how far the state machine is.
func (r *replica) noteApplied(index Index) {
	if index <= r.applied {
		return
	}
	r.applied = index
	r.note(event{what: "applied", index: index})
	r.guard(func() { r.raft.Applied(r.now(), index) })
	r.cutApplied()
	r.checkRecovered()
}

// noteRestored takes note of a snapshot that the state machine took.
func (r *replica) noteRestored(at Position, covered *raft.ConfigurationAt) {
	if at.Index == 0 {
		return
	}
	r.applied = max(r.applied, at.Index)
	r.regainState(at)
	r.note(event{what: "snapshot installed", term: at.Term, index: at.Index})
	r.guard(func() { r.raft.Install(r.now(), at, covered) })
	r.group.committed.Store(max(r.group.committed.Load(), uint64(at.Index)))
	r.cutApplied()
	r.checkRecovered()
}

// checkRecovered opens the group for reads once the state is where it was known to be before the restart (E50).
func (r *replica) checkRecovered() {
	if r.lost == nil && r.applied >= r.recoverTo && !r.group.recovered.Swap(true) {
		r.group.readyOnce.Do(func() { close(r.group.ready) })
	}
}

// changeLeadership takes note of who leads. Whoever waits for what an earlier leader had is told that its fate is unknown (E47).
func (r *replica) changeLeadership(now Leadership) {
	r.note(event{what: now.Role.String(), peer: now.Leader, term: now.Term})
	was := r.leadership
	r.leadership = now
	if was.Role == raft.Leader && (now.Role != raft.Leader || now.Term != was.Term) {
		r.endSends()
		r.giveUpWaiting(ErrLeaderChanged)
		r.giveUpChanges(ErrLeaderChanged)
	}
	if was.Leader != now.Leader || was.Term != now.Term {
		r.doubtForwarded(ErrLeaderChanged)
		r.endOrders()
		r.tellHeld()
	}
	if now.Leader != 0 {
		r.releaseHeld()
		r.settleTransfers()
	}
	r.group.changeLeadership(was, now)
}
