package raft

import (
	"fmt"
	"slices"
)

// Changes of membership (paper §6, dissertation chapter 4). A configuration is an entry of the log, and in force on each
// member from the moment in which it is appended there; where the entry is truncated, the former one is in force again (E34).
//
//	           ChangeMembers                    committed                       committed
//	C_old  ------------------->  C_old,new  ------------------->  C_new  -------------------> who is not in it stops
//	                             majorities      by itself, also         a majority of C_new
//	                             of both         by a later leader (E33) alone
//
// Where no voter comes or goes there is one entry, and no joint configuration. One change at a time, none before the leader has
// committed an entry of its own term (E32), and each says which configuration it was made for (E37).
//
// A learner is sent everything, and never votes nor counts (E36). It is asked for its vote only by who knows it as a voter; whether it knows
// so itself does not matter.

// membership is what is known of the configurations.
type membership struct {
	// history are configurations in index order, the last one in force. The first one is committed; those that follow are
	// entries above the commit index, or were until a moment ago.
	history []ConfigurationAt
	joint   bool // the last one is joint
	alone   bool // this member is the only one that votes in it
	// unknown: the state that knew the configuration is lost. The first one may be long out of date: as long as the log holds no later
	// one, this member must not campaign by it.
	unknown bool
	told    membershipTold
}

type membershipTold struct {
	index     Index
	committed bool
}

// current returns the configuration in force.
func (m *membership) current() *ConfigurationAt { return &m.history[len(m.history)-1] }

// restoreMembership takes over what the state machine and the log hold of configurations.
func (r *Raft) restoreMembership(restored *Restored) error {
	first := ConfigurationAt{Configuration: r.config.first}
	if restored.Configuration != nil {
		first = *restored.Configuration
		if err := first.checkLevel(r.config.Level); err != nil {
			return fmt.Errorf("raft: group %d: the configuration at index %d: %w", r.config.Group, first.Index, err)
		}
	}
	r.members.history = append(r.members.history[:0], first)
	for _, e := range restored.Configurations {
		if e.Index() <= first.Index || !r.log.holds(e.Position()) {
			continue // the state machine is ahead of it, or of the whole log
		}
		c, err := DecodeConfiguration(e.Payload())
		if err == nil {
			err = c.checkLevel(r.config.Level)
		}
		if err != nil {
			return fmt.Errorf("raft: group %d: the entry at index %d: %w", r.config.Group, e.Index(), err)
		}
		r.members.history = append(r.members.history, ConfigurationAt{e.Index(), c})
	}
	r.members.told = membershipTold{index: ^Index(0)}
	r.enforce()
	return nil
}

// learnConfiguration takes over the configuration that a state covers, where this member had lost what it knew.
func (r *Raft) learnConfiguration(covered *ConfigurationAt) {
	h := r.members.history
	if covered == nil || covered.Index <= h[0].Index {
		return
	}
	later := slices.DeleteFunc(slices.Clone(h), func(c ConfigurationAt) bool { return c.Index <= covered.Index })
	r.members.history = append([]ConfigurationAt{*covered}, later...)
	r.enforce()
	r.settleMembership()
}

// noteConfigurations looks for configurations among entries that were appended to the log.
func (r *Raft) noteConfigurations(entries []Entry) {
	changed := false
	for _, e := range entries {
		if e.Kind() != EntryConfiguration {
			continue
		}
		c, err := DecodeConfiguration(e.Payload())
		assert(err == nil, "entry %d: %v", e.Index(), err) // it was checked when it came
		r.members.history = append(r.members.history, ConfigurationAt{e.Index(), c})
		changed = true
	}
	if changed {
		r.enforce()
	}
}

// forgetConfigurations brings back the configuration that was in force before entries from index on were appended (E34).
func (r *Raft) forgetConfigurations(index Index) {
	h := r.members.history
	for len(h) > 1 && h[len(h)-1].Index >= index {
		h = h[:len(h)-1]
	}
	if len(h) < len(r.members.history) {
		r.members.history = h
		r.enforce()
	}
}

// restartMembership begins the history anew with a log that begins after at: with the configuration that a snapshot covers (E29).
func (r *Raft) restartMembership(covered *ConfigurationAt) {
	committed := r.members.history[0]
	if covered != nil && covered.Index > committed.Index {
		committed = *covered
	}
	r.members.history = append(r.members.history[:0], committed)
	r.enforce()
}

// enforce makes the last configuration the one that counts: its members are the peers, and keep what is known of them.
func (r *Raft) enforce() {
	m, c := &r.members, r.members.current()
	m.joint, m.alone = c.Joint, true
	old := r.peers
	r.peers = make([]*progress, 0, len(c.Seats)+1)
	r.self.voter, r.self.former = false, false
	for i := range c.Seats {
		seat := &c.Seats[i]
		p := r.known(old, seat.Member)
		p.voter, p.former, p.parting = seat.Role == Voter, seat.Former, 0
		m.alone = m.alone && (p == r.self || !seat.votes())
		r.peers = append(r.peers, p)
	}
	m.alone = m.alone && r.self.voter
	if r.role == Leader {
		r.keepParting(old, c.Index)
		r.reign.due = true
	}
}

// known returns the progress of a member, a new one where there was none.
func (r *Raft) known(old []*progress, member Member) *progress {
	if member == r.self.Member {
		return r.self
	}
	for _, p := range old {
		if p.Member == member {
			return p
		}
	}
	p := &progress{Member: member}
	if r.role == Leader {
		p.startReign(r.log.last, r.now)
	}
	return p
}

// keepParting goes on to send to those who have no seat any more, until they have been told so (E35).
func (r *Raft) keepParting(old []*progress, index Index) {
	for _, p := range old {
		if p == r.self || slices.Contains(r.peers, p) {
			continue
		}
		p.voter, p.former = false, false
		if p.parting == 0 {
			p.parting, p.partBy = index, r.now.Add(4*r.config.ElectionTimeout)
		}
		r.peers = append(r.peers, p)
	}
	slices.SortFunc(r.peers, func(a, b *progress) int { return compareIDs(a.ID, b.ID) })
}

// dropParted forgets those who have been told that they were removed, or cannot be reached.
func (r *Raft) dropParted() {
	r.peers = slices.DeleteFunc(r.peers, func(p *progress) bool {
		told := p.match >= p.parting && p.commitSent >= p.parting
		return p.parting > 0 && (told || r.now >= p.partBy)
	})
}

// appendConfiguration puts a configuration into a leader's log, where it is in force at once.
func (r *Raft) appendConfiguration(c Configuration) Position {
	e := SealedEntry(EntryConfiguration, c.Encode())
	r.appendOwn([]Entry{e}, len(e))
	r.noteConfigurations([]Entry{e})
	r.raiseCommit() // fewer may be needed now
	return e.Position()
}

// ChangeMembers proposes another configuration, and returns the place of its entry; where voters come or go that is the
// joint one, and the leader appends the one that it leads to by itself. The current configuration must be at index from. With lossy
// the change is made also where it leaves no majority of voters that the leader hears from.
func (r *Raft) ChangeMembers(now Instant, from Index, lossy bool, changes ...Change) (Position, error) {
	r.advance(now)
	next, err := r.mayChange(from, lossy, changes)
	if err != nil {
		return Position{}, err
	}
	return r.appendConfiguration(next), nil
}

// CheckChange says what ChangeMembers would say, and what would come of it, and changes nothing.
func (r *Raft) CheckChange(now Instant, from Index, changes ...Change) (Configuration, error) {
	r.advance(now)
	next, err := r.mayChange(from, false, changes)
	return next.left(), err
}

// readyToChange says why the configuration in force cannot be followed by another one now.
func (r *Raft) readyToChange(current *ConfigurationAt, from Index) error {
	switch {
	case r.role != Leader:
		return &NotLeaderError{Leader: r.leader}
	case r.reign.transfer.to != nil:
		return ErrTransferring
	case !r.ownTermCommitted(), current.Index > r.commit, current.Joint:
		return ErrChangeUnderWay
	case current.Index != from:
		return fmt.Errorf("%w: it is that of index %d, not of %d", ErrConfigurationChanged, current.Index, from)
	}
	return nil
}

func (r *Raft) mayChange(from Index, lossy bool, changes []Change) (Configuration, error) {
	current := r.members.current()
	if err := r.readyToChange(current, from); err != nil {
		return Configuration{}, err
	}
	next, err := current.Change(changes...)
	if err != nil {
		return Configuration{}, err
	}
	for _, change := range changes {
		if p := r.peer(change.Member); change.Kind == Promote && !lossy && (p == nil || !r.keepsUp(p)) {
			return Configuration{}, fmt.Errorf("%w: %x", ErrLearnerNotReady, uint64(change.Member))
		}
	}
	if heard, voters := r.heardOf(&next); !lossy && next.Joint && heard < majority(voters) {
		return next, fmt.Errorf("%w: of the %d voters that there would be, %d are heard from", ErrMajorityLost, voters, heard)
	}
	return next, nil
}

// heardOf counts a configuration's voters, and those of them that this leader hears from now.
func (r *Raft) heardOf(c *Configuration) (heard, voters int) {
	for i := range c.Seats {
		if c.Seats[i].Role != Voter {
			continue
		}
		voters++
		if p := r.peer(c.Seats[i].ID); p != nil && (p == r.self || !p.broken && r.now < p.heard.Add(r.config.ElectionTimeout)) {
			heard++
		}
	}
	return heard, voters
}

// settleMembership goes on with a change once more is committed.
func (r *Raft) settleMembership() {
	h := r.members.history
	committed := 0
	for i := range h {
		if h[i].Index <= r.commit {
			committed = i
		}
	}
	if committed > 0 {
		r.members.history = slices.Delete(h, 0, committed)
	}
	if r.role == Leader {
		r.continueChange()
	}
}

// continueChange ends a joint configuration that is committed (E33), and lets a leader that has no vote any more go.
func (r *Raft) continueChange() {
	current := r.members.current()
	if current.Index > r.commit || !r.ownTermCommitted() || r.reign.transfer.to != nil {
		return
	}
	if current.Joint {
		r.appendConfiguration(current.left())
		return
	}
	if !r.self.voter {
		r.abdicate()
	}
}

// abdicate hands over the office of a leader whose removal is committed (E35): to who is furthest along. Where nobody takes it in
// time it steps down all the same.
func (r *Raft) abdicate() {
	var to *progress
	for _, p := range r.peers {
		if p.voter && !p.broken && (to == nil || p.match > to.match) {
			to = p
		}
	}
	r.reign.abdicating = true
	if to == nil {
		r.become(Follower, r.hard.Term, 0)
		return
	}
	r.reign.transfer = transfer{to: to, deadline: r.now.Add(r.config.ElectionTimeout)}
	r.continueTransfer()
}

// electable reports whether this member may campaign: it votes in the configuration in force, or that one is not known to be
// committed and it votes in the one before. In the latter case it may be the only one that has what the others need, and
// they elect it without its own vote (E35; dissertation 4.2.2).
func (r *Raft) electable() bool {
	if !r.votesAtAll() {
		return false
	}
	if r.members.unknown && r.members.current().Index == 0 {
		return false
	}
	if r.self.voter || r.self.former {
		return true
	}
	h := r.members.history
	for i := len(h) - 1; i > 0 && h[i].Index > r.commit; i-- {
		if seat := h[i-1].Seat(r.config.Self); seat != nil && seat.Life == r.life && seat.votes() {
			return true
		}
	}
	return false
}

// A learner keeps up once, for a whole election timeout, it had at each heartbeat what the leader's log had at the one before.

// watchLearners looks at the learners with each heartbeat, and promotes who is to be.
func (r *Raft) watchLearners() {
	last := r.log.last
	for _, p := range r.peers {
		if p.voter || p.former || p.parting > 0 || p == r.self {
			continue
		}
		if p.state != StateReplicate || p.match < p.beatLast || p.beatLast == 0 {
			p.closeSince = Never
		} else if p.closeSince == Never || p.closeSince == 0 {
			p.closeSince = r.now
		}
		p.beatLast = last
	}
	current := r.members.current()
	for i := range current.Seats {
		seat := &current.Seats[i]
		if !seat.Promote {
			continue
		}
		if p := r.peer(seat.ID); p != nil && r.keepsUp(p) {
			changes := []Change{{Kind: Promote, Member: seat.ID}}
			if seat.Replaces != 0 {
				changes = append(changes, Change{Kind: Remove, Member: seat.Replaces})
			}
			if _, err := r.ChangeMembers(r.now, current.Index, false, changes...); err == nil {
				return
			}
		}
	}
}

// keepsUp reports whether a learner can be promoted.
func (r *Raft) keepsUp(p *progress) bool {
	return p.closeSince > 0 && p.closeSince != Never && r.now >= p.closeSince.Add(r.config.ElectionTimeout) &&
		!p.broken && r.now < p.heard.Add(r.config.ElectionTimeout)
}

// Membership is the configuration in force on a member, and what is known of it.
type Membership struct {
	ConfigurationAt
	Committed bool
}

// Membership returns the configuration in force.
func (r *Raft) Membership() Membership {
	current := r.members.current()
	return Membership{*current, current.Index <= r.commit}
}

// membershipDue reports whether the caller does not know the configuration in force, or that it is committed.
func (r *Raft) membershipDue() bool {
	index := r.members.current().Index
	return r.members.told != membershipTold{index, index <= r.commit}
}

// tellMembership returns what is due.
func (r *Raft) tellMembership() *Membership {
	m := r.Membership()
	r.members.told = membershipTold{m.Index, m.Committed}
	return &m
}
