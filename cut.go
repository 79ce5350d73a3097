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
	if at.Index <= r.cutAt {
		return
	}
	var floor Position
	r.guard(func() { floor = r.raft.Compact(at.Index) })
	if floor.Index <= r.cutAt {
		return
	}
	r.cutAt = floor.Index
	r.events.add(r.now(), "the log is cut up to index %d", uint64(floor.Index), 0, 0)
	r.loop.host.writer.inbox.Post(logWrite{replica: r, discard: floor})
}
