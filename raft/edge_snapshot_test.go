package raft

import (
	"fmt"
	"testing"
)

// A member whose log has terms 1 1 1 2 2 2 at 1 to 6, all durable, with 3 committed and applied, and follows member 1 in term 4.
func snapshotFollower(t *testing.T) (*world, *member) {
	t.Helper()
	w := newWorld(t, 3, Limits{})
	m := w.member(3)
	w.crash(m, 0)
	m.disk.hard.Term = 4
	for i, term := range []Term{1, 1, 1, 2, 2, 2} {
		m.disk.entries = append(m.disk.entries, entryAt(Index(i)+1, term))
	}
	w.start(m)
	w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{3, 1}, Commit: 3})
	w.persist(m, len(m.pending))
	w.serve(m)
	w.said(m)
	if m.raft.commit != 3 || len(m.applied) != 3 {
		t.Fatalf("commit %d, %d applied", m.raft.commit, len(m.applied))
	}
	return w, m
}

// What Install does to the log, row by row of its table.
func TestInstallRowByRow(t *testing.T) {
	for _, test := range []struct {
		at      Position
		log     string // what it holds then
		commit  Index
		restart bool
		match   Index // what the leader is told
	}{
		{Position{2, 1}, "1 1 1 2 2 2", 3, false, 3}, // E25
		{Position{3, 1}, "1 1 1 2 2 2", 3, false, 3}, // E25
		{Position{5, 2}, "1 1 1 2 2 2", 5, false, 5}, // the log holds it
		{Position{6, 2}, "1 1 1 2 2 2", 6, false, 6}, // its last entry
		{Position{9, 3}, "", 9, true, 9},             // beyond its end
		{Position{5, 3}, "", 5, true, 5},             // E26
		{Position{4, 1}, "", 4, true, 4},             // E26, an older term that won
	} {
		t.Run(fmt.Sprint(at(test.at)), func(t *testing.T) {
			w, m := snapshotFollower(t)
			m.raft.Install(w.now, test.at)
			said := only[*AppendResponse](w.said(m))
			if logOf(m) != test.log || m.raft.commit != test.commit || m.raft.apply.applied < test.at.Index || m.raft.apply.handed != max(3, test.at.Index) {
				t.Fatalf("terms %q, commit %d, applied %d, handed out %d", logOf(m), m.raft.commit, m.raft.apply.applied, m.raft.apply.handed)
			}
			if len(said) != 1 || said[0].Rejected || said[0].Match != test.match {
				t.Fatalf("it says %+v", said)
			}
			restart := Position{}
			for _, write := range m.pending {
				restart = write.Restart
			}
			if restart != (Position{}) != test.restart || test.restart && restart != test.at {
				t.Fatalf("it restarts the log at %v", restart)
			}
			// It goes on above, and does not hand out what the snapshot has.
			w.persist(m, len(m.pending))
			next := entryAt(max(test.commit, test.at.Index)+1, 4)
			prev := Position{next.Index() - 1, 0}
			prev.Term, _ = m.raft.TermAt(prev.Index)
			m.applied = nil
			w.receive(m, 1, &AppendEntries{Term: 4, Prev: prev, Entries: []Entry{next}, Commit: next.Index()})
			if len(m.applied) != 1 || m.applied[0].Position() != next.Position() {
				t.Fatalf("it applies %v", positions(m.applied))
			}
			if err := m.raft.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Writes of the log as it was are under way while it begins anew. None of them vouches for what comes after, and
// the position is acknowledged without waiting for any (E27: the state machine has it).
func TestE19WritesUnderWayWhileTheLogBeginsAnew(t *testing.T) {
	w, m := snapshotFollower(t)
	w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{3, 1}, Entries: []Entry{entryAt(4, 3), entryAt(5, 3), entryAt(6, 3), entryAt(7, 3), entryAt(8, 3)}})
	if len(m.pending) < 1 {
		t.Fatal("nothing is being written")
	}
	before := len(m.pending)
	m.raft.Install(w.now, Position{6, 4})
	said := only[*AppendResponse](w.said(m))
	if len(said) != 1 || said[0].Match != 6 || len(m.pending) != before+1 || m.pending[before].Restart != (Position{6, 4}) {
		t.Fatalf("it says %+v, writes %+v", said, m.pending)
	}
	w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{6, 4}, Entries: []Entry{entryAt(7, 4)}})
	for i, want := range []Index{6, 6, 7} { // the old log's write, the restart, the new entry
		last := len(m.pending) == 1
		w.persist(m, 1)
		w.said(m)
		if last && i != 2 || m.raft.log.stable != want {
			t.Fatalf("after write %d of %d stable is %d, want %d", i+1, before+2, m.raft.log.stable, want)
		}
		if err := m.raft.CheckInvariants(); err != nil {
			t.Fatal(err)
		}
	}
}
