package balsa

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
	"github.com/balsadb/balsa/transport"
)

// snapshotSend is a snapshot on its way to a follower. Pieces are sent ahead of what the follower has confirmed, up to a
// window; where nothing is confirmed any more, they are sent again from there.
type snapshotSend struct {
	replica *replica
	need    raft.SnapshotNeed
	leader  MemberID // who has ordered it; 0 where that is this member
	newsAt  actor.Instant
	offer   raft.SnapshotOffer
	source  wire.SnapshotSource
	file    *snapshot.File // nil until there is one
	task    *snapshotTask

	sent, received int64         // bytes from the start of the file
	heard          actor.Instant // when the follower was heard of last, or began to be sent to
	resent         actor.Instant
	resends        int           // since anything was confirmed
	retry          bool          // the transport took nothing
	failAt         actor.Instant // when the protocol is told that it failed; 0 while it has not
}

// windowPieces is how many pieces are sent ahead of what is confirmed.
const windowPieces = 8

func (w *snapshotWorker) piece() int64  { return int64(w.host.config.SnapshotPiece) }
func (w *snapshotWorker) window() int64 { return windowPieces * w.piece() }

// A follower that is not heard of for so many election timeouts is sent the same again, at longer and longer intervals (what is on a
// slow way need not be sent twice, E31), and given up. One that has everything is
// asked so how it is doing: while it restores it says that it has everything, and one that was started anew that it has nothing.
const (
	resendAfter = 3
	giveUpAfter = 20
)

// maxFailures bounds the doubling of the pause after snapshots that a follower did not install: from an election timeout to some
// hundred. Each of them costs a transfer of the whole state.
const maxFailures = 8

// needSnapshot starts what a follower needs. It runs in the loop.
func (r *replica) needSnapshot(need raft.SnapshotNeed) {
	r.note(event{what: "snapshot needed", peer: need.To, term: need.Term, index: need.AtLeast})
	w := r.loop.host.snapshots
	if _, ok := r.config.StateMachine.(Snapshotter); ok {
		others := r.delegates(need)
		w.inbox.Post(func() { w.need(r, need, others) })
		return
	}
	if !r.saidNoSnapshots {
		r.saidNoSnapshots = true
		r.loop.host.config.Logger.Error("a member needs entries that the log has no longer, and this state machine cannot give a snapshot (it is no balsa.Snapshotter)",
			groupAttr(r.config.ID), memberAttr("member", need.To))
	}
	r.guard(func() { r.raft.SnapshotFailed(r.now(), need.To) })
}

// need has a snapshot sent, by one of others if that is possible.
func (w *snapshotWorker) need(r *replica, need raft.SnapshotNeed, others []MemberID) {
	s := w.shelf(r)
	if w.beingMet(r, need) {
		return
	}
	if to := w.choose(s, need, others); to != 0 {
		w.delegate(r, need, to)
		return
	}
	send := &snapshotSend{replica: r, need: need}
	w.sends = append(w.sends, send)
	w.supply(s, send)
}

// supply begins a send as soon as there is a file for it.
func (w *snapshotWorker) supply(s *shelf, send *snapshotSend) {
	if s.newest.Index >= send.need.AtLeast && s.newest.Index > 0 {
		w.begin(send)
		return
	}
	s.waiting = append(s.waiting, send)
	w.make(s)
}

// beingMet reports whether a need is being met already, and ends what meets an earlier one of the same member.
func (w *snapshotWorker) beingMet(r *replica, need raft.SnapshotNeed) bool {
	for _, d := range slices.Clone(w.ordered) {
		if d.replica != r || d.need.To != need.To {
			continue
		}
		if d.need.Term == need.Term && d.need.ToLife == need.ToLife && (d.at.Index == 0 || d.at.Index >= need.AtLeast) {
			return true
		}
		w.recall(d)
	}
	for _, other := range slices.Clone(w.sends) {
		if other.replica != r || other.need.To != need.To {
			continue
		}
		if other.need.Term == need.Term && other.need.ToLife == need.ToLife && (other.file == nil || other.offer.At.Index >= need.AtLeast) {
			return true
		}
		w.end(other)
		w.host.loop.control.Post(func() { r.unpin(other) })
	}
	return false
}

// endSends ends what is being sent by a member that does not lead any more (E07), or has stopped. It runs in the loop.
func (r *replica) endSends() {
	r.pins = nil
	w := r.loop.host.snapshots
	w.inbox.Post(func() {
		for _, s := range slices.Clone(w.sends) {
			if s.replica == r {
				w.keep(w.shelf(r)) // whoever leads now may have it sent on
				w.end(s)
			}
		}
		for _, d := range slices.Clone(w.ordered) {
			if d.replica == r {
				w.endDelegation(d)
			}
		}
		shelf := w.shelf(r)
		clear(shelf.held)
		clear(shelf.alone)
	})
}

// begin opens the newest file for a send.
func (w *snapshotWorker) begin(send *snapshotSend) {
	if !slices.Contains(w.sends, send) {
		return // it was ended while it waited
	}
	r := send.replica
	at := w.shelf(r).newest
	file, err := w.spool.Open(snapshot.Entry{Group: r.config.ID, Position: at})
	if err == nil && at.Index < send.need.AtLeast {
		err = errors.Join(fmt.Errorf("it ends at index %d, and %d is needed", at.Index, send.need.AtLeast), file.Close())
	}
	if err != nil {
		w.distrust(w.shelf(r))
		w.host.config.Logger.Warn("a snapshot cannot be sent", groupAttr(r.config.ID), slog.Uint64("index", uint64(at.Index)), slog.String("error", err.Error()))
		w.sendFailed(send)
		return
	}
	send.file = file
	send.offer = raft.SnapshotOffer{
		From: cmp.Or(send.leader, w.host.config.Member), FromLife: send.need.FromLife, ToLife: send.need.ToLife, Term: send.need.Term, At: at,
	}
	send.source = wire.SnapshotSource{Sender: w.host.config.Member}
	if w.knowsSources(send.need.To) {
		send.source.Identity = file.Meta().Identity
	}
	send.heard, send.resent = w.now, w.now
	send.task = r.group.beginTask(&snapshotTask{stage: SnapshotSending, peer: send.need.To}, at, file.Size())
	if send.leader == 0 {
		w.host.loop.control.Post(func() { r.pin(send, send.need.To, at.Index) })
	}
	w.reportOrdered(send)
	w.host.config.Logger.Info("sending a snapshot to a member that is too far behind for the log", groupAttr(r.config.ID),
		memberAttr("member", send.need.To), slog.Uint64("index", uint64(at.Index)), slog.Int64("bytes", file.Size()))
}

// featured is a transport that knows what the builds of other hosts can do; where it is none, all can do the same.
type featured interface {
	PeerFeatures(raft.MemberID) transport.Features
}

// knowsSources reports whether a member's build knows where snapshots come from. One that does not is sent what it knows, from this
// member's own file and from the beginning.
func (w *snapshotWorker) knowsSources(member MemberID) bool {
	return w.host.knows(member, transport.FeatureSnapshotSources)
}

// knows reports whether a member's build has a feature.
func (h *Host) knows(member MemberID, feature transport.Features) bool {
	t, is := h.config.Transport.(featured)
	return !is || t.PeerFeatures(member)&feature != 0
}

// pumpSends goes on with all sends, and returns when it wants to look at them again.
func (w *snapshotWorker) pumpSends() actor.Instant {
	next := actor.Never
	sends := slices.Clone(w.sends)
	if len(sends) > 0 { // another goes first each time: there may be room for one only
		w.first = (w.first + 1) % len(sends)
		sends = append(sends[w.first:len(sends):len(sends)], sends[:w.first]...)
	}
	for _, s := range sends {
		if s.leader != 0 {
			next = min(next, w.pumpNews(s))
		}
		switch {
		case s.failAt == 0 && s.file == nil:
		case s.failAt == 0:
			next = min(next, w.pump(s))
		case w.now >= s.failAt:
			w.sendFailed(s)
		default:
			next = min(next, s.failAt)
		}
	}
	return next
}

func (w *snapshotWorker) pump(s *snapshotSend) actor.Instant {
	timeout, size := s.replica.config.ElectionTimeout, s.file.Size()
	if !s.outstanding() { // nothing was sent since, for want of pace: no answer is due
		s.heard = w.now
	}
	if w.now >= s.heard.Add(giveUpAfter*timeout) {
		w.host.config.Logger.Warn("a member did not take a snapshot; it is asked again what it needs", groupAttr(s.replica.config.ID),
			memberAttr("member", s.need.To), slog.Int64("received", s.received), slog.Int64("bytes", size))
		w.sendFailed(s)
		return actor.Never
	}
	if w.now >= s.resendAt() && (s.sent > s.received || s.received == size) {
		s.sent, s.resent = min(s.received, max(0, size-w.piece())), w.now
		s.resends++
	}
	s.retry = false
	for s.sent < size && s.sent-s.received < w.window() && !s.retry && w.sending.ready(w.now) <= w.now {
		if err := w.sendPiece(s); err != nil {
			w.host.config.Logger.Error("a snapshot cannot be read; another is made", groupAttr(s.replica.config.ID), slog.String("error", err.Error()))
			w.distrust(w.shelf(s.replica))
			w.sendFailed(s)
			return actor.Never
		}
	}
	next := min(s.heard.Add(giveUpAfter*timeout), s.resendAt())
	if s.retry {
		next = min(next, w.now.Add(retryInterval))
	} else if s.sent < size && s.sent-s.received < w.window() {
		next = min(next, w.sending.ready(w.now))
	}
	return next
}

// outstanding reports whether an answer is due.
func (s *snapshotSend) outstanding() bool {
	return s.sent > s.received || s.received == s.file.Size() || s.retry
}

// resendAt is when what was not confirmed is sent again.
func (s *snapshotSend) resendAt() actor.Instant {
	return max(s.heard, s.resent).Add(resendAfter * s.replica.config.ElectionTimeout << min(s.resends, 2))
}

func (w *snapshotWorker) sendPiece(s *snapshotSend) error {
	data := make([]byte, min(w.piece(), s.file.Size()-s.sent))
	if _, err := io.ReadFull(s.file.Raw(s.sent), data); err != nil {
		return err
	}
	var e wire.Encoder
	e.SnapshotChunk(wire.SnapshotChunk{
		Group: s.replica.config.ID, To: s.need.To, Offer: s.offer, Source: s.source, Size: uint64(s.file.Size()), Offset: uint64(s.sent), Data: data,
	})
	if s.retry = !w.host.config.Transport.SendBulk(s.need.To, e.Frame()); !s.retry {
		s.sent += int64(len(data))
		w.sending.spend(w.now, len(data))
		s.replica.group.snapshotBytesSent.Add(uint64(len(data)))
	}
	return nil
}

// report takes a follower's answer.
func (w *snapshotWorker) report(report *wire.SnapshotReport) {
	i := slices.IndexFunc(w.sends, func(s *snapshotSend) bool {
		return s.file != nil && s.replica.config.ID == report.Group && s.need.To == report.From && s.offer == report.Offer && s.source == report.Source
	})
	if i < 0 {
		return
	}
	s := w.sends[i]
	s.heard = w.now
	shelf := w.shelf(s.replica)
	switch report.Outcome {
	case wire.SnapshotReceiving:
		w.confirmed(s, int64(report.Received))
	case wire.SnapshotInstalled:
		w.host.config.Logger.Info("a member has installed a snapshot", groupAttr(s.replica.config.ID), memberAttr("member", s.need.To),
			slog.Uint64("index", uint64(s.offer.At.Index)))
		s.replica.group.snapshotsSent.Add(1)
		delete(shelf.failures, s.need.To)
		if s.leader != 0 {
			w.tellLeader(s, wire.SnapshotTaken)
		} else {
			w.host.loop.control.Post(func() { s.replica.pinFollows(s) })
		}
		w.end(s)
	default:
		if report.Outcome == wire.SnapshotFailed { // perhaps it is the file
			w.distrust(shelf)
		}
		if s.leader != 0 { // who has ordered it decides when to try again
			w.tellLeader(s, wire.SnapshotNotTaken)
			w.keep(shelf)
			w.end(s)
			return
		}
		n := min(shelf.failures[s.need.To], maxFailures)
		shelf.failures[s.need.To] = n + 1
		s.failAt = w.now.Add(s.replica.config.ElectionTimeout << n)
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
	if received > s.received+w.window() { // it was there already
		s.task.resumed.Add(received - s.received)
		w.host.config.Logger.Info("a member has a part of a snapshot already", groupAttr(s.replica.config.ID), memberAttr("member", s.need.To),
			slog.Int64("received", received), slog.Int64("bytes", s.file.Size()))
	}
	s.received, s.resends = received, 0
	s.task.done.Store(received)
}

// sendFailed ends a send and lets the protocol ask the follower again.
func (w *snapshotWorker) sendFailed(s *snapshotSend) {
	w.keep(w.shelf(s.replica)) // it is asked for again soon, where the follower lives
	if s.leader != 0 {
		w.tellLeader(s, wire.SnapshotUnsent)
		w.end(s)
		return
	}
	w.end(s)
	r, to := s.replica, s.need.To
	w.host.loop.control.Post(func() {
		r.unpin(s)
		r.guard(func() { r.raft.SnapshotFailed(r.now(), to) })
		r.loop.touch(r)
	})
}

func (w *snapshotWorker) end(s *snapshotSend) {
	w.sends = slices.DeleteFunc(w.sends, func(other *snapshotSend) bool { return other == s })
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
		s.replica.group.endTask(s.task)
	}
	shelf := w.shelf(s.replica)
	shelf.waiting = slices.DeleteFunc(shelf.waiting, func(other *snapshotSend) bool { return other == s })
	w.tidy(shelf)
}
