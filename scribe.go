package balsa

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// scribe does for the snapshots of one group what takes as long as its state is large: it writes them, and verifies those that
// arrive. It is an actor of its own, so that a group with gigabytes keeps no other group's snapshots waiting, nor the pieces of its own.
type scribe struct {
	inbox    actor.Mailbox[func()]
	task     actor.Task
	stopping atomic.Bool
}

func (c *scribe) turn(actor.Instant) actor.Instant {
	for _, act := range c.inbox.Take() {
		act()
	}
	return actor.Never
}

// scribe returns a group's, and starts it where there is none yet.
func (w *snapshotWorker) scribe(s *shelf) *scribe {
	if s.scribe == nil {
		c := &scribe{}
		c.task = w.host.scheduler.Start(fmt.Sprintf("snapshot writer of group %d", s.replica.config.ID), c.turn)
		c.inbox.Bind(c.task)
		s.scribe = c
	}
	return s.scribe
}

// stop ends the scribe. What it is writing ends early, what it has not begun is let go.
func (c *scribe) stop() {
	c.stopping.Store(true)
	c.task.Stop()
	for _, act := range c.inbox.Close() {
		act()
	}
}

// write makes a state a durable file of the spool. It closes the state.
func (c *scribe) write(w *snapshotWorker, g *Group, meta snapshot.Meta, state Snapshot) (err error) {
	defer func() {
		if closing := guarded(state.Close); err == nil {
			err = closing
		}
	}()
	if c.stopping.Load() {
		return ErrClosed
	}
	part, err := w.spool.Create(snapshot.Entry{Group: meta.Group, Position: meta.Position})
	if err != nil {
		return err
	}
	task := g.beginTask(&snapshotTask{stage: SnapshotMaking}, meta.Position, 0)
	defer g.endTask(task)
	if err := writeSnapshot(c.paced(w, task, part), meta, state, w.host.config.SnapshotPiece); err != nil {
		_ = part.Abort() // the first error tells more
		return err
	}
	return part.Commit()
}

// commit verifies what arrived, and makes it durable.
func (c *scribe) commit(part *snapshot.Part) error {
	if c.stopping.Load() {
		_ = part.Abort() // the next start removes it
		return ErrClosed
	}
	return part.Commit()
}

// receive begins to receive a snapshot, or goes on with what is kept of it.
func (c *scribe) receive(spool *snapshot.Spool, kept snapshot.Kept) (*snapshot.Part, error) {
	if c.stopping.Load() {
		return nil, ErrClosed
	}
	return spool.Receive(kept)
}

// paced writes no faster than the disk's pace, and nothing more once the scribe is to stop: a state may be large.
func (c *scribe) paced(w *snapshotWorker, task *snapshotTask, to io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if c.stopping.Load() {
			return 0, ErrClosed
		}
		n, err := to.Write(p)
		task.done.Add(int64(n))
		w.disk.pass(n, c.stopping.Load)
		return n, err
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func writeSnapshot(to io.Writer, meta snapshot.Meta, state Snapshot, piece int) error {
	out, err := snapshot.NewWriterSize(to, meta, piece)
	if err != nil {
		return err
	}
	if err := guarded(func() error { _, err := state.WriteTo(out); return err }); err != nil {
		return fmt.Errorf("writing the state at index %d: %w", meta.Position.Index, err)
	}
	return out.Close()
}

// entry names a group's snapshot at a position.
func (s *shelf) entry(at raft.Position) snapshot.Entry {
	return snapshot.Entry{Group: s.replica.config.ID, Position: at}
}
