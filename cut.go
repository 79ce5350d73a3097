package balsa

import (
	"slices"

	"github.com/balsadb/balsa/raft"
)

// How the log is cut. What the state machine holds durably need not stay in the log, but for a tail of KeepLogBytes, so that a
// follower that was away for a while gets entries rather than the whole state:
//
//	flusher, or snapshotWorker ──durable up to D──▶ loop: min(D, the tail's beginning) ──▶ raft.Compact ──▶ log writer: wal.Discard
//
// The files that hold nothing else are removed by the log preparer.

// durableTo notes how far the state machine would survive a power cut, and cuts the log behind that. It runs in the loop.
func (r *replica) durableTo(at Position) {
	if at.Index > r.durable.Index {
		r.durable = at
	}
	r.cut(at)
	r.loop.cutOthers(r)
}

func (r *replica) cut(at Position) {
	if _, ok := r.config.StateMachine.(Snapshotter); !ok || r.stopped != nil || r.lost != nil {
		return
	}
	// What the loop has not heard to be applied yet stays; it is heard soon, and cut then.
	r.cutAgain = at.Index > r.applied
	upTo := min(at.Index, r.loop.host.log.Horizon(r.config.ID, r.group.limits.KeepLogBytes).Index)
	if upTo = r.belowPins(upTo); upTo <= r.cutAt {
		return
	}
	var floor Position
	r.guard(func() { floor = r.raft.Compact(upTo) })
	if floor.Index <= r.cutAt {
		return
	}
	r.cutAt = floor.Index
	r.note(event{what: "log cut", term: floor.Term, index: floor.Index})
	r.loop.host.writer.inbox.Post(logWrite{replica: r, discard: floor})
}

// cutApplied cuts what was durable before the loop heard that it is applied.
func (r *replica) cutApplied() {
	if r.cutAgain && r.applied >= r.durable.Index {
		r.cut(r.durable)
	}
}

// pin keeps the log from being cut: a follower that has installed a snapshot goes on with the log from there. If that were
// cut meanwhile, it would need the next snapshot, and so for ever while much is written.
type pin struct {
	key   any      // the shelf whose snapshot is being written, or the send
	to    MemberID // the follower, 0 where there is none yet
	index Index    // of the snapshot
	sent  bool     // it is installed: the follower is on its way from there to the end of the log
}

// pinTimes is how many times KeepLogBytes of log may be pinned.
const pinTimes = 8

// pin, unpin and pinFollows run in the loop.
func (r *replica) pin(key any, to MemberID, index Index) {
	r.pins = append(r.pins, pin{key: key, to: to, index: index})
}

func (r *replica) unpin(key any) {
	r.pins = slices.DeleteFunc(r.pins, func(h pin) bool { return h.key == key })
}

// pinFollows lets a pin go on until its follower has caught up.
func (r *replica) pinFollows(key any) {
	for i := range r.pins {
		if r.pins[i].key == key {
			r.pins[i].sent = true
		}
	}
}

// belowPins lowers an index to what is pinned.
func (r *replica) belowPins(at Index) Index {
	if len(r.pins) == 0 {
		return at
	}
	peers := r.raft.Status().Peers
	lowest := at
	r.pins = slices.DeleteFunc(r.pins, func(h pin) bool {
		if h.sent {
			i := slices.IndexFunc(peers, func(f raft.PeerStatus) bool { return f.ID == h.to })
			if i < 0 || peers[i].Match >= at || !peers[i].Connected {
				return true
			}
			h.index = max(h.index, peers[i].Match)
		}
		lowest = min(lowest, h.index)
		return false
	})
	bound := r.loop.host.log.Horizon(r.config.ID, pinTimes*r.group.limits.KeepLogBytes)
	return min(at, max(lowest, bound.Index))
}

// cutOthers sees to it that groups which have gone idle do not pin the log that all share: what is older than the tail is
// flushed, where it was not, and cut.
func (l *loop) cutOthers(than *replica) {
	for _, r := range l.order {
		if r == than || r.stopped != nil {
			continue
		}
		tail := l.host.log.Horizon(r.config.ID, r.group.limits.KeepLogBytes)
		switch {
		case tail.Index <= r.cutAt:
		case r.durable.Index >= tail.Index:
			r.cut(r.durable)
		default:
			r.makeDurable()
		}
	}
}

// makeDurable has the state made durable, or a snapshot of it written. durableTo follows.
func (r *replica) makeDurable() {
	if f := r.group.flusher; f != nil {
		f.inbox.Post(struct{}{})
	} else if _, ok := r.config.StateMachine.(Snapshotter); ok {
		w := r.loop.host.snapshots
		w.inbox.Post(func() { w.make(w.shelf(r)) })
	}
}
