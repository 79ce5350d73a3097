package raft

// The follower's half of replication.

// following is what a follower knows of its term's leader. It begins anew with each term.
type following struct {
	heard  Instant   // when the leader was last heard
	leader *progress // it; of this term's, nil where there is none
	// proven is how far this log is known to equal the leader's: up to the last entry of the appends that passed
	// the consistency check, no further (E14).
	proven Index
	round  Round // the largest round that was heard
	// answerDue: an AppendResponse is to leave with the next Output. acknowledged is the Match of the last one,
	// answered when it left.
	answerDue    bool
	acknowledged Index
	answered     Instant
}

// provenMatch is what a follower may acknowledge: durable, and equal to the leader's log.
func (r *Raft) provenMatch() Index { return min(r.following.proven, r.log.stable) }

// onAppendEntries takes entries, or a heartbeat, from the leader of this term (paper §5.3).
func (r *Raft) onAppendEntries(from *progress, m Message) {
	request := m.(*AppendEntries)
	if r.leader != 0 && r.leader != from.ID {
		r.counts.Dropped++ // two leaders in one term: one of them lies
		return
	}
	r.followLeader(from)
	f := &r.following
	if request.Round > f.round {
		f.round, f.answerDue = request.Round, true
	}
	if !r.agrees(request.Prev) {
		r.reject(from, request)
		return
	}
	entries, ok := r.news(request)
	if !ok {
		r.counts.Dropped++
		return
	}
	proven := request.Prev.Index + Index(len(request.Entries))
	if len(entries) > 0 && !r.take(entries) {
		proven = entries[0].Index() - 1
	}
	f.proven = max(f.proven, proven)
	r.settleDoubt()
	told := r.followCommit(min(request.Commit, proven))
	if !r.answerCanWait(request, told) {
		f.answerDue = true
	}
}

// answerCanWait reports whether the append needs no answer of its own, for messages cost more than anything else
// here. Where its entries are not durable yet, one answer when they are does for both; where it only told a new
// commit index, nothing was asked. But where the disk is slow, or the leader has much to tell, it hears all the
// same once per heartbeat that this member lives (E10).
func (r *Raft) answerCanWait(request *AppendEntries, told bool) bool {
	f := &r.following
	if r.now >= f.answered.Add(r.config.HeartbeatInterval) {
		return false
	}
	if len(request.Entries) > 0 {
		return r.log.stable < request.Prev.Index+Index(len(request.Entries))
	}
	return told && r.provenMatch() == f.acknowledged
}

// followLeader takes note of a sign of life: by its arrival, not by when there is time for its contents (E10).
func (r *Raft) followLeader(from *progress) {
	if r.role != Follower || r.leader != from.ID {
		r.become(Follower, r.hard.Term, from.ID)
		r.following.answered = r.now
		r.reads.askAgain = r.now
	}
	r.following.leader = from
	r.following.heard = r.now
	r.refreshElectionTimeout()
	r.election.hint.leaderHeard()
}

// agrees is the consistency check. Up to the commit index every leader's log is the same as ours (leader
// completeness), and the entries below the log's start are all committed.
func (r *Raft) agrees(prev Position) bool {
	return prev.Index < r.log.before.Index || r.log.holds(prev)
}

// reject answers a failed consistency check with where the leader should look next.
func (r *Raft) reject(from *progress, request *AppendEntries) {
	r.counts.Rejections++
	conflict := r.log.lastNotAbove(request.Prev.Index, request.Prev.Term)
	r.send(from, &AppendResponse{
		Term: r.hard.Term, Round: r.following.round, Match: r.provenMatch(),
		Rejected: true, Prev: request.Prev.Index, Conflict: conflict, Last: r.log.last,
	})
}

// news returns those of the request's entries that this log does not have: it skips what matches, and stops at
// the first conflict. A late or repeated append has none, and so never shortens the log (E16). It is not ok
// to conflict with what is committed; no leader does.
func (r *Raft) news(request *AppendEntries) (entries []Entry, ok bool) {
	entries = request.Entries
	if request.Prev.Index == r.log.last {
		return entries, true
	}
	for index := request.Prev.Index + 1; len(entries) > 0 && index <= r.log.last; index++ {
		term, known := r.log.term(index)
		if known && term != entries[0].Term() {
			return entries, index > r.commit
		}
		entries = entries[1:]
	}
	return entries, true
}

// take puts entries into the log, in place of all that conflicts with them. It reports false, and takes none, where
// the disk is so far behind that the bound on what waits for it is reached (E22): the leader will send them again.
func (r *Raft) take(entries []Entry) bool {
	bytes := 0
	for _, e := range entries {
		bytes += len(e)
	}
	if r.log.unstable > 0 && r.log.unstable+bytes > r.config.Limits.BufferedBytes {
		return false
	}
	r.log.truncate(entries[0].Index())
	r.forgetConfigurations(entries[0].Index())
	r.following.proven = min(r.following.proven, r.log.last)
	r.log.append(entries)
	r.noteConfigurations(entries)
	return true
}

// answer is the acknowledgement that is due, made when it leaves, so that one serves for many appends.
func (r *Raft) answer() {
	f := &r.following
	if !f.answerDue || r.role != Follower || r.leader == 0 || !r.durable.hardDurable() {
		return
	}
	f.answerDue, f.answered = false, r.now
	f.acknowledged = r.provenMatch()
	r.send(f.leader, &AppendResponse{
		Term: r.hard.Term, Round: f.round, Match: f.acknowledged, Last: r.log.last,
	})
}
