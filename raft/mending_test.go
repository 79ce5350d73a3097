package raft

import "testing"

// damaged gives member 2 of three another life, from a log of five entries of term 1 that change has damaged.
func damaged(t *testing.T, change func(*Restored)) (*world, *member) {
	w := newWorld(t, 3, Limits{})
	m := w.member(2)
	m.disk.hard = HardState{Term: 1}
	for i := Index(1); i <= 5; i++ {
		m.disk.entries = append(m.disk.entries, entryAt(i, 1))
	}
	restored := m.disk.restored()
	change(&restored)
	r, err := New(m.config, restored, w.now)
	if err != nil {
		t.Fatal(err)
	}
	m.raft = r
	w.said(m)
	return w, m
}

// A member that gets lost entries back says nothing and hears nothing, as if it were down: an acknowledgement would count entries that it
// does not hold. It takes part again with the very log that it had.
func TestE44AMendingMemberIsDeafAndMute(t *testing.T) {
	w, m := damaged(t, func(r *Restored) { r.Damaged, r.Commit = 3, 4 })
	if s := m.raft.Status(); s.Commit != 2 {
		t.Fatalf("what is lost is handed out: %+v", s)
	}
	append1 := &AppendEntries{Term: 2, Prev: Position{5, 1}, Entries: []Entry{entryAt(6, 2)}}
	for _, message := range []Message{append1, &RequestVote{Term: 3, Last: Position{9, 2}}, &PreVoteRequest{Term: 3, NextTerm: 4, Last: Position{9, 2}}} {
		if said := w.receive(m, 1, message); len(said) > 0 || len(m.pending) > 0 || m.raft.Status().Term != 1 {
			t.Fatalf("a mending member answers %T with %v, in %+v", message, said, m.raft.Status())
		}
	}
	w.now = w.now.Add(10 * testElection)
	m.raft.Tick(w.now)
	if said := w.said(m); len(said) > 0 {
		t.Fatalf("a mending member campaigns: %v", said)
	}
	m.raft.Mended(w.now, nil)
	if s := m.raft.Status(); s.Commit != 4 || s.Last != 5 {
		t.Fatalf("after mending: %+v", s)
	}
	said := w.receive(m, 1, append1)
	w.persist(m, len(m.pending))
	if answers := only[*AppendResponse](append(said, w.said(m)...)); len(answers) == 0 || answers[len(answers)-1].Match != 6 {
		t.Fatalf("after mending it answers %v", answers)
	}
}

// A member in doubt gives no vote until its log is, durably, what its leader's was up to the end that this one had when it was asked.
func TestE44DoubtEndsAtTheLeadersEnd(t *testing.T) {
	w, m := damaged(t, func(r *Restored) { r.Doubt = true })
	votes := func(term Term) bool {
		said := w.receive(m, 3, &RequestVote{Term: term, Last: Position{99, term - 1}})
		w.persist(m, len(m.pending))
		given := only[*VoteResponse](append(said, w.said(m)...))
		return len(given) > 0 && given[0].Granted
	}
	doubtful := func(when string) {
		t.Helper()
		if !m.raft.InDoubt() {
			t.Fatalf("%s: the doubt has ended", when)
		}
	}
	follow := func(e ...Entry) { w.receive(m, 1, &AppendEntries{Term: 2, Prev: Position{5, 1}, Entries: e}) }
	if votes(2) {
		t.Fatal("a member in doubt votes")
	}
	w.now = w.now.Add(10 * testElection)
	m.raft.Tick(w.now)
	if said := w.said(m); len(said) > 0 {
		t.Fatalf("a member in doubt campaigns: %v", said)
	}
	follow()
	doubtful("nobody has vouched")
	m.raft.Vouched(w.now, 3, 2, 5)
	doubtful("that was no leader")
	m.raft.Vouched(w.now, 1, 1, 5)
	doubtful("that was another term")
	m.raft.Vouched(w.now, 1, 2, 6)
	doubtful("the leader had six entries")
	follow(entryAt(6, 2))
	doubtful("the sixth is not durable")
	w.persist(m, len(m.pending))
	if m.raft.InDoubt() {
		t.Fatal("still in doubt, with all that the leader had")
	}
	w.now = w.now.Add(10 * testElection)
	if !votes(3) {
		t.Fatal("no vote once the doubt is over")
	}
}
