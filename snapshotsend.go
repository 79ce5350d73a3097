package balsa

import (
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// snapshotSend is a snapshot on its way to a follower. Pieces are sent ahead of what the follower has confirmed, up to a
// window; where nothing is confirmed any more, they are sent again from there.
type snapshotSend struct {
	replica *replica
	need    raft.SnapshotNeed
	offer   raft.SnapshotOffer
	file    *snapshot.File // nil until there is one

	sent, received int64         // bytes from the start of the file
	heard          actor.Instant // when the follower confirmed something last, or began to be sent to
	resent         actor.Instant
	retry          bool // the transport took nothing
}

const (
	snapshotPiece  = 128 << 10
	snapshotWindow = 1 << 20
)

// A follower that confirms nothing for so many election timeouts is sent the same again, and is given up. One that has everything
// is given longer: it may have gigabytes to put in their place.
const (
	resendAfter  = 3
	giveUpAfter  = 20
	restoreLimit = 200
)

// needSnapshot starts what a follower needs. It runs in the loop.
func (r *replica) needSnapshot(need raft.SnapshotNeed) {
	r.note(event{what: "snapshot needed", peer: need.To, term: need.Term, index: need.AtLeast})
	w := r.loop.host.snapshots
	if _, ok := r.config.StateMachine.(Snapshotter); ok {
		w.inbox.Post(func() { w.need(r, need) })
		return
	}
	if !r.saidNoSnapshots {
		r.saidNoSnapshots = true
		r.loop.host.config.Logger.Error("a member needs entries that the log has no longer, and this state machine cannot give a snapshot (it is no balsa.Snapshotter)",
			groupAttr(r.config.ID), memberAttr("member", need.To))
	}
	r.guard(func() { r.raft.SnapshotFailed(r.now(), need.To) })
}

func (w *snapshotWorker) need(r *replica, need raft.SnapshotNeed) {
	s := w.shelf(r)
	for _, other := range slices.Clone(w.sends) {
		if other.replica != r || other.need.To != need.To {
			continue
		}
		if other.need.Term == need.Term && other.need.ToLife == need.ToLife && (other.file == nil || other.offer.At.Index >= need.AtLeast) {
			return // it is being met
		}
		w.end(other)
	}
	send := &snapshotSend{replica: r, need: need}
	w.sends = append(w.sends, send)
	if s.newest.Index >= need.AtLeast && s.newest.Index > 0 {
		w.begin(send)
		return
	}
	s.waiting = append(s.waiting, send)
	w.make(s)
}

// begin opens the newest file for a send.
func (w *snapshotWorker) begin(send *snapshotSend) {
	if !slices.Contains(w.sends, send) {
		return // it was ended while it waited
	}
	r := send.replica
	at := w.shelf(r).newest
	file, err := w.spool.Open(snapshot.Entry{Group: r.config.ID, Position: at})
	if err != nil || at.Index < send.need.AtLeast {
		w.host.config.Logger.Warn("a snapshot cannot be sent", groupAttr(r.config.ID), slog.Uint64("index", uint64(at.Index)), slog.Any("error", err))
		w.sendFailed(send)
		return
	}
	send.file = file
	send.offer = raft.SnapshotOffer{
		From: w.host.config.Member, FromLife: send.need.FromLife, ToLife: send.need.ToLife, Term: send.need.Term, At: at,
	}
	send.heard, send.resent = w.now, w.now
	w.host.loop.control.Post(func() { r.sending = append(r.sending, send) })
	w.host.config.Logger.Info("sending a snapshot to a member that is too far behind for the log", groupAttr(r.config.ID),
		memberAttr("member", send.need.To), slog.Uint64("index", uint64(at.Index)), slog.Int64("bytes", file.Size()))
}

// pumpSends goes on with all sends, and returns when it wants to look at them again.
func (w *snapshotWorker) pumpSends() actor.Instant {
	next := actor.Never
	for _, s := range slices.Clone(w.sends) {
		if s.file != nil {
			next = min(next, w.pump(s))
		}
	}
	return next
}

func (w *snapshotWorker) pump(s *snapshotSend) actor.Instant {
	timeout := s.replica.config.ElectionTimeout
	patience := giveUpAfter * timeout
	if s.received == s.file.Size() {
		patience = restoreLimit * timeout
	}
	if w.now >= s.heard.Add(patience) {
		w.host.config.Logger.Warn("a member did not take a snapshot; it is asked again what it needs", groupAttr(s.replica.config.ID),
			memberAttr("member", s.need.To), slog.Int64("received", s.received), slog.Int64("bytes", s.file.Size()))
		w.sendFailed(s)
		return actor.Never
	}
	if again := max(s.heard, s.resent).Add(resendAfter * timeout); s.sent > s.received && w.now >= again {
		s.sent, s.resent = s.received, w.now
	}
	s.retry = false
	for s.sent < s.file.Size() && s.sent-s.received < snapshotWindow && !s.retry {
		if err := w.sendPiece(s); err != nil {
			w.host.config.Logger.Error("a snapshot cannot be read", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
			w.sendFailed(s)
			return actor.Never
		}
	}
	next := s.heard.Add(patience)
	if s.sent > s.received {
		next = min(next, max(s.heard, s.resent).Add(resendAfter*timeout))
	}
	if s.retry {
		next = min(next, w.now.Add(retryInterval))
	}
	return next
}

func (w *snapshotWorker) sendPiece(s *snapshotSend) error {
	data := make([]byte, min(snapshotPiece, s.file.Size()-s.sent))
	if _, err := io.ReadFull(s.file.Raw(s.sent), data); err != nil {
		return err
	}
	var e wire.Encoder
	e.SnapshotChunk(wire.SnapshotChunk{
		Group: s.replica.config.ID, To: s.need.To, Offer: s.offer, Size: uint64(s.file.Size()), Offset: uint64(s.sent), Data: data,
	})
	if s.retry = !w.host.config.Transport.SendBulk(s.need.To, e.Frame()); !s.retry {
		s.sent += int64(len(data))
	}
	return nil
}

// report takes a follower's answer.
func (w *snapshotWorker) report(report *wire.SnapshotReport) {
	i := slices.IndexFunc(w.sends, func(s *snapshotSend) bool {
		return s.file != nil && s.replica.config.ID == report.Group && s.need.To == report.From && s.offer == report.Offer
	})
	if i < 0 {
		return
	}
	s := w.sends[i]
	switch report.Outcome {
	case wire.SnapshotReceiving:
		w.confirmed(s, int64(report.Received))
	case wire.SnapshotInstalled:
		took := time.Duration(w.now - s.heard)
		w.host.config.Logger.Info("a member has installed a snapshot", groupAttr(s.replica.config.ID), memberAttr("member", s.need.To),
			slog.Uint64("index", uint64(s.offer.At.Index)), slog.Duration("restoring took", took))
		s.replica.group.snapshotsSent.Add(1)
		w.end(s)
	default:
		w.sendFailed(s)
	}
}

// confirmed notes how much the follower has; less than before where it began anew.
func (w *snapshotWorker) confirmed(s *snapshotSend, received int64) {
	if received > s.file.Size() || received == s.received {
		return
	}
	if received < s.received || received > s.sent {
		s.sent = received
	}
	s.received, s.heard = received, w.now
}

// sendFailed ends a send and lets the protocol ask the follower again.
func (w *snapshotWorker) sendFailed(s *snapshotSend) {
	w.end(s)
	r, to := s.replica, s.need.To
	w.host.loop.control.Post(func() {
		r.guard(func() { r.raft.SnapshotFailed(r.now(), to) })
		r.loop.touch(r)
	})
}

func (w *snapshotWorker) end(s *snapshotSend) {
	w.sends = slices.DeleteFunc(w.sends, func(other *snapshotSend) bool { return other == s })
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
		r := s.replica
		w.host.loop.control.Post(func() {
			r.sending = slices.DeleteFunc(r.sending, func(other *snapshotSend) bool { return other == s })
		})
	}
	shelf := w.shelf(s.replica)
	shelf.waiting = slices.DeleteFunc(shelf.waiting, func(other *snapshotSend) bool { return other == s })
	w.tidy(shelf)
}
