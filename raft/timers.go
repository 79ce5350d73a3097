package raft

// Tick lets time pass. It is needed once Deadline is reached, and harmless at any time. It is the only input that
// acts on timers: a member that was paused should be given what arrived meanwhile first, so that it does not
// take its own sleep for the silence of the others.
func (r *Raft) Tick(now Instant) {
	r.advance(now)
	if r.role == Leader {
		r.tickReign()
	} else {
		r.tickElection()
	}
	r.tickReads()
}

// Deadline returns when Tick is needed next.
func (r *Raft) Deadline() Instant {
	var next Instant
	if r.role == Leader {
		next = min(r.reign.beatAt, r.reign.quorumAt)
		if r.reign.transfer.to != nil {
			next = min(next, r.reign.transfer.deadline)
		}
		if pending := r.durable.pending; len(pending) > 0 && !r.members.alone {
			next = min(next, pending[0].since.Add(r.config.DiskStall))
		}
	} else {
		next = min(r.election.at, r.election.hint.at)
		if r.reads.asking && r.role == Follower && r.leader != 0 {
			next = min(next, r.reads.askAgain)
		}
	}
	if since, ok := r.reads.oldestRead(); ok {
		next = min(next, since.Add(r.config.ElectionTimeout))
	}
	if r.apply.retryAt > r.now {
		next = min(next, r.apply.retryAt)
	}
	return next
}
