package raft

import "time"

// Elections: a member that has not heard from a leader for an election timeout asks around whether a campaign
// would be of use (PreVote: nobody's term changes), and campaigns if a majority says so.

// election is what a member that does not lead knows about when to campaign.
type election struct {
	timeout time.Duration // drawn for the current wait
	at      Instant       // when to campaign
	// transfer: the campaign under way was asked for by the leader.
	transfer bool
	hint     hint
	// hesitates: until then no vote is given, nor asked for (Config.Hesitation).
	hesitates Instant
}

// drawElectionTimeout begins a new wait, with a timeout drawn anew: two members that drew the same once
// would otherwise split the vote for ever (E04).
func (r *Raft) drawElectionTimeout() {
	r.election.timeout = r.config.ElectionTimeout + r.reluctance() + time.Duration(r.random(int64(r.config.ElectionTimeout)))
	if r.apply.lost {
		r.election.timeout += 2 * r.config.ElectionTimeout // somebody who has a state shall lead, if anybody can
	}
	r.election.at = r.now.Add(r.election.timeout)
}

// reluctance is how much longer than others this member waits; who is the only voter has nobody to wait for.
func (r *Raft) reluctance() time.Duration {
	if r.members.alone {
		return 0
	}
	return r.config.Reluctance
}

// refreshElectionTimeout begins the wait again: a leader was heard, or a vote was given.
func (r *Raft) refreshElectionTimeout() { r.election.at = r.now.Add(r.election.timeout) }

// tickElection campaigns where the wait is over.
func (r *Raft) tickElection() {
	if r.now < r.election.at && !r.hintDue() {
		return
	}
	if !r.electable() || r.hesitates() || !r.members.alone && r.diskStalled() {
		r.drawElectionTimeout() // a member whose disk stalls cannot lead, nor one without a vote; the others shall try
		r.election.hint.at = Never
		return
	}
	r.preCampaign()
}

// hesitates reports whether this member keeps out of elections yet.
func (r *Raft) hesitates() bool { return r.now < r.election.hesitates }

// preCampaign asks whether the others would vote for this member in the next term.
func (r *Raft) preCampaign() {
	r.become(PreCandidate, r.hard.Term, 0)
	r.counts.PreCampaigns++
	r.beginBallot()
	r.self.ballot = granted
	request := &PreVoteRequest{Term: r.hard.Term, NextTerm: r.hard.Term + 1, Last: r.log.end()}
	r.broadcast(request)
	r.decidePreVote()
}

// campaign asks for votes in a new term. The requests leave once term and vote are durable (E01), and only then
// does this member count its own vote; see hardStateDurable.
func (r *Raft) campaign(transfer bool) {
	r.become(Candidate, r.hard.Term+1, 0)
	r.counts.Campaigns++
	r.beginBallot()
	r.castVote(r.config.Self)
	r.election.transfer = transfer
	r.broadcast(&RequestVote{Term: r.hard.Term, Last: r.log.end(), Transfer: transfer})
}

// beginBallot forgets all answers, and draws the time that the others have for new ones.
func (r *Raft) beginBallot() {
	r.self.ballot = unanswered
	for _, p := range r.peers {
		p.ballot = unanswered
	}
	r.drawElectionTimeout()
	r.shortenForHint()
}

// castVote gives this term's vote. It is durable before anyone is told.
func (r *Raft) castVote(candidate MemberID) {
	assert(r.hard.Vote == 0 || r.hard.Vote == candidate,
		"vote for %x in term %d, in which %x has it", candidate, r.hard.Term, r.hard.Vote)
	if r.hard.Vote != candidate {
		r.hard.Vote = candidate
		r.durable.hardDirty = true
	}
}

// ballots counts the answers so far; a joint configuration needs two majorities.
func (r *Raft) ballots() verdict {
	verdict := r.ballotsOf(func(p *progress) bool { return p.voter })
	if r.members.joint {
		verdict = both(verdict, r.ballotsOf(func(p *progress) bool { return p.former }))
	}
	return verdict
}

// ballotsOf counts the answers of those who vote. Who cannot be reached will not answer.
func (r *Raft) ballotsOf(votes func(*progress) bool) verdict {
	var few [16]ballot
	ballots := few[:0]
	for _, p := range r.peers {
		if !votes(p) {
			continue
		}
		if p.ballot == unanswered && p.broken {
			ballots = append(ballots, refused)
			continue
		}
		ballots = append(ballots, p.ballot)
	}
	return count(ballots)
}

func (r *Raft) decidePreVote() {
	switch r.ballots() {
	case won:
		r.campaign(false)
	case lost:
		r.become(Follower, r.hard.Term, 0)
		r.hintRefused()
	}
}

func (r *Raft) decideVote() {
	switch r.ballots() {
	case won:
		r.become(Leader, r.hard.Term, r.config.Self)
	case lost:
		r.become(Follower, r.hard.Term, 0)
		r.hintRefused()
	}
}

// sticky reports whether this member is content with its leader, and so ignores campaigns (E09): it leads, or
// has heard from a leader within the shortest election timeout, and has no sign that it is gone.
func (r *Raft) sticky() bool {
	if r.role == Leader {
		return true
	}
	return r.leader != 0 && !r.election.hint.leaderGone && r.now < r.following.heard.Add(r.config.ElectionTimeout)
}

// upToDate reports whether a log that ends at last has all that this one could have committed (paper §5.4.1).
func (r *Raft) upToDate(last Position) bool {
	own := r.log.end()
	return last.Term > own.Term || last.Term == own.Term && last.Index >= own.Index
}

// onPreVoteRequest answers by this table. Nothing changes here by the answer: no term, no vote, no timer (E05).
//
//	content with a leader | next term above ours | log up to date | granted
//	yes                   |  -                   |  -             | no
//	no                    | no                   |  -             | no
//	no                    | yes                  | no             | no
//	no                    | yes                  | yes            | yes
func (r *Raft) onPreVoteRequest(from *progress, m Message) {
	request := m.(*PreVoteRequest)
	grant := !r.sticky() && r.votesAtAll() && !r.hesitates() && request.NextTerm > r.hard.Term && r.upToDate(request.Last)
	r.send(from, &PreVoteResponse{Term: r.hard.Term, NextTerm: request.NextTerm, Granted: grant})
}

func (r *Raft) onPreVoteResponse(from *progress, m Message) {
	response := m.(*PreVoteResponse)
	if response.NextTerm != r.hard.Term+1 {
		return // an answer to an earlier question
	}
	from.ballot = ballotOf(response.Granted)
	r.decidePreVote()
}

// onRequestVote answers a request of this term by this table; request.Term == our term, since dispatch has
// adopted a higher one, or ignored the request where this member is content with its leader.
//
//	voted in this term for | log up to date | granted
//	the candidate          |  -             | yes, again: the first answer may be lost
//	another                |  -             | no
//	nobody                 | no             | no
//	nobody                 | yes            | yes, and the election timeout begins anew
func (r *Raft) onRequestVote(from *progress, m Message) {
	request := m.(*RequestVote)
	grant := r.hard.Vote == from.ID
	if r.hard.Vote == 0 && r.leader == 0 && r.votesAtAll() && !r.hesitates() && r.upToDate(request.Last) {
		grant = true
		r.become(Follower, r.hard.Term, 0) // a pre-candidate stands back
		r.castVote(from.ID)
		r.refreshElectionTimeout()
	}
	r.send(from, &VoteResponse{Term: r.hard.Term, Granted: grant})
}

func (r *Raft) onVoteResponse(from *progress, m Message) {
	from.ballot = ballotOf(m.(*VoteResponse).Granted)
	r.decideVote()
}

func ballotOf(grant bool) ballot {
	if grant {
		return granted
	}
	return refused
}
