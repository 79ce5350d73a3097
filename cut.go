package balsa

// How the log is cut. What the state machine holds durably need not stay in the log, but for a tail of KeepLogBytes, so that a
// follower that was away for a while gets entries rather than the whole state:
//
//	flusher, or snapshotWorker ──durable up to D──▶ loop: min(D, the tail's beginning) ──▶ raft.Compact ──▶ log writer: wal.Discard
//
// The files that hold nothing else are removed by the log preparer.

// durableTo notes how far the state machine would survive a power cut, and cuts the log behind that. It runs in the loop.
func (r *replica) durableTo(at Position) {
	if _, ok := r.config.StateMachine.(Snapshotter); !ok || r.stopped != nil {
		return
	}
	tail := r.loop.host.log.Horizon(r.config.ID, r.group.limits.KeepLogBytes)
	if tail.Index < at.Index {
		at = tail
	}
	at = r.belowSending(at)
	if at.Index <= r.cutAt {
		return
	}
	var floor Position
	r.guard(func() { floor = r.raft.Compact(at.Index) })
	if floor.Index <= r.cutAt {
		return
	}
	r.cutAt = floor.Index
	r.note(event{what: "log cut", term: floor.Term, index: floor.Index})
	r.loop.host.writer.inbox.Post(logWrite{replica: r, discard: floor})
}

// spareTimes is how many times KeepLogBytes of log a snapshot that is being sent may keep from being cut.
const spareTimes = 8

// belowSending lowers a position to those of the snapshots that are being sent: a follower that has installed one goes on with the
// log from there. If that were cut meanwhile, it would need the next snapshot, and so for ever while much is written.
func (r *replica) belowSending(at Position) Position {
	if len(r.sending) == 0 {
		return at
	}
	lowest := at
	for _, s := range r.sending {
		if s.offer.At.Index < lowest.Index {
			lowest = s.offer.At
		}
	}
	if bound := r.loop.host.log.Horizon(r.config.ID, spareTimes*r.group.limits.KeepLogBytes); bound.Index > lowest.Index {
		lowest = bound
	}
	if lowest.Index < at.Index {
		return lowest
	}
	return at
}
