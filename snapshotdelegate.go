package balsa

import (
	"cmp"
	"log/slog"
	"slices"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

// A leader need not send snapshots itself: what a follower has applied is as committed as what the leader has, and its disk and its
// network are less busy.
//
//	leader     ──order──▶ a follower that is up to date, or whose file the receiver has a part of
//	that one   ──news, each election timeout──▶ leader
//	           ──pieces──▶ receiver ──answers──▶ that one
//
// An order holds for a term: who has it stops as soon as it knows another leader, or none. The leader keeps the log from the snapshot's
// place on, as for one of its own, and does itself what came to nothing, for whatever reason, or of which it hears nothing any more.
// For the receiver a piece that another sends is no sign of life of the leader.

// delegation is a snapshot that another member sends in this leader's place.
type delegation struct {
	replica *replica
	need    raft.SnapshotNeed
	to      MemberID       // who sends it
	at      Position       // of the snapshot, zero while it is not known
	prefer  *snapshot.Kept // what the receiver has a part of

	heard, asked actor.Instant
	failAt       actor.Instant // when the protocol is told that it was not taken; 0 while that is not so
	task         *snapshotTask
}

// silenceAfter is for how many election timeouts a member that sends in the leader's place may say nothing.
const silenceAfter = 8

// delegates returns who could send a snapshot in this leader's place, the best first: members that are connected and keep up. It runs in the loop.
func (r *replica) delegates(need raft.SnapshotNeed) (able []MemberID) {
	if r.loop.host.config.SnapshotsByLeader {
		return nil
	}
	peers := slices.DeleteFunc(r.raft.Status().Peers, func(p raft.PeerStatus) bool {
		return p.ID == need.To || p.State != raft.StateReplicate || !p.Connected || p.Match < need.AtLeast || p.Role == raft.Leaving
	})
	slices.SortStableFunc(peers, func(a, b raft.PeerStatus) int { return cmp.Compare(b.Match, a.Match) })
	for _, p := range peers {
		able = append(able, p.ID)
	}
	return able
}

// choose returns who is to send: who has what the receiver has a part of, else the best of the others; 0 for this leader.
func (w *snapshotWorker) choose(s *shelf, need raft.SnapshotNeed, others []MemberID) MemberID {
	others = slices.DeleteFunc(slices.Clone(others), func(id MemberID) bool { return !w.knowsSources(id) })
	if len(others) == 0 || s.alone[need.To] || !w.knowsSources(need.To) {
		return 0
	}
	if held := s.held[need.To]; held != nil && held.ToLife == need.ToLife && held.At.Index >= need.AtLeast {
		if w.hasFile(s, held.At, held.Source.Identity) {
			return 0
		}
		if slices.Contains(others, held.Source.Sender) {
			return held.Source.Sender
		}
	}
	return others[0]
}

// hasFile reports whether the newest file is a certain one.
func (w *snapshotWorker) hasFile(s *shelf, at Position, identity uint64) bool {
	if s.newest != at || identity == 0 {
		return false
	}
	file, err := w.spool.Open(s.entry(at))
	if err != nil {
		return false
	}
	defer file.Close()
	return file.Meta().Identity == identity
}

func (w *snapshotWorker) delegate(r *replica, need raft.SnapshotNeed, to MemberID) {
	d := &delegation{replica: r, need: need, to: to, heard: w.now}
	if held := w.shelf(r).held[need.To]; held != nil && held.ToLife == need.ToLife {
		d.prefer = &snapshot.Kept{Entry: snapshot.Entry{Group: r.config.ID, Position: held.At}, Identity: held.Source.Identity}
	}
	d.task = r.group.beginTask(&snapshotTask{stage: SnapshotDelegated, peer: need.To, via: to}, Position{}, 0)
	w.ordered = append(w.ordered, d)
	r.group.snapshotsDelegated.Add(1)
	w.host.config.Logger.Info("having another member send a snapshot to one that is too far behind for the log", groupAttr(r.config.ID),
		memberAttr("member", need.To), memberAttr("sender", to))
	w.order(d, false)
}

// order tells a member to send, or to stop that.
func (w *snapshotWorker) order(d *delegation, stop bool) {
	d.asked = w.now
	order := wire.SnapshotOrder{Group: d.replica.config.ID, From: w.host.config.Member, Need: d.need, Stop: stop}
	if d.prefer != nil {
		order.Prefer, order.Identity = d.prefer.Position, d.prefer.Identity
	}
	l := w.host.loop
	l.control.Post(func() { l.outbox(d.to).encoder.SnapshotOrder(order) })
}

func (w *snapshotWorker) endDelegation(d *delegation) {
	w.ordered = slices.DeleteFunc(w.ordered, func(other *delegation) bool { return other == d })
	d.replica.group.endTask(d.task)
}

// recall ends a delegation that is of no use any more.
func (w *snapshotWorker) recall(d *delegation) {
	w.order(d, true)
	w.endDelegation(d)
	w.host.loop.control.Post(func() { d.replica.unpin(d) })
}

// delegationFailed has this leader try by itself, once the protocol has asked again what the receiver needs.
func (w *snapshotWorker) delegationFailed(d *delegation, why string) {
	w.host.config.Logger.Warn("another member did not send a snapshot in this leader's place, which does so itself now", groupAttr(d.replica.config.ID),
		memberAttr("member", d.need.To), memberAttr("sender", d.to), slog.String("reason", why))
	w.shelf(d.replica).alone[d.need.To] = true
	w.recall(d)
	r, to := d.replica, d.need.To
	w.host.loop.control.Post(func() {
		r.guard(func() { r.raft.SnapshotFailed(r.now(), to) })
		r.loop.touch(r)
	})
}

// pumpOrdered looks after what others send, and returns when it wants to look again.
func (w *snapshotWorker) pumpOrdered() actor.Instant {
	next := actor.Never
	for _, d := range slices.Clone(w.ordered) {
		timeout := d.replica.config.ElectionTimeout
		silent, again := d.heard.Add(silenceAfter*timeout), max(d.heard, d.asked).Add(resendAfter*timeout)
		switch {
		case d.failAt > 0 && w.now >= d.failAt:
			w.delegationFailed(d, "the receiver did not take it")
			continue
		case d.failAt > 0:
			next = min(next, d.failAt)
			continue
		case w.now >= silent:
			w.delegationFailed(d, "nothing was heard of it")
			continue
		case w.now >= again:
			w.order(d, false)
			again = w.now.Add(resendAfter * timeout)
		}
		next = min(next, silent, again)
	}
	return next
}

// lost is told that a member's process is gone.
func (w *snapshotWorker) lost(member MemberID) {
	for _, d := range slices.Clone(w.ordered) {
		if d.to == member {
			w.delegationFailed(d, "its process is gone")
		}
	}
}

// takeNews takes what a member tells this leader.
func (w *snapshotWorker) takeNews(n *wire.SnapshotNews) {
	if n.What == wire.SnapshotHeld {
		w.takeHeld(n)
		return
	}
	i := slices.IndexFunc(w.ordered, func(d *delegation) bool {
		return d.replica.config.ID == n.Group && d.to == n.From && d.need.To == n.To && d.need.ToLife == n.ToLife && d.need.Term == n.Term
	})
	if i < 0 || w.ordered[i].failAt > 0 {
		return
	}
	d := w.ordered[i]
	d.heard = w.now
	s, r := w.shelf(d.replica), d.replica
	switch n.What {
	case wire.SnapshotUnderWay:
		w.noteUnderWay(d, n)
	case wire.SnapshotTaken:
		w.host.config.Logger.Info("a member has installed a snapshot", groupAttr(n.Group), memberAttr("member", n.To),
			memberAttr("sender", n.From), slog.Uint64("index", uint64(n.At.Index)))
		delete(s.failures, n.To)
		delete(s.held, n.To)
		w.host.loop.control.Post(func() { r.pinFollows(d) })
		w.endDelegation(d)
	case wire.SnapshotNotTaken:
		failures := min(s.failures[n.To], maxFailures)
		s.failures[n.To] = failures + 1
		d.failAt = w.now.Add(r.config.ElectionTimeout << failures)
	default:
		w.delegationFailed(d, "it cannot")
	}
}

// noteUnderWay keeps the log from where the snapshot ends. Where it has been cut beyond that, that snapshot is of no use.
func (w *snapshotWorker) noteUnderWay(d *delegation, n *wire.SnapshotNews) {
	d.task.done.Store(int64(n.Received))
	d.task.total.Store(int64(n.Size))
	if n.At == d.at {
		return
	}
	if n.At.Index < d.need.AtLeast {
		w.delegationFailed(d, "what it has is too old")
		return
	}
	d.at = n.At
	d.task.at.Store(&n.At)
	r := d.replica
	w.host.loop.control.Post(func() {
		r.unpin(d)
		if r.raft.Status().First > n.At.Index+1 {
			w.inbox.Post(func() {
				if slices.Contains(w.ordered, d) {
					w.delegationFailed(d, "the log was cut beyond what it has")
				}
			})
			return
		}
		r.pin(d, d.need.To, n.At.Index)
	})
}

// takeHeld remembers what a member has a part of. Where it is being sent another snapshot, of which nothing has arrived, who has
// the rest of that one sends it instead.
func (w *snapshotWorker) takeHeld(n *wire.SnapshotNews) {
	i := slices.IndexFunc(w.shelves, func(s *shelf) bool { return s.replica.config.ID == n.Group })
	if i < 0 || n.From != n.To {
		return
	}
	s := w.shelves[i]
	s.held[n.To] = n
	r := s.replica
	again := func(need raft.SnapshotNeed) {
		w.host.loop.control.Post(func() {
			if r.leadership.Role == raft.Leader && r.leadership.Term == need.Term && r.stopped == nil {
				r.needSnapshot(need)
			}
		})
	}
	for _, d := range slices.Clone(w.ordered) {
		if d.replica == r && d.need.To == n.To && d.need.Term == n.Term && d.to != n.Source.Sender && d.task.done.Load() == 0 && d.failAt == 0 {
			w.recall(d)
			again(d.need)
		}
	}
	for _, send := range slices.Clone(w.sends) {
		if send.replica == r && send.leader == 0 && send.need.To == n.To && send.need.Term == n.Term && send.received == 0 && send.failAt == 0 && !s.alone[n.To] &&
			!w.hasFile(s, n.At, n.Source.Identity) {
			w.keep(s)
			w.end(send)
			w.host.loop.control.Post(func() { r.unpin(send) })
			again(send.need)
		}
	}
}

// takeOrder takes what a leader orders. It runs in the loop.
func (r *replica) takeOrder(o *wire.SnapshotOrder) {
	w := r.loop.host.snapshots
	_, able := r.config.StateMachine.(Snapshotter)
	if now := r.leadership; r.stopped != nil || !able || now.Leader != o.From || now.Term != o.Need.Term || now.Role == raft.Leader {
		if !o.Stop {
			news := wire.SnapshotNews{Group: r.config.ID, From: r.loop.host.config.Member, Term: o.Need.Term, To: o.Need.To, ToLife: o.Need.ToLife, What: wire.SnapshotUnsent}
			r.loop.outbox(o.From).encoder.SnapshotNews(news)
		}
		return
	}
	r.ordered = true
	w.inbox.Post(func() { w.ordering(r, o) })
}

// ordering begins what a leader has ordered, or ends it.
func (w *snapshotWorker) ordering(r *replica, o *wire.SnapshotOrder) {
	s := w.shelf(r)
	for _, other := range slices.Clone(w.sends) {
		if other.replica != r || other.need.To != o.Need.To {
			continue
		}
		if !o.Stop && other.leader == o.From && other.need == o.Need {
			w.tellLeader(other, wire.SnapshotUnderWay)
			return
		}
		w.keep(s)
		w.end(other)
	}
	if o.Stop {
		return
	}
	send := &snapshotSend{replica: r, need: o.Need, leader: o.From}
	w.sends = append(w.sends, send)
	if o.Prefer.Index >= o.Need.AtLeast && w.hasFile(s, o.Prefer, o.Identity) {
		w.begin(send)
		return
	}
	w.supply(s, send)
}

// endOrders ends what another leader has ordered. It runs in the loop.
func (r *replica) endOrders() {
	if !r.ordered {
		return
	}
	r.ordered = false
	w := r.loop.host.snapshots
	w.inbox.Post(func() {
		for _, s := range slices.Clone(w.sends) {
			if s.replica == r && s.leader != 0 {
				w.keep(w.shelf(r)) // the next leader may have it sent on
				w.end(s)
			}
		}
	})
}

// pumpNews tells the leader now and then how a send is doing that it has ordered, and returns when it does so next.
func (w *snapshotWorker) pumpNews(s *snapshotSend) actor.Instant {
	if w.now >= s.newsAt {
		w.tellLeader(s, wire.SnapshotUnderWay)
	}
	return s.newsAt
}

// reportOrdered tells the leader at once where a snapshot ends that it has ordered.
func (w *snapshotWorker) reportOrdered(s *snapshotSend) {
	if s.leader != 0 {
		w.tellLeader(s, wire.SnapshotUnderWay)
	}
}

func (w *snapshotWorker) tellLeader(s *snapshotSend, what wire.SnapshotEvent) {
	s.newsAt = w.now.Add(s.replica.config.ElectionTimeout)
	news := wire.SnapshotNews{
		Group: s.replica.config.ID, From: w.host.config.Member, Term: s.need.Term, To: s.need.To, ToLife: s.need.ToLife, What: what,
		At: s.offer.At, Source: s.source, Received: uint64(s.received),
	}
	if s.file != nil {
		news.Size = uint64(s.file.Size())
	}
	l := w.host.loop
	l.control.Post(func() { l.outbox(s.leader).encoder.SnapshotNews(news) })
}

// tellHeld tells a new leader what this member has a part of, so that it is sent the rest rather than another one. It runs in the loop.
func (r *replica) tellHeld() {
	now, w := r.leadership, r.loop.host.snapshots
	if now.Leader == 0 || now.Leader == r.loop.host.config.Member {
		return
	}
	w.inbox.Post(func() {
		if s := w.shelf(r); s.keptUntil == 0 && !slices.ContainsFunc(w.receipts, func(c *snapshotReceipt) bool { return c.replica == r }) {
			return
		}
		all, err := w.spool.Kept(r.config.ID)
		if err != nil || len(all) == 0 || !w.knowsSources(now.Leader) {
			return
		}
		k := all[len(all)-1]
		l := w.host.loop
		l.control.Post(func() {
			l.outbox(now.Leader).encoder.SnapshotNews(wire.SnapshotNews{
				Group: k.Group, From: l.host.config.Member, Term: now.Term, To: l.host.config.Member, ToLife: r.raft.Life(), What: wire.SnapshotHeld,
				At: k.Position, Source: wire.SnapshotSource{Sender: k.From, Identity: k.Identity}, Size: uint64(k.Bytes),
			})
		})
	})
}
