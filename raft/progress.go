package raft

import "fmt"

// ProgressState is how a leader treats a follower.
type ProgressState uint8

const (
	// StateProbe looks for the point up to which the logs agree: one append at a time.
	StateProbe ProgressState = iota
	// StateReplicate sends one append after the other without waiting, within the bounds of Limits.
	StateReplicate
	// StateSnapshot has found that the follower needs entries that this log does not hold any more, and waits for it to
	// come by a snapshot. Meanwhile it is sent heartbeats, no entries.
	StateSnapshot
)

func (s ProgressState) String() string {
	switch s {
	case StateProbe:
		return "probe"
	case StateReplicate:
		return "replicate"
	case StateSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// progress is what a member knows of one member of the group (itself included): the ballot that it cast in
// this member's campaign, and, while this member leads, how far its log is known to go.
//
// Match and next are separate things (E17). match is proven and only grows within a term; next is a guess, which a
// rejection lowers.
type progress struct {
	Member
	// voter and former: it votes in the configuration in force, or, where that is joint, in the one that is being left.
	voter, former bool
	ballot        ballot
	broken        bool // the connection to it is known to be down

	// The rest is set anew at the start of each of this member's reigns.
	state ProgressState
	match Index
	next  Index
	// probeSent: in StateProbe, an append is under way. A heartbeat sends the next one, answered or not.
	probeSent bool
	// blind: in StateProbe, next is a mere guess, so that probes carry no entries.
	blind bool
	// probed is what the last probe carried: its last entry, or none.
	probed   sent
	inflight inflight
	// fetched are entries from next on that were read from the log's files; fetching says that they were asked for.
	fetched  []Entry
	fetching bool
	// wanted is, in StateSnapshot, what the snapshot that was asked for has at least.
	wanted Index
	// commitSent is how far the follower knows to be committed, unless a message was lost.
	commitSent Index
	beatDue    bool
	roundSent  Round
	round      Round // the largest round that it has echoed
	heard      Instant
	question   question
	// parting is, for who has no seat any more, the index of the configuration that says so; it is sent to until it knows
	// that, or until partBy.
	parting Index
	partBy  Instant
	// beatLast is where the log ended at the last heartbeat, closeSince since when a learner keeps up with that.
	beatLast   Index
	closeSince Instant
}

// question is the one ReadIndexRequest of a follower that the leader has not answered yet.
type question struct {
	id    ReadID
	open  bool
	round Round // the round that confirms it, 0 where that has not begun
	index Index
}

// startReign prepares p for a new leader whose log, before its first own entry, ends at last.
func (p *progress) startReign(last Index, now Instant) {
	*p = progress{Member: p.Member, voter: p.voter, former: p.former, broken: p.broken, next: last + 1, heard: now}
}

// probe goes back to finding the common point, at next. With blind, next is a guess.
func (p *progress) probe(next Index, blind bool) {
	p.state = StateProbe
	p.next = max(next, p.match+1)
	p.blind = blind && p.next > p.match+1
	p.probeSent = false
	p.drop()
}

// replicate begins to pipeline, after next-1 was found to agree. What the last probe carried is under way.
func (p *progress) replicate() {
	probed := p.probed
	p.state = StateReplicate
	p.drop()
	p.next = max(p.next, p.match+1)
	if probed.last >= p.next {
		p.next = probed.last + 1
		p.inflight.add(probed.last, probed.bytes)
	}
}

// needsSnapshot says that the follower's log ends before this log begins, after before: it is sent no entries.
func (p *progress) needsSnapshot(before Index) {
	p.state = StateSnapshot
	p.wanted = before
	p.next = max(before, p.match) + 1
	p.drop()
}

func (p *progress) drop() {
	p.inflight.reset()
	p.probed = sent{}
	p.fetched, p.fetching = nil, false
}

// raiseMatch takes note of an acknowledgement, and reports whether it was news.
func (p *progress) raiseMatch(match Index) bool {
	if match <= p.match {
		return false
	}
	p.match = match
	p.next = max(p.next, match+1)
	p.inflight.acknowledge(match)
	return true
}

// role is what the configuration in force makes of it.
func (p *progress) role() SeatRole {
	switch {
	case p.voter:
		return Voter
	case p.former || p.parting > 0:
		return Leaving
	}
	return Learner
}
