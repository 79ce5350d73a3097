package balsa

import (
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// sweepEvery is how long a file that could not be removed is left alone before it is tried again.
const sweepEvery = 30 * time.Second

// remove removes a file that is of no more use. Where the disk does not let it, it is tried again until it does: a state's
// snapshot is as large as the state.
func (w *snapshotWorker) remove(s *shelf, e snapshot.Entry) error {
	err := w.spool.Remove(e)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !slices.Contains(s.leftovers, e) {
		s.leftovers = append(s.leftovers, e)
		w.host.config.Logger.Warn("a snapshot that nobody needs could not be removed; that is tried again", groupAttr(e.Group),
			slog.Uint64("index", uint64(e.Position.Index)), slog.String("error", err.Error()))
	}
	s.sweepAt = w.now.Add(sweepEvery)
	return err
}

// wanted takes a position's file back from what is to be removed: it is being made once more.
func (s *shelf) wanted(at raft.Position) {
	s.leftovers = slices.DeleteFunc(s.leftovers, func(e snapshot.Entry) bool { return e.Position == at })
}

// sweep removes what could not be removed before, and returns when to try again.
func (w *snapshotWorker) sweep() actor.Instant {
	next := actor.Never
	for _, s := range w.shelves {
		next = min(next, w.sweepKept(s))
		if len(s.leftovers) > 0 && w.now >= s.sweepAt {
			s.leftovers = slices.DeleteFunc(s.leftovers, func(e snapshot.Entry) bool { return w.remove(s, e) == nil })
		}
		if len(s.leftovers) > 0 {
			next = min(next, s.sweepAt)
		}
	}
	return next
}

// sweepKept removes what was kept for transfers that did not go on.
func (w *snapshotWorker) sweepKept(s *shelf) actor.Instant {
	next := actor.Never
	if s.keepUntil > 0 {
		if w.now >= s.keepUntil {
			s.keepUntil = 0
			w.tidy(s)
		} else {
			next = min(next, s.keepUntil)
		}
	}
	if s.keptUntil > 0 && !slices.ContainsFunc(w.receipts, func(c *snapshotReceipt) bool { return c.replica == s.replica }) {
		if w.now >= s.keptUntil {
			w.forgetKept(s)
		} else {
			next = min(next, s.keptUntil)
		}
	}
	return next
}

// forgetKept removes what has arrived in part.
func (w *snapshotWorker) forgetKept(s *shelf) {
	s.keptUntil = 0
	all, err := w.spool.Kept(s.replica.config.ID)
	for _, k := range all {
		err = errors.Join(err, w.spool.RemoveKept(k))
	}
	if err != nil {
		w.host.config.Logger.Warn("a part of a snapshot could not be removed; that is tried again", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
		s.keptUntil = w.now.Add(sweepEvery)
	}
}

// tidy removes files that are of no more use: all but the newest, and of a durable state machine that one too, once it
// was sent to everybody, or nobody has wanted it for a while.
func (w *snapshotWorker) tidy(s *shelf) {
	below := s.newest.Index
	if !s.replica.inMemory() && s.keepUntil == 0 && len(s.waiting) == 0 && !slices.ContainsFunc(w.sends, func(send *snapshotSend) bool { return send.replica == s.replica }) {
		below, s.newest = below+1, raft.Position{}
	}
	all, err := w.spool.List()
	if err != nil {
		w.host.config.Logger.Warn("old snapshots could not be removed", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
		return
	}
	for _, e := range all {
		if e.Group == s.replica.config.ID && e.Position.Index < below && !slices.Contains(s.leftovers, e) {
			_ = w.remove(s, e) // it is told, and tried again
		}
	}
}
