package balsa

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/wal"
)

// A log that has lost entries is mended from the other members (docs/decisions/0023-repair-of-the-log.md):
//
//	loop ──question, one peer at a time──▶ peer's loop ──▶ its log reader ──answer──▶ loop ──▶ log writer: wal.Mend ──▶ loop: raft.Mended
//
// What is lost above the applied index keeps the protocol deaf and mute until it is back; what is lost below is fetched beside everything else.
// In doubt the question is for the leader alone: where its log ends.

// TroubleLog is the kind of the trouble that a log with lost entries is.
const TroubleLog = "log-damage"

// mendBytes bounds the entries of one answer, but for one that is larger.
const mendBytes = 256 << 10

// mender is what a replica knows of what its log has lost.
type mender struct {
	lost      []wal.LostRun
	abandoned Index // what is lost from here on was given up, 0 where nothing was
	busy      bool  // the log writer has something to mend
	nonce     uint64
	asked     MemberID // the last one
	askAt     actor.Instant
	// answers are those to questions about the first lost entry, by who gave them.
	answers        map[MemberID]*wire.LossAnswer
	configurations []raft.Entry
	entries, bytes int // fetched
}

// beginMending starts what the log's recovery found to be necessary. It runs in the loop, or before it.
func (r *replica) beginMending() {
	if r.mend == nil {
		r.mend = &mender{nonce: r.loop.host.config.Random(), answers: map[MemberID]*wire.LossAnswer{}}
	}
	if r.lookForLosses(); r.mend != nil { // else it was mended since it was found
		r.reportMending()
	}
}

// lookForLosses asks the log what it misses, and ends the mending where that is nothing.
func (r *replica) lookForLosses() {
	m := r.mend
	first := firstLost(m.lost)
	m.lost = slices.DeleteFunc(r.loop.host.log.Damaged(r.config.ID), func(v wal.LostRun) bool {
		return m.abandoned > 0 && v.First >= m.abandoned
	})
	if firstLost(m.lost) != first {
		clear(m.answers)
	}
	m.askAt = min(m.askAt, r.loop.now)
	if r.raft.Mending() && !slices.ContainsFunc(m.lost, func(v wal.LostRun) bool { return v.Last > r.applied }) {
		r.note(event{what: "log mended", n: uint64(m.entries)})
		r.guard(func() { r.raft.Mended(r.now(), m.configurations) })
	}
	if len(m.lost) == 0 && !r.raft.InDoubt() && !m.busy {
		r.endMending()
	}
}

func firstLost(lost []wal.LostRun) Position {
	if len(lost) == 0 {
		return Position{}
	}
	return Position{Index: lost[0].First, Term: lost[0].Term}
}

func (r *replica) endMending() {
	m, h := r.mend, r.loop.host
	h.config.Logger.Warn("the log is whole again", groupAttr(r.config.ID), slog.Int("entries", m.entries), slog.Int("bytes", m.bytes))
	r.mend = nil
	h.ClearTrouble(TroubleLog, r.config.ID)
}

func (r *replica) reportMending() {
	m := r.mend
	t := Trouble{Kind: TroubleLog, Group: r.config.ID, Remedy: "none while enough other members are well: it mends itself; look at this member's disk, that may be failing. " +
		"Where no other member has what is lost, see balsa recover"}
	switch {
	case r.raft.InDoubt():
		t.Text = "this member's log lost entries that cannot be named, or that nobody has any more: it follows, and does not vote until a leader's log vouches for its own"
	case r.raft.Mending():
		t.Text = "this member's log lost " + describeLost(m.lost) + ": it takes part in nothing until they are fetched from the others"
	default:
		t.Text = "this member's log lost " + describeLost(m.lost) + ", which its state has: they are fetched from the others"
	}
	if len(r.voters()) == 1 {
		t.Remedy = "there is no other member to fetch them from: restore the log's file from a sound copy, or a backup"
	}
	r.loop.host.tell(t)
}

func describeLost(lost []wal.LostRun) string {
	var parts []string
	for i, v := range lost {
		if i == 4 {
			parts = append(parts, fmt.Sprintf("and %d more runs", len(lost)-4))
			break
		}
		parts = append(parts, v.String())
	}
	return strings.Join(parts, ", ")
}

// voters are those who vote, or did until now.
func (r *replica) voters() (ids []MemberID) {
	seats := r.raft.Membership().Seats
	for i := range seats {
		if seats[i].Role == raft.Voter || seats[i].Former {
			ids = append(ids, seats[i].ID)
		}
	}
	return ids
}

// seekLosses asks the next one. It is part of a turn.
func (r *replica) seekLosses() {
	m := r.mend
	if m == nil {
		return
	}
	if len(m.lost) == 0 && !r.raft.InDoubt() && !m.busy {
		r.settleMend()
		return
	}
	if r.loop.now < m.askAt {
		return
	}
	pause := r.config.ElectionTimeout / 8
	m.askAt = r.loop.now.Add(pause + time.Duration(r.loop.host.config.Random()%uint64(pause+1)))
	if m.busy {
		return
	}
	s := r.raft.Status()
	q := wire.LossRequest{Group: r.config.ID, From: r.loop.host.config.Member, Nonce: m.nonce, Term: s.Term, Last: s.Last, Doubt: r.raft.InDoubt()}
	if q.To = r.nextPeer(); q.Doubt && s.Leader != 0 {
		q.To = s.Leader
	}
	if q.To == 0 {
		return
	}
	for _, v := range m.lost {
		if len(q.Lost) < wire.MaxLostRuns {
			q.Lost = append(q.Lost, wire.LostRun{First: v.First, Last: v.Last, Term: v.Term})
		}
	}
	m.asked = q.To
	r.loop.outbox(q.To).encoder.LossRequest(q)
}

// settleMend notes durably that there is no doubt any more.
func (r *replica) settleMend() {
	id := r.config.ID
	r.loop.host.writer.work(func(log *wal.Log) error { return log.Settle(id) })
	r.endMending()
}

// nextPeer returns who is asked next: each connected member in turn, and the leader of whom something was heard again and again.
func (r *replica) nextPeer() MemberID {
	var ids []MemberID
	seats := r.raft.Membership().Seats
	for i := range seats {
		id := seats[i].ID
		if o := r.loop.outboxes[id]; id != r.loop.host.config.Member && o != nil && o.connected && r.loop.host.knows(id, transport.FeatureLogRepair) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	return ids[(slices.Index(ids, r.mend.asked)+1)%len(ids)]
}

// lossesAsked answers another member's question: what this one knows at once, and entries once they are read.
func (r *replica) lossesAsked(q *wire.LossRequest) {
	h := r.loop.host
	if r.stopped != nil || q.To != h.config.Member {
		return
	}
	s := r.raft.Status()
	a := wire.LossAnswer{Group: q.Group, From: h.config.Member, To: q.From, Nonce: q.Nonce, Term: s.Term, Last: s.Last,
		Leading: s.Role == raft.Leader && !r.raft.Mending() && !r.raft.InDoubt()}
	if q.Doubt && a.Leading && q.Term == s.Term {
		r.guard(func() { r.raft.Forgotten(r.now(), q.From, q.Last) })
	}
	holds := false
	if len(q.Lost) > 0 {
		holds, a.Lacks, a.Gone = r.raft.Holds(Position{Index: q.Lost[0].First, Term: q.Lost[0].Term})
		a.Lacks = a.Lacks && !r.raft.InDoubt()
	}
	if !holds {
		r.loop.outbox(q.From).encoder.LossAnswer(a)
		return
	}
	lost := q.Lost
	h.reader.ask(func(log *wal.Log) {
		a.Entries = readLost(log, q.Group, lost)
		h.loop.control.Post(func() { h.loop.outbox(q.From).encoder.LossAnswer(a) })
	})
}

// readLost reads what there is of the runs, up to mendBytes.
func readLost(log *wal.Log, group GroupID, lost []wire.LostRun) (entries []raft.Entry) {
	bytes := 0
	for _, v := range lost {
		for next := v.First; next <= v.Last && bytes < mendBytes; {
			list, err := log.Read(group, next, v.Last+1, mendBytes-bytes)
			if err != nil || len(list) == 0 {
				break // it ends there, was cut, or is damaged here too
			}
			for _, e := range list {
				if e.Term() == v.Term {
					entries = append(entries, e)
					bytes += len(e)
				}
			}
			next += Index(len(list))
		}
	}
	return entries
}

// lossesAnswered takes an answer.
func (r *replica) lossesAnswered(a *wire.LossAnswer) {
	m := r.mend
	if m == nil || r.stopped != nil || a.Nonce != m.nonce || a.To != r.loop.host.config.Member || m.busy {
		return
	}
	r.note(event{what: "answer about lost entries", peer: a.From, term: a.Term, n: uint64(len(a.Entries))})
	if a.Leading {
		r.guard(func() { r.raft.Vouched(r.now(), a.From, a.Term, a.Last) })
	}
	switch {
	case len(a.Entries) > 0:
		r.writeBack(a.Entries)
	case len(m.lost) > 0:
		if m.answers[a.From] == nil {
			m.askAt = r.loop.now // the next one, at once
		}
		m.answers[a.From] = a
		r.decideLoss(a)
	}
}

// writeBack has the log write entries to where it lost them.
func (r *replica) writeBack(entries []raft.Entry) {
	m := r.mend
	m.busy = true
	r.loop.host.writer.work(func(log *wal.Log) error {
		n, err := log.Mend(entries)
		if err != nil {
			return err
		}
		r.loop.control.Post(func() { r.wroteBack(entries, n) })
		return nil
	})
}

func (r *replica) wroteBack(entries []raft.Entry, n int) {
	m := r.mend
	m.busy = false
	m.entries += n
	r.group.entriesMended.Add(uint64(n))
	for _, e := range entries {
		m.bytes += len(e)
		r.group.bytesMended.Add(uint64(len(e)))
		if e.Kind() == raft.EntryConfiguration {
			m.configurations = append(m.configurations, e)
		}
	}
	if r.stopped == nil {
		r.lookForLosses()
		r.loop.touch(r)
	}
}

// decideLoss looks whether the first lost entry has to be waited for; the decision record has the reasons. What the state has is
// only of use for others, and is not missed where they gave it up.
func (r *replica) decideLoss(a *wire.LossAnswer) {
	m := r.mend
	term := r.raft.Status().Term
	if !r.raft.Mending() || !a.Leading || a.Term < term || m.lost[0].Last <= r.applied {
		return
	}
	switch {
	case a.Lacks && m.lost[0].First > r.applied && m.lost[0].First > r.recoverTo:
		r.note(event{what: "lost entries dropped", index: m.lost[0].First})
		m.abandoned = m.lost[0].First
		r.guard(func() { r.raft.Abandon(r.now(), false) })
		r.lookForLosses()
	case a.Gone && r.nobodyHasIt():
		m.abandoned, m.busy = max(m.lost[0].First, r.applied+1), true
		id := r.config.ID
		r.loop.host.writer.work(func(log *wal.Log) error {
			err := log.Doubt(id)
			if err == nil {
				r.loop.control.Post(r.beginDoubt)
			}
			return err
		})
	}
}

// nobodyHasIt reports whether every other voter has said that it cannot give the first lost entry.
func (r *replica) nobodyHasIt() bool { return len(r.mend.answers) >= len(r.voters())-1 }

func (r *replica) beginDoubt() {
	r.mend.busy = false
	r.guard(func() { r.raft.Abandon(r.now(), true) })
	r.lookForLosses()
	if r.mend != nil {
		r.reportMending()
	}
	r.loop.touch(r)
}

// foundDamaged has the log look at a segment again in which a read found damage. Role and vote stay: what is read from files is committed,
// and its index and term are known.
func (r *replica) foundDamaged(damage *wal.CorruptionError) {
	r.loop.host.writer.work(func(log *wal.Log) error {
		err := log.Examine(damage.Segment)
		r.loop.control.Post(func() {
			switch {
			case r.stopped != nil:
			case err != nil:
				r.fence(errors.Join(damage, err))
			default:
				r.beginMending()
			}
			r.loop.touch(r)
		})
		return nil
	})
}

// reportDamage says what the opening of the log found; what is missing still is a trouble of its group's.
func (h *Host) reportDamage(recovered *wal.Recovered) {
	if recovered.Damage != nil {
		h.config.Logger.Error("the log is damaged, and is mended as far as need be", slog.String("found", recovered.Damage.Found()))
	}
}

// firstDamaged returns the first entry above applied that the log has lost, 0 where there is none.
func firstDamaged(lost []wal.LostRun, applied Index) Index {
	for _, v := range lost {
		if v.Last > applied {
			return max(v.First, applied+1)
		}
	}
	return 0
}
