package raft

import "time"

// The broken-connection hint: where the stream from the leader broke, and its host refused the redial, the
// leader's process is gone. Waiting out an election timeout would be of no use, so this member asks for
// pre-votes after a few milliseconds. PreVote decides: a wrong hint costs a question, at worst an election.
type hint struct {
	// leaderGone: no stickiness to a leader that is not there. Cleared as soon as a leader is heard.
	leaderGone bool
	at         Instant // when to ask (again); Never where no hint is being followed
	attempts   int
	// unled: no leader was heard since the start, and nobody was asked early.
	unled     bool
	notBefore Instant // the next hint is taken no earlier: a flapping connection must not disturb
}

// hintDelay is the unit of the wait before a question that follows a hint. The others notice the break at nearly the
// same moment; who asks first should be done before the second asks. A question takes a round trip, a
// campaign two and a disk write.
const hintDelay = 3 * time.Millisecond

// maxHintAttempts bounds how often one hint makes this member ask; after that the election timeout rules.
const maxHintAttempts = 8

// PeerConnected says that messages can be sent to peer (again).
func (r *Raft) PeerConnected(now Instant, peer MemberID) {
	r.advance(now)
	p := r.peer(peer)
	if p == nil || p == r.self {
		return
	}
	p.broken = false
	if r.role == Leader {
		p.probeSent = false
		p.beatDue = true
		r.reign.due = true
	}
	if peer == r.leader {
		r.reads.askAgain = r.now
	}
	r.askEarly()
}

// askEarly lets a member that has heard of no leader since it was started ask for pre-votes soon after it can reach
// others, rather than after a whole election timeout: where there is a leader they refuse, and nothing was disturbed;
// where a cluster starts nobody has to wait. It asks early once; then the election timeout rules.
func (r *Raft) askEarly() {
	if h := &r.election.hint; h.unled && r.role == Follower && r.leader == 0 {
		h.unled = false
		unit := r.config.ElectionTimeout / 20
		r.election.at = min(r.election.at, r.now.Add(r.reluctance()+unit+time.Duration(r.random(int64(2*unit)))))
	}
}

// PeerBroken says that a connection with peer ended, and what was under way may be lost. With refused, an
// immediate redial was refused by the peer's host.
func (r *Raft) PeerBroken(now Instant, peer MemberID, refusedRedial bool) {
	r.advance(now)
	p := r.peer(peer)
	if p == nil || p == r.self {
		return
	}
	p.broken = true
	if r.role == Leader {
		r.restartSearch(p)
	}
	h := &r.election.hint
	if r.role != Follower || peer != r.leader || !refusedRedial || r.now < h.notBefore {
		return
	}
	h.leaderGone = true
	h.notBefore = r.now.Add(r.config.ElectionTimeout)
	h.attempts = 0
	h.at = r.now.Add(r.reluctance() + time.Millisecond + time.Duration(r.random(int64(hintDelay))))
}

// hintDue reports whether it is time to ask because of a hint.
func (r *Raft) hintDue() bool { return r.now >= r.election.hint.at }

// shortenForHint lets a campaign that follows a hint end early: the network and the others are there, so that an
// answer takes milliseconds, and two candidates that split the vote should not wait for long. Each
// attempt has twice the time of the one before, for disks that are slow.
func (r *Raft) shortenForHint() {
	h := &r.election.hint
	if !h.leaderGone {
		return
	}
	h.attempts++
	if h.attempts > maxHintAttempts {
		h.at = Never
		return
	}
	unit := hintDelay << h.attempts
	if unit >= r.config.ElectionTimeout {
		h.at = Never
		return
	}
	h.at = r.now.Add(unit + time.Duration(r.random(int64(unit))))
}

// hintRefused asks again soon: the others may notice a moment later that the leader is gone.
func (r *Raft) hintRefused() {
	if h := &r.election.hint; h.leaderGone && h.attempts < maxHintAttempts {
		h.at = min(h.at, r.now.Add(hintDelay+time.Duration(r.random(int64(hintDelay)))))
	}
}

// leaderHeard ends all doubts about the leader.
func (h *hint) leaderHeard() { h.leaderGone, h.unled, h.at = false, false, Never }
