package balsa

import (
	"log/slog"
	"slices"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// snapshotReceipt is a snapshot that arrives: one for a group at a time.
type snapshotReceipt struct {
	group   GroupID
	replica *replica // nil until the protocol has found it of use
	offer   raft.SnapshotOffer
	size    int64
	part    *snapshot.Part        // nil before that, and once it is complete
	backlog []*wire.SnapshotChunk // what came meanwhile
	whole   bool                  // it is complete and being restored
	touched actor.Instant
}

// bulkBytes bounds the pieces that arrived and were not yet looked at. What comes on top is dropped, and sent again.
const bulkBytes = 32 << 20

// ReceivedBulk implements transport.Receiver.
func (h *Host) ReceivedBulk(from raft.MemberID, frame []byte) {
	packets, err := wire.Decode(nil, frame)
	for i := range packets {
		if c := packets[i].Chunk; c == nil || c.Offer.From != from || c.To != h.config.Member {
			err = errForged
		}
	}
	if err != nil {
		if t, ok := h.config.Transport.(rejecter); ok {
			t.RejectBulk(from, err)
		}
		h.countMalformed(from, err)
		return
	}
	w := h.snapshots
	for i := range packets {
		chunk := packets[i].Chunk
		bytes := int64(len(chunk.Data))
		if w.arrived.Load() > bulkBytes {
			h.dropped.Add(1)
			continue
		}
		w.arrived.Add(bytes)
		w.inbox.Post(func() {
			w.arrived.Add(-bytes)
			w.chunk(chunk)
		})
	}
}

// chunk takes a piece.
func (w *snapshotWorker) chunk(chunk *wire.SnapshotChunk) {
	c := w.receipt(chunk)
	if c == nil {
		return
	}
	c.touched = w.now
	switch {
	case c.whole:
		w.answer(c.group, c.offer, wire.SnapshotReceiving, c.size)
	case c.part == nil:
		if len(c.backlog)*snapshotPiece < snapshotWindow {
			c.backlog = append(c.backlog, chunk)
		}
	default:
		w.store(c, chunk)
	}
}

// receipt returns what a piece belongs to. The first piece of a snapshot begins a new one, and ends an older one.
func (w *snapshotWorker) receipt(chunk *wire.SnapshotChunk) *snapshotReceipt {
	i := slices.IndexFunc(w.receipts, func(c *snapshotReceipt) bool { return c.group == chunk.Group })
	if i >= 0 {
		c := w.receipts[i]
		switch {
		case c.offer == chunk.Offer && c.size == int64(chunk.Size):
			return c
		case c.whole, chunk.Offer.Term < c.offer.Term:
			return nil
		}
		w.abort(c)
	}
	if chunk.Offset > 0 { // its beginning was lost, or belongs to an earlier life of this process
		w.answer(chunk.Group, chunk.Offer, wire.SnapshotReceiving, 0)
		return nil
	}
	return w.offered(chunk)
}

// offered asks the protocol whether a snapshot is of use.
func (w *snapshotWorker) offered(chunk *wire.SnapshotChunk) *snapshotReceipt {
	l := w.host.loop
	c := &snapshotReceipt{group: chunk.Group, offer: chunk.Offer, size: int64(chunk.Size)}
	w.receipts = append(w.receipts, c)
	l.control.Post(func() {
		r := l.replicas[c.group]
		if r == nil {
			w.inbox.Post(func() { w.abort(c) })
			return
		}
		r.note(event{what: "snapshot offered", peer: c.offer.From, term: c.offer.Term, index: c.offer.At.Index})
		useful := false
		r.guard(func() { useful = r.raft.SnapshotOffered(r.now(), c.offer) })
		l.touch(r)
		w.inbox.Post(func() { w.judged(c, r, useful) })
	})
	return c
}

// judged begins to receive, or refuses.
func (w *snapshotWorker) judged(c *snapshotReceipt, r *replica, useful bool) {
	if !slices.Contains(w.receipts, c) {
		return
	}
	c.replica = r
	if _, ok := r.config.StateMachine.(Snapshotter); !ok || !useful {
		w.finish(c, wire.SnapshotRefused)
		return
	}
	s := w.shelf(r)
	s.wanted(c.offer.At)
	part, err := w.spool.Create(s.entry(c.offer.At))
	if err != nil {
		w.failed(c, err)
		return
	}
	c.part = part
	w.host.config.Logger.Info("receiving a snapshot: this member is too far behind for the leader's log", groupAttr(c.group),
		memberAttr("leader", c.offer.From), slog.Uint64("index", uint64(c.offer.At.Index)), slog.Int64("bytes", c.size))
	backlog := c.backlog
	c.backlog = nil
	for _, chunk := range backlog {
		if c.part != nil && !c.whole {
			w.store(c, chunk)
		}
	}
}

// store writes a piece, if it is the next one, and says how much is there.
func (w *snapshotWorker) store(c *snapshotReceipt, chunk *wire.SnapshotChunk) {
	if err := refusedAtOnce(chunk); err != nil {
		w.failed(c, err)
		return
	}
	if int64(chunk.Offset) == c.part.Size() {
		if _, err := c.part.Write(chunk.Data); err != nil {
			w.failed(c, err)
			return
		}
	}
	w.answer(c.group, c.offer, wire.SnapshotReceiving, c.part.Size())
	if c.part.Size() == c.size {
		w.complete(c)
	}
}

// complete has what arrived verified and made durable, and then restored.
func (w *snapshotWorker) complete(c *snapshotReceipt) {
	part, scribe := c.part, w.scribe(w.shelf(c.replica))
	c.part, c.whole = nil, true
	scribe.inbox.Post(func() {
		err := scribe.commit(part)
		w.inbox.Post(func() { w.committed(c, err) })
	})
}

// committed has the state machine take a snapshot that is whole and durable.
func (w *snapshotWorker) committed(c *snapshotReceipt, err error) {
	if !slices.Contains(w.receipts, c) {
		return // the group is closed
	}
	if err != nil {
		w.discard(c)
		w.failed(c, err)
		return
	}
	a := c.replica.applier
	entry := snapshot.Entry{Group: c.group, Position: c.offer.At}
	a.asks.Post(func() {
		err := a.restore(w, entry)
		w.inbox.Post(func() { w.restored(c, err) })
	})
}

// restored ends a receipt whose state machine has taken the state, or has not.
func (w *snapshotWorker) restored(c *snapshotReceipt, err error) {
	if err != nil {
		w.discard(c)
		w.failed(c, err)
		return
	}
	s := w.shelf(c.replica)
	c.replica.group.behind(c.offer.At, nil)
	c.replica.group.snapshotsInstalled.Add(1)
	w.host.config.Logger.Info("a snapshot is installed", groupAttr(c.group), slog.Uint64("index", uint64(c.offer.At.Index)))
	w.shelved(s, c.offer.At)
	w.finish(c, wire.SnapshotInstalled)
	w.tidy(s)
}

// discard removes the file of a snapshot that was not installed, if it is there.
func (w *snapshotWorker) discard(c *snapshotReceipt) {
	s := w.shelf(c.replica)
	_ = w.remove(s, s.entry(c.offer.At)) // it is told, and tried again
}

func (w *snapshotWorker) failed(c *snapshotReceipt, err error) {
	c.replica.group.behind(c.offer.At, err)
	w.host.config.Logger.Error("a snapshot could not be installed; the state is what it was", groupAttr(c.group),
		memberAttr("leader", c.offer.From), slog.Uint64("index", uint64(c.offer.At.Index)), slog.String("error", err.Error()),
		slog.String("remedy", snapshotRemedy(err)))
	w.finish(c, wire.SnapshotFailed)
}

// finish ends a receipt and tells its sender.
func (w *snapshotWorker) finish(c *snapshotReceipt, outcome wire.SnapshotOutcome) {
	w.abort(c)
	w.answer(c.group, c.offer, outcome, 0)
}

// abort ends a receipt. What has arrived of it is removed, unless it is complete.
func (w *snapshotWorker) abort(c *snapshotReceipt) {
	w.receipts = slices.DeleteFunc(w.receipts, func(other *snapshotReceipt) bool { return other == c })
	if c.part == nil {
		return
	}
	if err := c.part.Abort(); err != nil {
		w.host.config.Logger.Warn("a part of a snapshot could not be removed; the next start does it", slog.String("error", err.Error()))
	}
	c.part = nil
}

// expireReceipts gives up what nobody sends any more, and returns when to look again.
func (w *snapshotWorker) expireReceipts() actor.Instant {
	next := actor.Never
	for _, c := range slices.Clone(w.receipts) {
		if c.replica == nil || c.whole {
			continue
		}
		due := c.touched.Add(2 * giveUpAfter * c.replica.config.ElectionTimeout)
		if w.now >= due {
			w.abort(c)
			continue
		}
		next = min(next, due)
	}
	return next
}

// answer reports to the sender, by way of the loop's outbox.
func (w *snapshotWorker) answer(group GroupID, offer raft.SnapshotOffer, outcome wire.SnapshotOutcome, received int64) {
	l := w.host.loop
	l.control.Post(func() {
		o := l.outbox(offer.From)
		o.encoder.SnapshotReport(wire.SnapshotReport{
			Group: group, From: l.host.config.Member, Offer: offer, Outcome: outcome, Received: uint64(received),
		})
	})
}
