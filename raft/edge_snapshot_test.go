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
			m.raft.Install(w.now, test.at, nil)
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
	m.raft.Install(w.now, Position{6, 4}, nil)
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

// leaderWithACutLog leads three members in term 1 with the log after 4/t1; member 3 has index 1 only.
func leaderWithACutLog(t *testing.T) (*world, *member) {
	t.Helper()
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.settle()
	w.isolate(3)
	w.propose(leader, "a", "b", "c", "d")
	w.settle()
	w.compact(leader, 4)
	return w, leader
}

func TestCompactGoesNoFurtherThanItMay(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.settle()
	w.propose(leader, "a", "b")
	o := leader.raft.Output()
	if at := leader.raft.Compact(3); at.Index != 1 {
		t.Fatalf("it forgets up to %v, of which 1 is committed", at)
	}
	// The followers alone commit: applied, and not durable here.
	for _, id := range []MemberID{2, 3} {
		w.receive(leader, id, &AppendResponse{Term: 1, Match: 3})
	}
	if r := leader.raft; r.apply.applied != 3 || r.log.stable != 1 || r.Compact(3).Index != 1 {
		t.Fatalf("it forgets up to %v, of which %d is durable", r.log.before, r.log.stable)
	}
	leader.raft.Persisted(w.now, o.Write.Seq)
	if at := leader.raft.Compact(2); at != (Position{2, 1}) {
		t.Fatalf("it forgets up to %v, not 2", at)
	}
	// It never goes back, nor beyond the end.
	if at := leader.raft.Compact(1); at != (Position{2, 1}) {
		t.Fatalf("it goes back to %v", at)
	}
	if at := leader.raft.Compact(99); at != (Position{3, 1}) || leader.raft.log.last != 3 {
		t.Fatalf("it forgets up to %v", at)
	}
	if s := leader.raft.Status(); s.First != 4 || s.Last != 3 {
		t.Fatalf("%+v", s)
	}
	if err := leader.raft.CheckEntries(); err != nil {
		t.Fatal(err)
	}
}

// Entries that were being read for a follower when they were forgotten are of no use, whether they arrive or not.
func TestEntriesForgottenWhileTheyAreRead(t *testing.T) {
	w := newWorld(t, 3, Limits{CacheBytes: 1})
	leader := w.elect(1)
	w.settle()
	w.isolate(3)
	w.propose(leader, "a", "b", "c")
	w.settle()
	w.heal()
	leader.raft.PeerConnected(w.now, 3)
	w.said(leader)
	w.receive(leader, 3, &AppendResponse{Term: 1, Rejected: true, Prev: 4, Conflict: Position{1, 1}, Match: 1})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1})
	if len(leader.fetches) != 1 {
		t.Fatalf("it asks for %v", leader.fetches)
	}
	fetch := leader.fetches[0]
	w.compact(leader, 3)
	leader.raft.Fetched(w.now, fetch, []Entry{entryAt(2, 1), entryAt(3, 1)})
	for _, a := range only[*AppendEntries](w.said(leader)) {
		if a.Prev.Index < 3 {
			t.Fatalf("it sends %s", describe(a))
		}
	}
	w.timeout(leader) // a heartbeat
	said := only[*AppendEntries](w.said(leader))
	if p := leader.raft.peer(3); len(said) != 2 || said[1].Prev != (Position{3, 1}) || p.state != StateProbe {
		t.Fatalf("it says %v, in state %v", said, p.state)
	}
}

// One need per stay, and on the follower's word only.
func TestSnapshotsAreAskedForOnce(t *testing.T) {
	w, leader := leaderWithACutLog(t)
	r, p := leader.raft, leader.raft.peer(3)
	if w.pass(3 * testHeartbeat); len(leader.needs) != 0 {
		t.Fatal("a snapshot for a member that is silent")
	}
	reject := &AppendResponse{Term: 1, Rejected: true, Prev: 4, Conflict: Position{1, 1}, Match: 1}
	r.restartSearch(p)
	w.said(leader)
	for range 3 {
		w.receive(leader, 3, reject)
		w.timeout(leader)
		w.said(leader)
	}
	if len(leader.needs) != 1 || leader.needs[0] != (SnapshotNeed{To: 3, FromLife: 1, ToLife: 1, Term: 1, AtLeast: 4}) {
		t.Fatalf("%+v", leader.needs)
	}
	// A late acknowledgement is not the snapshot.
	if w.receive(leader, 3, &AppendResponse{Term: 1, Match: 2}); p.state != StateSnapshot || p.match != 2 {
		t.Fatalf("state %v, match %d", p.state, p.match)
	}
	// It failed. Nothing is asked at once; the next heartbeat asks, and the answer brings the need.
	r.SnapshotFailed(w.now, 3)
	w.propose(leader, "e")
	if said := only[*AppendEntries](w.said(leader)); len(said) != 1 || p.state != StateProbe { // member 2's
		t.Fatalf("it says %v, state %v", said, p.state)
	}
	w.timeout(leader)
	w.said(leader)
	w.receive(leader, 3, &AppendResponse{Term: 1, Rejected: true, Prev: 4, Conflict: Position{2, 1}, Match: 2})
	if len(leader.needs) != 2 {
		t.Fatalf("%+v", leader.needs)
	}
	// It is installed at 5, and entries follow from there on, though 5 was never sent.
	said := only[*AppendEntries](w.receive(leader, 3, &AppendResponse{Term: 1, Match: 5}))
	if p.state != StateReplicate || len(said) != 1 || said[0].Prev.Index != 5 || len(said[0].Entries) != 1 {
		t.Fatalf("state %v, next %d; it says %v", p.state, p.next, said)
	}
	// Late words about the snapshot change nothing.
	r.SnapshotFailed(w.now, 3)
	w.receive(leader, 3, reject)
	if p.state != StateReplicate || p.next != 7 || len(leader.needs) != 2 {
		t.Fatalf("state %v, next %d, %d needs", p.state, p.next, len(leader.needs))
	}
	r.SnapshotFailed(w.now, 9)
	// What a former leader needed nobody sends.
	w.receive(leader, 3, &AppendResponse{Term: 1})
	r.out.snapshots = append(r.out.snapshots, SnapshotNeed{To: 3})
	w.receive(leader, 2, &AppendEntries{Term: 7, Prev: Position{5, 1}})
	if len(leader.needs) != 2 {
		t.Fatalf("%+v", leader.needs)
	}
}

// Who may offer a snapshot, and of what.
func TestOffersRowByRow(t *testing.T) {
	good := SnapshotOffer{From: 1, FromLife: 1, ToLife: 1, Term: 4, At: Position{9, 3}}
	for _, test := range []struct {
		name   string
		change func(*SnapshotOffer)
		want   bool
		leader MemberID
		term   Term
	}{
		{"this term's leader", func(o *SnapshotOffer) {}, true, 1, 4},
		{"a later leader", func(o *SnapshotOffer) { o.From, o.Term = 2, 6 }, true, 2, 6},
		{"a former leader", func(o *SnapshotOffer) { o.Term = 3 }, false, 1, 4},
		{"a second leader", func(o *SnapshotOffer) { o.From = 2 }, false, 1, 4},
		{"what is committed", func(o *SnapshotOffer) { o.At = Position{3, 1} }, false, 1, 4},
		{"what is committed, in a new term", func(o *SnapshotOffer) { o.At, o.Term = Position{3, 1}, 5 }, false, 1, 5},
		{"another life of the leader", func(o *SnapshotOffer) { o.FromLife = 2 }, false, 1, 4},
		{"for another life", func(o *SnapshotOffer) { o.ToLife = 2 }, false, 1, 4},
		{"a stranger", func(o *SnapshotOffer) { o.From = 8 }, false, 1, 4},
		{"itself", func(o *SnapshotOffer) { o.From, o.Term = 3, 9 }, false, 1, 4},
		{"entries of the future", func(o *SnapshotOffer) { o.At.Term = 5 }, false, 1, 4},
		{"nothing", func(o *SnapshotOffer) { o.At = Position{} }, false, 1, 4},
		{"numbers too large", func(o *SnapshotOffer) { o.At.Index = maxNumber }, false, 1, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, m := snapshotFollower(t)
			w.now = w.now.Add(testElection / 2)
			offer := good
			test.change(&offer)
			if got := m.raft.SnapshotOffered(w.now, offer); got != test.want {
				t.Fatalf("it says %v", got)
			}
			if m.raft.leader != test.leader || m.raft.hard.Term != test.term {
				t.Fatalf("it follows %d in term %d", m.raft.leader, m.raft.hard.Term)
			}
			if alive := m.raft.following.heard == w.now; alive != (test.want || test.name[:4] == "what") {
				t.Fatalf("a sign of life: %v", alive)
			}
			if err := m.raft.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// E28: two snapshots in quick succession, in either order, end in the newer state; so does an append that races with one.
func TestE28TheNewerStateWins(t *testing.T) {
	for _, order := range [][]Position{{{9, 3}, {12, 4}}, {{12, 4}, {9, 3}}} {
		w, m := snapshotFollower(t)
		for _, at := range order {
			m.raft.Install(w.now, at, nil)
		}
		said := only[*AppendResponse](w.said(m))
		if r := m.raft; r.log.end() != (Position{12, 4}) || r.commit != 12 || r.apply.applied != 12 || said[len(said)-1].Match != 12 {
			t.Fatalf("%v: ends at %v, commit %d; says %v", order, r.log.end(), r.commit, said)
		}
		// Only the newest is written.
		if write := m.pending[len(m.pending)-1]; write.Restart != (Position{12, 4}) {
			t.Fatalf("%v: the log begins anew after %v", order, write.Restart)
		}
	}
	// Appends overtake a snapshot at 5, up to 7.
	w, m := snapshotFollower(t)
	w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{6, 2}, Entries: []Entry{entryAt(7, 4)}, Commit: 7})
	m.raft.Install(w.now, Position{5, 2}, nil)
	w.said(m)
	if r := m.raft; r.log.last != 7 || r.commit != 7 {
		t.Fatalf("the log ends at %d, commit %d", r.log.last, r.commit)
	}
}

// Entries to be applied were asked for, or have been read, when a snapshot came that has them.
func TestEntriesToApplyThatASnapshotHas(t *testing.T) {
	for _, early := range []bool{true, false} {
		w, m := snapshotFollower(t)
		w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{5, 2}, Commit: 4})
		fetch := m.fetches[0]
		m.fetches = nil
		if early {
			m.raft.Fetched(w.now, fetch, m.disk.entries[3:4])
		}
		m.raft.Install(w.now, Position{5, 2}, nil)
		w.receive(m, 1, &AppendEntries{Term: 4, Prev: Position{6, 2}, Commit: 6})
		if !early {
			m.raft.Fetched(w.now, fetch, m.disk.entries[3:4])
		}
		w.said(m)
		w.serve(m)
		w.said(m)
		if len(m.applied) != 4 || m.applied[3].Index() != 6 {
			t.Fatalf("it is handed %v", positions(m.applied[3:]))
		}
	}
}

// A campaign ends with the log that it was for.
func TestACandidateWhoseLogBeginsAnewStandsBack(t *testing.T) {
	w, m := snapshotFollower(t)
	w.now = w.now.Add(2 * testElection)
	w.timeout(m)
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{Term: 4, NextTerm: 5, Granted: true})
	if m.raft.role != Candidate {
		t.Fatalf("it is %v", m.raft.role)
	}
	m.raft.Install(w.now, Position{9, 4}, nil)
	w.persist(m, len(m.pending))
	w.receive(m, 2, &VoteResponse{Term: 5, Granted: true})
	if m.raft.role != Follower {
		t.Fatalf("it is %v, with a log that ends at %v", m.raft.role, m.raft.log.end())
	}
}

// A leader that was elected while it installed a snapshot has all of it (leader completeness): its commit index rises.
func TestInstallOnALeader(t *testing.T) {
	w, m := snapshotFollower(t)
	w.now = w.now.Add(2 * testElection)
	w.timeout(m)
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{Term: 4, NextTerm: 5, Granted: true})
	w.persist(m, len(m.pending))
	w.receive(m, 2, &VoteResponse{Term: 5, Granted: true})
	m.raft.Install(w.now, Position{5, 2}, nil)
	if m.raft.role != Leader || m.raft.commit != 5 || m.raft.log.last != 7 {
		t.Fatalf("%+v", m.raft.Status())
	}
	for _, check := range []func() error{m.raft.CheckInvariants, m.raft.CheckEntries} {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if _, ok := recover().(*AssertionError); !ok {
			t.Fatal("it leads without what is committed, and goes on")
		}
	}()
	m.raft.Install(w.now, Position{9, 4}, nil)
}

// E51, and a snapshot that was restored when the member crashed: the log is told at once that it begins anew.
func TestE27ARestartIsWrittenWithoutWaitingForEntries(t *testing.T) {
	config := newWorld(t, 3, Limits{}).member(1).config
	config.Random = func() uint64 { return 0 }
	r, err := New(config, Restored{HardState: HardState{Term: 2}, Applied: Position{9, 2}, Runs: []TermRun{{1, 1}}, Last: 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !r.HasOutput() {
		t.Fatal("it has nothing to write")
	}
	o := r.Output()
	if o.Write == nil || o.Write.Restart != (Position{9, 2}) || len(o.Write.Entries) > 0 {
		t.Fatalf("it writes %+v", o.Write)
	}
	// Until that is done nothing above is durable.
	r.Receive(0, Envelope{Group: 1, From: 2, To: 1, FromLife: 1, ToLife: 1, Message: &AppendEntries{
		Term: 2, Prev: Position{9, 2}, Entries: []Entry{entryAt(10, 2)},
	}})
	if r.Output(); r.log.stable != 9 {
		t.Fatalf("stable up to %d", r.log.stable)
	}
	r.Persisted(0, 1)
	if r.HasOutput(); r.log.stable != 9 {
		t.Fatalf("stable up to %d", r.log.stable)
	}
	r.Persisted(0, 2)
	if r.log.stable != 10 {
		t.Fatalf("stable up to %d", r.log.stable)
	}
}
