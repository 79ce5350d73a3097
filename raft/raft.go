package raft

import (
	"fmt"
	"sort"
)

// Raft is one member's part in the protocol. It is not safe for concurrent use: it has one owner, who calls
// one method after the other and carries out what Output says.
type Raft struct {
	config Config
	now    Instant
	life   Incarnation

	// Role, term and leader change in become, the vote in castVote, and nowhere else (E02, E11).
	role   Role
	hard   HardState
	leader MemberID

	members membership
	peers   []*progress // by ID: who has a seat, this member included, and on a leader who is parting
	self    *progress

	log     log
	commit  Index
	durable durability
	apply   applying
	reads   reads

	election  election // any role but leader's
	mending   mending
	doubt     doubt
	following following // what has been heard from this term's leader
	reign     reign     // a leader's own

	out    output
	counts Counts
}

// New returns a member that starts from what its log's recovery found. An error says what contradicts what;
// the member must not run then.
func New(config Config, restored Restored, now Instant) (*Raft, error) {
	config, err := config.checked()
	if err != nil {
		return nil, err
	}
	if restored.Doubt {
		restored.Commit = min(restored.Commit, max(restored.Last, restored.Applied.Index))
	}
	if err := restored.check(config.Group); err != nil {
		return nil, err
	}
	r := &Raft{config: config, now: now, hard: restored.HardState}
	if term := restored.Applied.Term; term > r.hard.Term {
		// Entries of a term may be applied while the term's own write is still under way; nobody was told of it.
		r.hard = HardState{Term: term}
		r.durable.hardDirty = true
	}
	r.life = config.first.Seat(config.Self).Life
	r.self = &progress{Member: Member{ID: config.Self, Life: r.life}}
	r.restoreLog(restored)
	if err := r.restoreMembership(&restored); err != nil {
		return nil, err
	}
	if first := restored.Damaged; first > restored.Applied.Index && first > r.log.before.Index && first <= r.log.last {
		r.mending = mending{first: first, known: restored.Commit}
		restored.Commit = min(restored.Commit, first-1)
	}
	r.doubt.on = restored.Doubt
	r.commit = max(restored.Commit, restored.Applied.Index, r.log.before.Index)
	r.settleMembership()
	r.members.told = membershipTold{r.members.current().Index, r.Membership().Committed}
	r.apply.start(max(restored.Applied.Index, r.log.before.Index))
	if restored.StateLost {
		r.loseState()
		r.members.unknown = restored.Before.Index > 0 && restored.Configuration == nil
	}
	r.reads.lastAsked = ReadID(config.Random())
	r.out.reported = Leadership{Role: Follower, Term: r.hard.Term}
	r.election.hint = hint{at: Never, unled: true}
	r.drawElectionTimeout()
	if r.members.alone {
		r.election.at = now // nobody to wait for
	} else {
		r.election.hesitates = now.Add(config.Hesitation)
	}
	return r, nil
}

// restoreLog takes over the recovered log, or gives it up where the state machine knows better (E51): others
// committed, and this member applied, entries that its own disk then lost. Where the log ends before the applied
// index, or has another term there, its rest is of no use and may even be wrong: the applied position is the floor
// on which the log starts anew.
func (r *Raft) restoreLog(restored Restored) {
	r.log = newLog(restored.Before, restored.Runs, restored.Last)
	if applied := restored.Applied; applied.Index > 0 && !r.log.holds(applied) {
		r.log = newLog(applied, nil, applied.Index)
		r.durable.restart = applied
	}
}

// check says what is wrong with a recovered state. It never changes what was recovered: a log that
// contradicts itself has lost something, and guessing what would lose more.
func (s *Restored) check(group GroupID) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("raft: group %d: recovered log is damaged: %w", group, fmt.Errorf(format, args...))
	}
	if s.Last < s.Before.Index {
		return bad("it ends at index %d, before its start at %d", s.Last, s.Before.Index)
	}
	if (len(s.Runs) == 0) != (s.Last == s.Before.Index) {
		return bad("%d terms for the entries in (%d, %d]", len(s.Runs), s.Before.Index, s.Last)
	}
	previous := TermRun{Term: s.Before.Term, First: s.Before.Index}
	for i, run := range s.Runs {
		if i == 0 && (run.First != s.Before.Index+1 || run.Term < s.Before.Term) ||
			i > 0 && (run.First <= previous.First || run.Term <= previous.Term) || run.First > s.Last {
			return bad("term %d from index %d on, after term %d from %d on, in (%d, %d]",
				run.Term, run.First, previous.Term, previous.First, s.Before.Index, s.Last)
		}
		previous = run
	}
	if previous.Term > s.HardState.Term {
		return bad("its last entry is of term %d, its hard state of term %d", previous.Term, s.HardState.Term)
	}
	if s.StateLost && s.Applied.Index > 0 {
		return bad("its state is lost, and has index %d applied", s.Applied.Index)
	}
	if s.Applied.Index < s.Before.Index && !s.StateLost {
		return bad("the state machine holds index %d, the log begins after %d: the entries between are missing", s.Applied.Index, s.Before.Index)
	}
	if s.Commit > max(s.Last, s.Applied.Index) {
		return bad("it ends at index %d, but had recorded that %d is committed", s.Last, s.Commit)
	}
	log := newLog(s.Before, s.Runs, s.Last)
	if term, ok := log.term(s.Applied.Index); ok && term != s.Applied.Term && s.Applied.Index <= s.Commit {
		return bad("it has term %d at index %d, the state machine term %d, and both as committed", term, s.Applied.Index, s.Applied.Term)
	}
	return nil
}

// advance takes note of the time. It never goes back.
func (r *Raft) advance(now Instant) { r.now = max(r.now, now) }

// peer returns the progress of a member, nil where there is no such member.
func (r *Raft) peer(id MemberID) *progress {
	i := sort.Search(len(r.peers), func(i int) bool { return r.peers[i].ID >= id })
	if i < len(r.peers) && r.peers[i].ID == id {
		return r.peers[i]
	}
	return nil
}

// random returns a number in [0, n).
func (r *Raft) random(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return int64(r.config.Random() % uint64(n))
}
