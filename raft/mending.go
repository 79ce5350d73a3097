package raft

import "sort"

// A member whose log lost entries (docs/decisions/0023-repair-of-the-log.md).
//
//	mending   it knows index and term of what it lost, and gets it back from others. It is deaf and mute meanwhile
//	in doubt  it cannot tell what it lost. It follows, and acknowledges what it has, but it does not vote: it might have
//	          acknowledged what a candidate lacks. A leader's log vouches for it in the end

// mending is what is kept of a log with lost entries.
type mending struct {
	first Index // the first entry that was lost, 0 where none is
	known Index // how far the log was known to be committed
}

// doubt is that of a member that may have forgotten what it acknowledged.
type doubt struct {
	on bool
	// upTo is the end of the log of the leader of term, when that answered a question asked after the damage was found.
	term Term
	upTo Index
}

// Mending reports whether the log lacks entries. Such a member is deaf and mute.
func (r *Raft) Mending() bool { return r.mending.first > 0 }

// InDoubt reports whether this member does not vote, since it may have forgotten what it acknowledged.
func (r *Raft) InDoubt() bool { return r.doubt.on }

// votesAtAll reports whether this member may be asked for its vote, or campaign.
func (r *Raft) votesAtAll() bool { return !r.doubt.on && !r.Mending() }

// Mended says that the log's files hold again what was lost, and which of that are configurations.
func (r *Raft) Mended(now Instant, configurations []Entry) {
	r.advance(now)
	if !r.Mending() {
		return
	}
	known := r.mending.known
	r.mending = mending{}
	h := r.members.history
	for _, e := range configurations {
		c, err := DecodeConfiguration(e.Payload())
		if err != nil || e.Index() <= h[0].Index || !r.log.holds(e.Position()) {
			continue
		}
		h = append(h, ConfigurationAt{e.Index(), c})
	}
	sort.Slice(h, func(i, j int) bool { return h[i].Index < h[j].Index })
	r.members.history = h
	r.enforce()
	r.commit = max(r.commit, min(known, r.log.last))
	r.settleMembership()
	r.drawElectionTimeout()
}

// Abandon gives up the log from the first lost entry on. Without doubt it is proved that none of that was, or can be,
// committed; with doubt this member may have acknowledged it. The caller has made a doubt durable before.
func (r *Raft) Abandon(now Instant, doubtful bool) {
	r.advance(now)
	first := r.mending.first
	if first == 0 {
		return
	}
	assert(doubtful || first > r.mending.known, "entry %d would be dropped, and %d is known to be committed", first, r.mending.known)
	r.mending = mending{}
	r.log.truncate(first)
	r.forgetConfigurations(first)
	r.settleMembership()
	r.doubt.on = r.doubt.on || doubtful
	r.drawElectionTimeout()
}

// Forgotten says that a follower has lost what follows last in its log, though it acknowledged more. A leader lowers what it
// believes of it, as at the beginning of its reign; what is committed stays so.
func (r *Raft) Forgotten(now Instant, peer MemberID, last Index) {
	r.advance(now)
	p := r.peer(peer)
	if p == nil || p == r.self || r.role != Leader || p.match <= last {
		return
	}
	p.startReign(r.log.last, r.now)
	r.reign.due = true
}

// Vouched says that a leader's log ended at last when it answered a question which this member asked after it had found the damage.
func (r *Raft) Vouched(now Instant, from MemberID, term Term, last Index) {
	r.advance(now)
	if r.doubt.on && r.role == Follower && r.leader == from && r.hard.Term == term {
		r.doubt.term, r.doubt.upTo = term, last
		r.settleDoubt()
	}
}

// settleDoubt ends the doubt once this log is durably what the leader's was.
func (r *Raft) settleDoubt() {
	d := &r.doubt
	if d.on && d.term == r.hard.Term && d.term > 0 && r.role == Follower && r.provenMatch() >= d.upTo {
		*d = doubt{}
	}
}

// Holds says what this member knows of an entry: that it holds it durably, that its log has something else there or ends before,
// or, where all are false, that it can say neither.
func (r *Raft) Holds(at Position) (holds, lacks, gone bool) {
	switch {
	case at.Index <= r.log.before.Index:
		return false, false, true
	case r.Mending() && at.Index >= r.mending.first:
		return r.log.holds(at), !r.log.holds(at), false
	case r.log.holds(at):
		return at.Index <= r.log.stable, false, false
	}
	return false, true, false
}
