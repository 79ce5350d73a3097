package balsa

import (
	"errors"
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
	source  wire.SnapshotSource
	size    int64
	part    *snapshot.Part        // nil before that, and once it is complete
	backlog []*wire.SnapshotChunk // what came meanwhile
	whole   bool                  // it is complete and being restored
	touched actor.Instant
	damaged int // pieces that were not what a snapshot is made of
	task    *snapshotTask
}

// is reports whether a piece belongs to it.
func (c *snapshotReceipt) is(chunk *wire.SnapshotChunk) bool {
	return c.offer == chunk.Offer && c.source == chunk.Source && c.size == int64(chunk.Size)
}

// kept names what of it is kept.
func (c *snapshotReceipt) kept() snapshot.Kept {
	return snapshot.Kept{
		Entry: snapshot.Entry{Group: c.group, Position: c.offer.At}, Identity: c.source.Identity, Bytes: c.size, From: c.source.Sender,
	}
}

// damagedMost is how many damaged pieces are sent again before the snapshot itself is thought to be what is damaged.
const damagedMost = 4

// bulkBytes bounds the pieces that arrived and were not yet looked at. What comes on top is dropped, and sent again.
const bulkBytes = 32 << 20

// ReceivedBulk implements transport.Receiver.
func (h *Host) ReceivedBulk(from raft.MemberID, frame []byte) {
	packets, err := wire.Decode(nil, frame)
	for i := range packets {
		if c := packets[i].Chunk; c == nil || c.Source.Sender != from || c.To != h.config.Member {
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
		w.answer(c, wire.SnapshotReceiving, c.size)
	case c.part == nil:
		if len(c.backlog) < windowPieces {
			c.backlog = append(c.backlog, chunk)
		}
	default:
		w.store(c, chunk)
	}
}

// receipt returns what a piece belongs to. A piece of another snapshot begins a new one, and ends an older one.
func (w *snapshotWorker) receipt(chunk *wire.SnapshotChunk) *snapshotReceipt {
	i := slices.IndexFunc(w.receipts, func(c *snapshotReceipt) bool { return c.group == chunk.Group })
	if i >= 0 {
		c := w.receipts[i]
		switch {
		case c.is(chunk):
			return c
		case c.whole, chunk.Offer.Term < c.offer.Term:
			return nil
		case w.busyWith(c, chunk): // whoever sends it may go on to wait
			w.answerTo(chunk.Group, chunk.Offer, chunk.Source, wire.SnapshotReceiving, 0)
			return nil
		}
		w.abort(c)
	}
	return w.offered(chunk)
}

// busyWith reports whether somebody else sends on behalf of the same leader, and is not silent. Two who send at once would keep each
// other from ever getting to the end.
func (w *snapshotWorker) busyWith(c *snapshotReceipt, chunk *wire.SnapshotChunk) bool {
	return c.part != nil && c.offer.Term == chunk.Offer.Term && c.source.Sender != chunk.Source.Sender &&
		w.now < c.touched.Add(giveUpAfter*c.replica.config.ElectionTimeout)
}

// offered asks the protocol whether a snapshot is of use.
func (w *snapshotWorker) offered(chunk *wire.SnapshotChunk) *snapshotReceipt {
	l := w.host.loop
	c := &snapshotReceipt{group: chunk.Group, offer: chunk.Offer, source: chunk.Source, size: int64(chunk.Size), touched: w.now}
	w.receipts = append(w.receipts, c)
	l.control.Post(func() {
		r := l.replicas[c.group]
		if r == nil {
			w.inbox.Post(func() { w.abort(c) })
			return
		}
		r.note(event{what: "snapshot offered", peer: c.offer.From, term: c.offer.Term, index: c.offer.At.Index})
		useful, later := false, false
		r.guard(func() {
			if c.source.Sender == c.offer.From {
				useful = r.raft.SnapshotOffered(r.now(), c.offer)
			} else {
				useful, later = r.raft.SnapshotRelayed(r.now(), c.offer)
			}
			useful = useful && r.wantsState(c.offer.At)
		})
		l.touch(r)
		w.inbox.Post(func() { w.judged(c, r, useful, later) })
	})
	return c
}

// judged begins to receive, or refuses.
func (w *snapshotWorker) judged(c *snapshotReceipt, r *replica, useful, later bool) {
	if !slices.Contains(w.receipts, c) {
		return
	}
	c.replica = r
	if _, ok := r.config.StateMachine.(Snapshotter); later {
		w.abort(c) // its first piece comes again
		return
	} else if !ok || !useful {
		w.finish(c, wire.SnapshotRefused)
		return
	}
	if c.backlog != nil {
		if err := refusedAtOnce(c.backlog[0]); err != nil {
			w.failed(c, err)
			return
		}
	}
	s, kept := w.shelf(r), c.kept()
	s.wanted(c.offer.At)
	scribe := w.scribe(s)
	scribe.inbox.Post(func() {
		part, err := scribe.receive(w.spool, kept)
		if !w.inbox.Post(func() { w.opened(c, part, err) }) && part != nil {
			_ = part.Suspend()
		}
	})
}

// opened goes on with what is kept of a snapshot, which may be nothing, and says how much that is.
func (w *snapshotWorker) opened(c *snapshotReceipt, part *snapshot.Part, err error) {
	if !slices.Contains(w.receipts, c) {
		if part != nil {
			_ = part.Suspend()
		}
		return
	}
	if err != nil {
		w.failed(c, err)
		return
	}
	c.part = part
	c.task = c.replica.group.beginTask(&snapshotTask{stage: SnapshotReceiving, peer: c.source.Sender}, c.offer.At, c.size)
	c.task.done.Store(part.Size())
	c.task.resumed.Store(part.Size())
	w.host.config.Logger.Info("receiving a snapshot: this member is too far behind for the leader's log", groupAttr(c.group),
		memberAttr("leader", c.offer.From), memberAttr("sender", c.source.Sender), slog.Uint64("index", uint64(c.offer.At.Index)),
		slog.Int64("bytes", c.size), slog.Int64("kept", part.Size()))
	if part.Size() > 0 {
		c.replica.group.snapshotsResumed.Add(1)
		w.answer(c, wire.SnapshotReceiving, part.Size())
	}
	backlog := c.backlog
	c.backlog = nil
	if part.Size() == c.size {
		w.complete(c)
		return
	}
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
		_, err := c.part.Write(chunk.Data)
		if errors.Is(err, snapshot.ErrDamaged) && c.damaged < damagedMost {
			c.damaged++
			w.host.config.Logger.Warn("a piece of a snapshot arrived damaged; it is sent again", groupAttr(c.group),
				memberAttr("sender", c.source.Sender), slog.String("error", err.Error()))
			err = nil
		}
		if err != nil {
			w.failed(c, err)
			return
		}
		c.replica.group.snapshotBytesTaken.Add(uint64(max(0, c.part.Size()-int64(chunk.Offset))))
		c.task.done.Store(c.part.Size())
	}
	w.answer(c, wire.SnapshotReceiving, c.part.Size())
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
	if part := c.part; part != nil && outcome == wire.SnapshotFailed {
		c.part = nil
		w.ended(part.Abort())
	}
	w.abort(c)
	w.answer(c, outcome, 0)
}

// abort ends a receipt. What has arrived of it stays for a while.
func (w *snapshotWorker) abort(c *snapshotReceipt) {
	w.receipts = slices.DeleteFunc(w.receipts, func(other *snapshotReceipt) bool { return other == c })
	if c.task != nil {
		c.replica.group.endTask(c.task)
	}
	if c.part == nil {
		return
	}
	w.shelf(c.replica).keptUntil = w.now.Add(keepFor * c.replica.config.ElectionTimeout)
	w.ended(c.part.Suspend())
	c.part = nil
}

// ended tells of a part that could not be ended.
func (w *snapshotWorker) ended(err error) {
	if err != nil {
		w.host.config.Logger.Warn("a part of a snapshot could not be closed or removed", slog.String("error", err.Error()))
	}
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
func (w *snapshotWorker) answer(c *snapshotReceipt, outcome wire.SnapshotOutcome, received int64) {
	w.answerTo(c.group, c.offer, c.source, outcome, received)
}

func (w *snapshotWorker) answerTo(group GroupID, offer raft.SnapshotOffer, source wire.SnapshotSource, outcome wire.SnapshotOutcome, received int64) {
	l := w.host.loop
	l.control.Post(func() {
		o := l.outbox(source.Sender)
		o.encoder.SnapshotReport(wire.SnapshotReport{
			Group: group, From: l.host.config.Member, Offer: offer, Source: source, Outcome: outcome, Received: uint64(received),
		})
	})
}
