package raft

// raiseCommit applies the commit rule (paper §5.3, §5.4.2): what a majority has made durable is committed, if its
// term is this leader's own (E12; figure 8 shows why copies of an older entry prove nothing). The leader's
// own copy counts once its disk has it, like everyone's; the followers alone may be a majority (E13).
func (r *Raft) raiseCommit() {
	r.self.match = r.log.stable
	index := agreed(r.peers, r.members.joint, func(p *progress) Index { return p.match })
	if index <= r.commit || index < r.reign.first {
		return
	}
	r.leadCommit(index)
}

// leadCommit raises a leader's commit index. Its first own entry lets reads begin.
func (r *Raft) leadCommit(index Index) {
	waited := !r.ownTermCommitted()
	r.reign.uncommitted -= r.log.cache.size(r.commit+1, index+1)
	r.commit = index
	r.reign.due = true
	if waited && r.ownTermCommitted() {
		r.settleReads()
	}
	if waited || len(r.members.history) > 1 {
		r.settleMembership()
	}
	if r.reign.abdicating {
		r.continueTransfer()
	}
}

// followCommit raises a follower's commit index: to what the leader says, but no further than the entries that
// are known to be the leader's (E15). It reports whether that was news.
func (r *Raft) followCommit(index Index) bool {
	news := index > r.commit
	r.commit = max(r.commit, index)
	if len(r.members.history) > 1 {
		r.settleMembership()
	}
	return news
}

// ownTermCommitted reports whether a leader has committed an entry of its own term, and thereby knows of all that
// was ever committed.
func (r *Raft) ownTermCommitted() bool { return r.commit >= r.reign.first }
