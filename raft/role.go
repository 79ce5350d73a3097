package raft

// become is the only place where a member's role, term or leader changes (E11). The term never goes back, and
// the vote is forgotten when the term grows and only then (E02).
//
//	            election timeout              a majority would vote
//	follower  ------------------>  pre-candidate  ------------------>  candidate
//	   ^                                                                   |  a majority votes
//	   |    a leader, a higher term, or no majority heard                  v
//	   +------------------------------------------------------------->  leader
func (r *Raft) become(role Role, term Term, leader MemberID) {
	assert(term >= r.hard.Term, "%v of term %d would become %v of term %d", r.role, r.hard.Term, role, term)
	was := r.role
	if term > r.hard.Term {
		r.hard = HardState{Term: term}
		r.durable.hardDirty = true
		r.durable.held = nil // what was to be said in the old term is not said any more
		r.following = following{}
	}
	r.role, r.leader = role, leader
	if was == role {
		return
	}
	switch was {
	case Leader:
		r.endReign()
	case Candidate:
		if role != Leader {
			r.durable.held = nil
		}
	}
	switch role {
	case Follower:
		r.drawElectionTimeout()
	case Leader:
		r.beginReign()
	}
}
