package raft

import "fmt"

// transfer is a handing over of leadership under way (dissertation §3.10): no new proposals, the target catches up,
// and is then told to campaign at once. It ends with the reign, or is given up after an election timeout.
type transfer struct {
	to       *progress // nil where there is none
	deadline Instant
	told     bool // that the target may campaign; told again with each heartbeat
}

// Transfer hands leadership to another member. Where it cannot be done within an election timeout, this
// member goes on to lead; Status and Output.Leadership tell how it ended.
func (r *Raft) Transfer(now Instant, to MemberID) error {
	r.advance(now)
	if r.role != Leader {
		return &NotLeaderError{Leader: r.leader}
	}
	p := r.peer(to)
	t := &r.reign.transfer
	switch {
	case p == nil:
		return fmt.Errorf("raft: cannot transfer leadership to %x: it is not a member", uint64(to))
	case p != r.self && !p.voter:
		return fmt.Errorf("raft: cannot transfer leadership to %x: it is no voter", uint64(to))
	case p == r.self:
		return fmt.Errorf("raft: cannot transfer leadership to %x: it leads already", uint64(to))
	case t.to == p:
		return nil
	case t.to != nil:
		return fmt.Errorf("%w to %x", ErrTransferring, uint64(t.to.ID))
	}
	*t = transfer{to: p, deadline: r.now.Add(r.config.ElectionTimeout)}
	r.continueTransfer()
	return nil
}

// continueTransfer tells the target to campaign once it has the whole log. A leader without a vote of its own waits for the commit of all
// that it was given, so that it can say what became of it.
func (r *Raft) continueTransfer() {
	t := &r.reign.transfer
	if t.to == nil || t.told || t.to.match < r.log.last || r.reign.abdicating && r.commit < r.log.last {
		return
	}
	t.told = true
	r.send(t.to, &TimeoutNow{Term: r.hard.Term})
}

// tickTransfer gives up in time, and repeats with each heartbeat what may have been lost.
func (r *Raft) tickTransfer() {
	t := &r.reign.transfer
	if t.to == nil {
		return
	}
	if r.now >= t.deadline {
		*t = transfer{}
		if r.reign.abdicating {
			r.become(Follower, r.hard.Term, 0)
			return
		}
		r.continueChange()
		return
	}
	if r.now >= r.reign.beatAt {
		t.told = false
		r.continueTransfer()
	}
}

// onTimeoutNow campaigns at once, without asking first: the leader itself wants it (E09). A member without a state lets the
// transfer fail: it could answer nobody.
func (r *Raft) onTimeoutNow(from *progress, _ Message) {
	if from.ID == r.leader && r.electable() && !r.apply.lost {
		r.campaign(true)
	}
}
