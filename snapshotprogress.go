package balsa

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// SnapshotStage is what is being done with a snapshot.
type SnapshotStage string

const (
	// SnapshotMaking: the state is written into a file. How large that becomes is not known.
	SnapshotMaking SnapshotStage = "making"
	// SnapshotSending: it is sent to Peer, and Done is what that one has confirmed.
	SnapshotSending SnapshotStage = "sending"
	// SnapshotDelegated: Via sends it to Peer, on this leader's behalf.
	SnapshotDelegated SnapshotStage = "delegated"
	// SnapshotReceiving: it comes from Peer.
	SnapshotReceiving SnapshotStage = "receiving"
	// SnapshotRestoring: it is whole, and takes the place of this member's state.
	SnapshotRestoring SnapshotStage = "restoring"
)

// SnapshotProgress is how far something is that takes as long as the state is large.
type SnapshotProgress struct {
	Stage     SnapshotStage
	Peer, Via MemberID // 0 for none
	Position  Position // of the snapshot; zero while it is not known
	// Done and Total count bytes of the snapshot's file; Total is 0 where it is not known. Resumed of them were there when this began.
	Done, Total, Resumed int64
	// Elapsed is how long it has gone on.
	Elapsed time.Duration
}

// Rate returns the bytes a second since it began.
func (p *SnapshotProgress) Rate() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Done-p.Resumed) / p.Elapsed.Seconds()
}

// snapshotTask is something that goes on. Its owner writes the counts, anybody reads them.
type snapshotTask struct {
	stage     SnapshotStage
	peer, via MemberID
	since     actor.Instant

	at                   atomic.Pointer[Position]
	done, total, resumed atomic.Int64
}

// snapshotTasks are those of a group. They may be asked for from anywhere.
type snapshotTasks struct {
	mu  sync.Mutex
	all []*snapshotTask
}

func (g *Group) beginTask(t *snapshotTask, at Position, total int64) *snapshotTask {
	t.since = g.host.scheduler.Now()
	t.at.Store(&at)
	t.total.Store(total)
	g.tasks.mu.Lock()
	defer g.tasks.mu.Unlock()
	g.tasks.all = append(g.tasks.all, t)
	return t
}

// endTask is told once what goes on no more; nil is fine.
func (g *Group) endTask(t *snapshotTask) {
	g.tasks.mu.Lock()
	defer g.tasks.mu.Unlock()
	g.tasks.all = slices.DeleteFunc(g.tasks.all, func(other *snapshotTask) bool { return other == t })
}

// Snapshots returns what is being done with snapshots here: made, sent, received, restored. It costs next to nothing.
func (g *Group) Snapshots() []SnapshotProgress {
	now := g.host.scheduler.Now()
	g.tasks.mu.Lock()
	defer g.tasks.mu.Unlock()
	var all []SnapshotProgress
	for _, t := range g.tasks.all {
		all = append(all, SnapshotProgress{
			Stage: t.stage, Peer: t.peer, Via: t.via, Position: *t.at.Load(), Done: t.done.Load(), Total: t.total.Load(),
			Resumed: t.resumed.Load(), Elapsed: time.Duration(now - t.since),
		})
	}
	return all
}
