package raft

// Counts are events since the start, for metrics.
type Counts struct {
	PreCampaigns uint64 // pre-votes asked for
	Campaigns    uint64 // terms campaigned in
	Reigns       uint64 // elections won
	StepDowns    uint64 // offices given up for want of a majority or of a disk
	Rejections   uint64 // failed consistency checks, given and received
	Snapshots    uint64 // that followers needed
	Installed    uint64 // that took the place of entries here
	Dropped      uint64 // messages that were malformed, or not for this member in this life
}

// Status is a member's view of itself and, where it leads, of the others.
type Status struct {
	Leadership
	Vote        MemberID
	First, Last Index // the entries that the log holds
	Commit      Index
	Applied     Index
	Stable      Index // durable here up to this index
	Uncommitted int   // bytes; on a leader
	TransferTo  MemberID
	Counts      Counts
	Membership  Membership
	Peers       []PeerStatus // by ID, this member left out; empty where this member does not lead
}

// PeerStatus is a leader's view of one follower.
type PeerStatus struct {
	ID               MemberID
	Role             SeatRole // Leaving for who has no seat any more, and may not know it yet
	KeepsUp          bool     // of a learner: it may be promoted
	State            ProgressState
	Match, Next      Index
	InflightMessages int
	InflightBytes    int
	LastContact      Instant
	Connected        bool
}

// Life returns this member's incarnation.
func (r *Raft) Life() Incarnation { return r.life }

// Knows reports whether a member, in this incarnation, has a seat in the configuration in force.
func (r *Raft) Knows(m Member) bool {
	seat := r.members.current().Seat(m.ID)
	return seat != nil && seat.Life == m.Life
}

// Status returns a snapshot of the member. It copies a few words per member.
func (r *Raft) Status() Status {
	s := Status{
		Leadership:  r.leadership(),
		Vote:        r.hard.Vote,
		First:       r.log.before.Index + 1,
		Last:        r.log.last,
		Commit:      r.commit,
		Applied:     r.apply.applied,
		Stable:      r.log.stable,
		Uncommitted: r.reign.uncommitted,
		Counts:      r.counts,
		Membership:  r.Membership(),
	}
	if r.role != Leader {
		return s
	}
	if to := r.reign.transfer.to; to != nil {
		s.TransferTo = to.ID
	}
	s.Peers = make([]PeerStatus, 0, len(r.peers)-1)
	for _, p := range r.peers {
		if p == r.self {
			continue
		}
		s.Peers = append(s.Peers, PeerStatus{
			ID: p.ID, Role: p.role(), KeepsUp: r.keepsUp(p), State: p.state, Match: p.match, Next: p.next,
			InflightMessages: p.inflight.count, InflightBytes: p.inflight.bytes,
			LastContact: p.heard, Connected: !p.broken,
		})
	}
	return s
}
