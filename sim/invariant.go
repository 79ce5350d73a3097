package sim

import (
	"fmt"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// Invariants are what must hold at every moment of a run, one file each. One has a name and as many of the methods below as it
// needs; it is told what happens at once, and an error from it ends the run. It sees what members do and say, and what
// their disks hold, never what a fault or a mutant is about to do.
type invariant interface{ name() string }

type (
	// turnWatcher looks at a member whose loop has had its turn.
	turnWatcher interface {
		turned(*Host, *raft.Status) error
	}
	// sayWatcher sees what a member sends, at the moment when it is out.
	sayWatcher interface {
		said(from *life, to balsa.MemberID, packets []wire.Packet) error
	}
	// applyWatcher sees each batch that a member's state machine has applied.
	applyWatcher interface {
		applied(*Host, *balsa.Batch) error
	}
	// restoreWatcher is told of each state that a snapshot has replaced.
	restoreWatcher interface{ restored(*Host) error }
	// lifeWatcher is told of lives that begin, and of those that are over.
	lifeWatcher interface {
		began(*Host, *raft.Status) error
		ended(*Host) error
	}
	// answerWatcher is told of each command that a client knows to be applied.
	answerWatcher interface {
		answered(*Host, balsa.Result) error
	}
	// endWatcher judges a run when all is healed and at rest.
	endWatcher interface{ finish() error }
)

// invariants returns all of them, for one run.
func (r *run) invariants() []invariant {
	r.replay, r.fresh, r.leases, r.watches = newReplay(r), &freshReads{}, &leasesHold{run: r}, &watchesTold{run: r}
	said := newMonotonic()
	r.members = newConfigurations(r, said)
	return []invariant{
		&electionSafety{leaders: map[raft.Term]raft.MemberID{}},
		said,
		r.members,
		&logMatching{run: r, entries: map[raft.Position]entryIdentity{}},
		newCompleteness(r),
		&durable{run: r},
		&kept{promises: map[balsa.MemberID]*promise{}},
		&appliedNotAboveCommit{snapshots: map[*life]balsa.Index{}},
		&equalDigests{at: map[balsa.Index]digestAt{}},
		newCommitRule(),
		&committedOnMajority{run: r, commits: map[*life]raft.Index{}},
		&cutBehindDurable{firsts: map[*life]raft.Index{}},
		&recoveredFirst{recorded: map[*life]raft.Index{}},
		r.fresh,
		&bounded{run: r},
		&notFenced{run: r},
		r.replay,
		r.leases,
		r.watches,
		&soundStates{run: r},
		&linearizable{run: r},
	}
}

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant string        `json:"invariant"`
	Error     string        `json:"error"`
	At        time.Duration `json:"at_ns"` // of virtual time since the run's beginning
	Step      uint64        `json:"step"`
}

func (v *Violation) String() string {
	return fmt.Sprintf("%s, after %v (step %d): %s", v.Invariant, v.At, v.Step, v.Error)
}

// fail ends the run: an invariant does not hold. The first one counts.
func (r *run) fail(invariant string, err error) {
	if err == nil || r.violation != nil {
		return
	}
	r.violation = &Violation{Invariant: invariant, Error: err.Error(), At: time.Duration(r.world.now - r.begun), Step: r.world.steps}
	r.world.note(Event{Actor: "invariant", What: invariant, Detail: err.Error()})
	r.world.Fail(err)
}

// each calls a method of all invariants that have it.
func each[W any](r *run, call func(W) error) {
	for _, i := range r.checks {
		if w, has := i.(W); has {
			if err := call(w); err != nil {
				r.fail(i.name(), err)
				return
			}
		}
	}
}

// watch connects the invariants with what happens.
func (r *run) watch() {
	r.checks = r.invariants()
	r.world.onTurn = r.turned
	r.network.onSend = func(from *life, to balsa.MemberID, packets []wire.Packet) {
		for _, w := range r.sayers {
			if err := w.said(from, to, packets); err != nil {
				r.fail(w.(invariant).name(), err)
			}
		}
	}
	for _, i := range r.checks {
		if w, has := i.(turnWatcher); has {
			r.turners = append(r.turners, w)
		}
		if w, has := i.(sayWatcher); has {
			r.sayers = append(r.sayers, w)
		}
	}
	r.cluster.onStart = func(h *Host) {
		state := h.State.(*StoreState)
		state.onApply = func(batch *balsa.Batch) {
			each(r, func(w applyWatcher) error { return w.applied(h, batch) })
		}
		state.onRestore = func() {
			r.world.note(Event{Member: h.ID, Actor: "state", What: "restored"})
			each(r, func(w restoreWatcher) error { return w.restored(h) })
		}
		status := h.life.protocol.Status()
		r.counters["starts: "+h.runtime.Recovery().Row]++
		r.serve(h)
		each(r, func(w lifeWatcher) error { return w.began(h, &status) })
	}
	r.cluster.onCrash = func(h *Host) {
		r.collect(h)
		each(r, func(w lifeWatcher) error { return w.ended(h) })
	}
}

// turned looks at a member after a turn of its loop.
func (r *run) turned(t *task) {
	h := r.cluster.host(t.life.member)
	if h.life != t.life || !h.Up() || t.name != "loop" {
		return
	}
	status := t.life.protocol.Status()
	r.noteProtocol(h, &status)
	for _, w := range r.turners {
		if err := w.turned(h, &status); err != nil {
			r.fail(w.(invariant).name(), err)
			return
		}
	}
}

// noteProtocol adds to the trace what changed in a member's protocol, and counts elections.
func (r *run) noteProtocol(h *Host, s *raft.Status) {
	for len(r.protocols) < int(h.ID) {
		r.protocols = append(r.protocols, protocolView{})
	}
	was := &r.protocols[h.ID-1]
	now := protocolView{s.Role, s.Term, s.Vote, s.Leader, s.Commit, s.Last}
	if now == *was {
		return
	}
	if now.role == raft.Leader && (was.role != raft.Leader || was.term != now.term) {
		r.counters["elections"]++
		r.struck(h)
	}
	if now.term > r.term {
		r.term = now.term
	}
	roleChanged := now.role != was.role || now.term != was.term || now.leader != was.leader
	*was = now
	if roleChanged {
		r.world.note(Event{Member: h.ID, Actor: "protocol", What: s.Role.String(), Peer: s.Leader, Term: s.Term, Index: s.Last})
		return
	}
	r.world.note(Event{Member: h.ID, Actor: "protocol", What: "log", Term: s.Term, Index: s.Last, N: uint64(s.Commit)})
}

// protocolView is what the trace tells of a member's protocol.
type protocolView struct {
	role         raft.Role
	term         raft.Term
	vote, leader raft.MemberID
	commit, last raft.Index
}
