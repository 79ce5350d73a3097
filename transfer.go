package balsa

import (
	"context"
	"fmt"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// transferWait is somebody who waits for a leadership transfer.
type transferWait struct {
	to       MemberID
	deadline actor.Instant
	done     func(error)
}

// Transfer makes another member the leader, and returns once this member knows that it is. It must be called on the
// leader, else it fails with a *NotLeaderError. With 0 the member that is furthest along is chosen. While it is under way
// proposals are refused with ErrTransferring; where it does not come about within about an election timeout this
// member goes on to lead, and the error is ErrTransferFailed.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) Transfer(ctx context.Context, to MemberID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answered := make(chan error, 1)
	g.TransferAsync(to, func(err error) { answered <- err })
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TransferAsync is Transfer for callers that do not want to wait: done is called exactly once, often from one of the
// host's actors, and must not block.
func (g *Group) TransferAsync(to MemberID, done func(error)) {
	if !g.host.loop.control.Post(func() { g.replica.transfer(to, done) }) {
		done(ErrClosed)
	}
}

func (r *replica) transfer(to MemberID, done func(error)) {
	if r.stopped != nil {
		done(r.stopped)
		return
	}
	var err error
	r.guard(func() {
		if to == 0 {
			to = furthest(r.raft.Status())
		}
		err = r.raft.Transfer(r.now(), to)
	})
	if r.stopped != nil {
		err = r.stopped
	}
	if err != nil {
		done(err)
		return
	}
	deadline := r.loop.now.Add(r.config.ElectionTimeout + r.config.HeartbeatInterval)
	r.transfers = append(r.transfers, transferWait{to, deadline, done})
	r.expireBy(deadline)
	r.loop.touch(r)
}

// resign has the member that is furthest along campaign at once, where this one leads and is about to stop. It is a hint, and nothing is
// awaited: what was in flight is answered as unknown.
func (r *replica) resign() {
	if r.leadership.Role != raft.Leader {
		return
	}
	r.guard(func() {
		to := furthest(r.raft.Status())
		if err := r.raft.Transfer(r.now(), to); err == nil && r.raft.HasOutput() {
			r.carryOut(r.raft.Output())
		}
	})
}

// furthest returns the connected voter with the longest log that matches the leader's; 0 where there is none.
func furthest(s raft.Status) (id MemberID) {
	var match Index
	for _, p := range s.Peers {
		if p.Role == raft.Voter && p.Connected && p.Match >= match {
			id, match = p.ID, p.Match
		}
	}
	return id
}

// settleTransfers answers the transfers that have ended, now that there is a leader.
func (r *replica) settleTransfers() {
	r.endTransfers(func(t transferWait) (bool, error) {
		switch r.leadership.Leader {
		case t.to:
			return true, nil
		case r.loop.host.config.Member:
			return false, nil
		}
		return true, fmt.Errorf("%w to member %x: member %x leads now", ErrTransferFailed, uint64(t.to), uint64(r.leadership.Leader))
	})
}

func (r *replica) expireTransfers() {
	r.endTransfers(func(t transferWait) (bool, error) {
		if t.deadline > r.loop.now {
			r.expireBy(t.deadline)
			return false, nil
		}
		return true, fmt.Errorf("%w to member %x in time", ErrTransferFailed, uint64(t.to))
	})
}

func (r *replica) failTransfers(err error) {
	r.endTransfers(func(transferWait) (bool, error) { return true, err })
}

func (r *replica) endTransfers(ended func(transferWait) (bool, error)) {
	kept := r.transfers[:0]
	for _, t := range r.transfers {
		if over, err := ended(t); over {
			t.done(err)
		} else {
			kept = append(kept, t)
		}
	}
	clear(r.transfers[len(kept):])
	r.transfers = kept
}
