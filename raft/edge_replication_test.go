package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// follower returns member 3 of a new world, whose log has entries of these terms, durable.
func follower(t *testing.T, terms ...Term) (*world, *member) {
	w := newWorld(t, 3, Limits{})
	m := w.member(3)
	for i, term := range terms {
		m.disk.entries = append(m.disk.entries, entryAt(Index(i)+1, term))
		m.disk.hard.Term = term
	}
	w.start(m)
	return w, m
}

// E12: the whole story is in testdata/figure_8.txt.
func TestE12CopiesOfAnOlderEntryProveNothing(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(1)
	m.disk.hard.Term, m.disk.entries = 2, []Entry{entryAt(1, 1), entryAt(2, 2)}
	w.start(m)
	w.timeout(m)
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{Term: 2, NextTerm: 3, Granted: true})
	w.persist(m, 1)
	w.receive(m, 2, &VoteResponse{Term: 3, Granted: true})
	w.persist(m, 1)
	w.receive(m, 2, &AppendResponse{Term: 3, Match: 2})
	w.receive(m, 3, &AppendResponse{Term: 3, Match: 2})
	if m.raft.commit != 0 {
		t.Fatalf("it commits %d, of term 2, in term 3", m.raft.commit)
	}
	w.receive(m, 3, &AppendResponse{Term: 3, Match: 3})
	if m.raft.commit != 3 {
		t.Fatalf("its own no-op is on two of three disks, and commit is %d", m.raft.commit)
	}
}

func TestE13ALeadersOwnCopyCountsOnceItIsDurable(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	leader.slow = true
	w.propose(leader, "a")
	w.said(leader)
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 2})
	if leader.raft.commit != 1 {
		t.Fatalf("commit is %d with one of three copies durable", leader.raft.commit)
	}
	w.persist(leader, 1)
	if leader.raft.commit != 2 {
		t.Fatalf("commit is %d with two of three copies durable", leader.raft.commit)
	}
	w.propose(leader, "b")
	w.said(leader)
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 3})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 3})
	if leader.raft.commit != 3 {
		t.Fatalf("commit is %d with the followers' copies durable, which are a majority", leader.raft.commit)
	}
}

func TestE13ASingleMemberWaitsForItsDisk(t *testing.T) {
	w := newWorld(t, 1, Limits{})
	m := w.elect(1)
	m.slow = true
	w.propose(m, "a")
	w.settle()
	if m.raft.commit != 1 || len(m.applied) != 1 {
		t.Fatalf("commit is %d before the disk has it", m.raft.commit)
	}
	w.persist(m, 1)
	w.settle()
	if len(m.applied) != 2 {
		t.Fatalf("%d applied once the disk has it", len(m.applied))
	}
}

func TestE14AckOnlyUpToThisAppend(t *testing.T) {
	w, m := follower(t, 1, 1, 1, 1, 1)
	for _, test := range []struct {
		append AppendEntries
		match  Index
	}{
		{AppendEntries{Term: 2, Prev: Position{2, 1}}, 2},
		{AppendEntries{Term: 2, Prev: Position{2, 1}, Entries: []Entry{entryAt(3, 1)}}, 3},
		{AppendEntries{Term: 2, Prev: Position{1, 1}}, 3}, // what was proven stays proven
	} {
		said := only[*AppendResponse](w.receive(m, 1, &test.append))
		w.persist(m, len(m.pending))
		said = append(said, only[*AppendResponse](w.said(m))...)
		if len(said) == 0 || said[len(said)-1].Match != test.match {
			t.Fatalf("after %s: %v, want match %d", describe(&test.append), said, test.match)
		}
	}
	// Even a rejection tells no more.
	said := only[*AppendResponse](w.receive(m, 1, &AppendEntries{Term: 2, Prev: Position{9, 2}}))
	if len(said) != 1 || !said[0].Rejected || said[0].Match != 3 {
		t.Fatalf("a rejection says %+v", said)
	}
	// What the last leader's appends proved says nothing about the next one's log.
	w.receive(m, 2, &AppendEntries{Term: 3, Prev: Position{1, 1}})
	w.persist(m, len(m.pending))
	if said := only[*AppendResponse](w.said(m)); len(said) != 1 || said[0].Match != 1 {
		t.Fatalf("a new leader is told %+v", said)
	}
}

func TestE15CommitFollowsWhatWasProven(t *testing.T) {
	w, m := follower(t, 1, 1, 1, 1, 1)
	for _, test := range []struct {
		append AppendEntries
		commit Index
	}{
		{AppendEntries{Term: 2, Prev: Position{5, 2}, Commit: 5}, 0}, // a heartbeat that fails the check
		{AppendEntries{Term: 2, Prev: Position{2, 1}, Commit: 5}, 2}, // one that passes it, at 2
		{AppendEntries{Term: 2, Prev: Position{2, 1}, Entries: []Entry{entryAt(3, 1)}, Commit: 5}, 3},
		{AppendEntries{Term: 2, Prev: Position{3, 1}, Commit: 1}, 3}, // never back
		{AppendEntries{Term: 2, Prev: Position{5, 1}, Commit: 4}, 4},
	} {
		w.receive(m, 1, &test.append)
		if m.raft.commit != test.commit {
			t.Fatalf("after %s commit is %d, want %d", describe(&test.append), m.raft.commit, test.commit)
		}
	}
}

// E16: appends of one leader's log arrive in any order, again and again, cut anywhere.
func TestE16AppendsAreIdempotent(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 16))
		w, m := follower(t, 1, 1, 2, 2, 2)
		terms := []Term{1, 1, 3, 3, 4, 4, 4}
		var entries []Entry
		for i, term := range terms {
			entries = append(entries, entryAt(Index(i)+1, term))
		}
		agreed := Index(0)
		for range 30 {
			low := rng.IntN(len(entries))
			high := low + rng.IntN(len(entries)-low+1)
			request := &AppendEntries{Term: 4, Entries: entries[low:high], Commit: Index(rng.IntN(len(entries)))}
			if low > 0 {
				request.Prev = entries[low-1].Position()
			}
			w.receive(m, 1, request)
			for i := Index(1); i <= m.raft.log.last; i++ {
				if term, _ := m.raft.log.term(i); term != terms[i-1] {
					if i <= agreed {
						t.Fatalf("seed %d: after %s the log is %s, it agreed up to %d", seed, describe(request), logOf(m), agreed)
					}
					break
				}
				agreed = max(agreed, i)
			}
			if m.raft.log.last < agreed {
				t.Fatalf("seed %d: after %s the log is %s, it agreed up to %d", seed, describe(request), logOf(m), agreed)
			}
		}
	}
}

func TestE16WhatIsCommittedIsNeverTruncated(t *testing.T) {
	w, m := follower(t, 1, 1, 1)
	w.receive(m, 1, &AppendEntries{Term: 1, Prev: Position{2, 1}, Commit: 2})
	for _, wrong := range []*AppendEntries{
		{Term: 2, Prev: Position{1, 1}, Entries: []Entry{entryAt(2, 2)}},
		{Term: 2, Prev: Position{0, 0}, Entries: []Entry{entryAt(1, 2), entryAt(2, 2)}},
	} {
		w.receive(m, 2, wrong)
		if logOf(m) != "1 1 1" || m.raft.commit != 2 {
			t.Fatalf("after %s the log is %q, commit %d", describe(wrong), logOf(m), m.raft.commit)
		}
	}
}

func TestE17ALateRejectionChangesNothing(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.propose(leader, "a", "b", "c")
	w.settle()
	p := leader.raft.peer(2)
	for _, late := range []*AppendResponse{
		{Term: 1, Rejected: true, Prev: 2, Conflict: Position{1, 1}, Last: 1},
		{Term: 1, Rejected: true, Prev: 4, Conflict: Position{1, 1}, Last: 1}, // at match itself
		{Term: 1, Rejected: true, Prev: 9, Conflict: Position{1, 1}, Last: 1}, // about what was never asked
	} {
		said := w.receive(leader, 2, late)
		if p.match != 4 || p.next != 5 || p.state != StateReplicate || len(said) > 0 {
			t.Fatalf("after %s: %v, match %d, next %d, says %v", describe(late), p.state, p.match, p.next, said)
		}
	}
	// A rejection lowers next, never match.
	w.propose(leader, "d", "e")
	w.said(leader)
	w.receive(leader, 2, &AppendResponse{Term: 1, Rejected: true, Prev: 6, Conflict: Position{2, 1}, Last: 2})
	if p.match != 4 || p.next != 5 {
		t.Fatalf("match %d, next %d", p.match, p.next)
	}
}

// E18: random logs find their common point within as many rejections as they have different terms.
func TestE18BackTrackingTakesOneRoundPerTerm(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 18))
		w := newWorld(t, 3, Limits{})
		// A common part, and then terms of which no two leaders were the same: even ones here, odd ones there.
		common := rng.IntN(5)
		grow := func(m *member, term Term, runs int) int {
			for range common {
				m.disk.entries = append(m.disk.entries, entryAt(Index(len(m.disk.entries))+1, 1))
			}
			for range runs {
				term += Term(2 * (1 + rng.IntN(3)))
				for range 1 + rng.IntN(40) {
					m.disk.entries = append(m.disk.entries, entryAt(Index(len(m.disk.entries))+1, term))
				}
			}
			m.disk.hard.Term = term
			return runs
		}
		leader, behind := w.member(1), w.member(3)
		ours := grow(leader, 2, 1+rng.IntN(6))
		theirs := grow(behind, 1, rng.IntN(6))
		w.member(2).disk = leader.disk
		for _, m := range w.members {
			w.start(m)
		}
		w.isolate(3)
		for leader.raft.role != Leader {
			w.timeout(leader)
			w.settle()
		}
		w.heal()
		if leader.raft.hard.Term < behind.raft.hard.Term {
			continue // it would step down first
		}
		leader.raft.PeerConnected(w.now, 3)
		w.settle()
		if got, bound := int(behind.raft.counts.Rejections), min(ours, theirs)+1; got > bound || logOf(leader) != logOf(behind) {
			t.Fatalf("seed %d: %d rejections for %d and %d terms: %s / %s", seed, got, ours, theirs, logOf(leader), logOf(behind))
		}
	}
}

// E19: the story is in testdata/async_durability_aba.txt.
func TestE19OnlyTheLatestWriteVouchesForAnIndex(t *testing.T) {
	w, m := follower(t, 1)
	m.slow = true
	send := func(from MemberID, term, entryTerm Term) {
		w.receive(m, from, &RequestVote{Term: term, Last: Position{9, term - 1}, Transfer: true})
		w.receive(m, from, &AppendEntries{Term: term, Prev: Position{1, 1}, Entries: []Entry{entryAt(2, entryTerm)}})
	}
	send(1, 2, 2) // A
	send(2, 3, 3) // C
	send(1, 4, 2) // A again, the same entry
	if logOf(m) != "1 2" {
		t.Fatalf("the log is %s", logOf(m))
	}
	last := len(m.pending)
	for done := 1; done <= last; done++ {
		w.persist(m, 1)
		want := Index(1)
		if done == last {
			want = 2
		}
		for _, said := range only[*AppendResponse](w.said(m)) {
			if said.Match > want {
				t.Fatalf("after write %d of %d it acknowledges %d", done, last, said.Match)
			}
		}
		if m.raft.log.stable != want {
			t.Fatalf("after write %d of %d stable is %d, want %d", done, last, m.raft.log.stable, want)
		}
	}
}

func TestE20AnotherLifesWordsDoNotCount(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.propose(leader, "a")
	w.said(leader)
	good := Envelope{Group: 1, From: 2, To: 1, FromLife: 1, ToLife: 1, Message: &AppendResponse{Term: 1, Match: 2}}
	for name, change := range map[string]func(*Envelope){
		"an earlier life of the sender": func(e *Envelope) { e.FromLife = 0 },
		"a later life of the sender":    func(e *Envelope) { e.FromLife = 2 },
		"another life of the receiver":  func(e *Envelope) { e.ToLife = 2 },
		"another group":                 func(e *Envelope) { e.Group = 2 },
		"somebody else":                 func(e *Envelope) { e.To = 3 },
		"a stranger":                    func(e *Envelope) { e.From = 9 },
		"itself":                        func(e *Envelope) { e.From = 1 },
		"no message":                    func(e *Envelope) { e.Message = nil },
		"a nil message":                 func(e *Envelope) { e.Message = (*AppendResponse)(nil) },
		"a term out of bounds":          func(e *Envelope) { e.Message = &AppendResponse{Term: 1 << 63} },
		"more than there is":            func(e *Envelope) { e.Message = &AppendResponse{Term: 1, Match: 99} },
		"a round that never was":        func(e *Envelope) { e.Message = &AppendResponse{Term: 1, Match: 2, Round: 99} },
	} {
		bad := good
		change(&bad)
		dropped := leader.raft.counts.Dropped
		leader.raft.Receive(w.now, bad)
		if leader.raft.peer(2).match != 1 || leader.raft.hard.Term != 1 || leader.raft.counts.Dropped != dropped+1 {
			t.Errorf("%s: match %d, term %d", name, leader.raft.peer(2).match, leader.raft.hard.Term)
		}
	}
	leader.raft.Receive(w.now, good)
	if leader.raft.peer(2).match != 2 {
		t.Error("the good one does not count either")
	}
}

func TestE22Bounds(t *testing.T) {
	entry := strings.Repeat("x", 100-EntryHeaderSize)
	w := newWorld(t, 3, Limits{
		EntryBytes: 150, UncommittedBytes: 1000, InflightBytes: 300, InflightMessages: 10, MessageBytes: 100, ApplyingBytes: 250, Reads: 2,
	})
	leader := w.elect(1)
	w.isolate(1)
	batch := commandEntries(entry, entry, entry, entry, entry, entry, entry, entry, entry, entry, entry, entry)

	p, err := leader.raft.Propose(w.now, batch)
	if p.Accepted != 10 || !errors.Is(err, ErrOverloaded) || !strings.Contains(err.Error(), "UncommittedBytes") {
		t.Errorf("uncommitted: %+v, %v", p, err)
	}
	if p, err := leader.raft.Propose(w.now, batch[10:]); p.Accepted != 0 || !errors.Is(err, ErrOverloaded) {
		t.Errorf("uncommitted: %+v, %v", p, err)
	}
	large := commandEntries("x", strings.Repeat("x", 200), "x")
	if p, err := leader.raft.Propose(w.now, large); p.Accepted != 0 || !errors.Is(err, ErrOverloaded) {
		t.Errorf("the first reason counts: %+v, %v", p, err)
	}
	if said := only[*AppendEntries](w.said(leader)); len(said) != 6 {
		t.Errorf("%d messages of 100 bytes leave for two followers, the window is 300", len(said))
	}
	for id := range ReadID(3) {
		leader.raft.Read(w.now, id)
	}
	if w.said(leader); len(leader.reads) != 1 || !errors.Is(leader.reads[0].Err, ErrOverloaded) {
		t.Errorf("reads: %+v", leader.reads)
	}

	w.heal()
	leader.raft.Persisted(w.now, leader.raft.durable.lastSeq)
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 2})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 11})
	if p, err := leader.raft.Propose(w.now, large); p.Accepted != 1 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %+v, %v", p, err)
	}
	if err := leader.raft.CheckInvariants(); err != nil {
		t.Error(err)
	}
}

func TestE22WhatWaitsForTermAndVoteIsBounded(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(1)
	m.slow = true
	w.receive(m, 2, &RequestVote{Term: 1})
	for range 1000 {
		w.receive(m, 2, &RequestVote{Term: 1})
		w.receive(m, 3, &RequestVote{Term: 1})
	}
	if n := len(m.raft.durable.held); n > 100 {
		t.Fatalf("%d messages wait", n)
	}
	w.persist(m, 1)
	said := only[*VoteResponse](w.said(m))
	if len(said) == 0 || said[len(said)-1].Granted || !said[len(said)-2].Granted {
		t.Fatalf("the last answers are lost: %v", said)
	}
}

func TestE22AppliersBacklog(t *testing.T) {
	w := newWorld(t, 1, Limits{ApplyingBytes: 250, CacheBytes: 1})
	m := w.elect(1)
	entry := strings.Repeat("x", 100-EntryHeaderSize)
	w.propose(m, entry, entry, entry, entry, entry, entry)
	handed := 0
	for range 10 {
		o := m.raft.Output()
		if o.Write != nil {
			m.raft.Persisted(w.now, o.Write.Seq)
		}
		handed += len(o.Committed)
	}
	if handed != 3 || m.raft.HasOutput() { // the third one reaches the bound
		t.Fatalf("%d entries of 100 bytes are handed out, the bound is 250", handed)
	}
	m.raft.Applied(w.now, 3)
	if o := m.raft.Output(); len(o.Committed) != 1 {
		t.Fatalf("%d more once two are applied", len(o.Committed))
	}
}

// E23: all that is under way is lost, at every point of the pipeline; heartbeats alone bring it to life again.
func TestE23AStalledPipelineRestartsByItself(t *testing.T) {
	limits := Limits{MessageBytes: 60, InflightMessages: 3}
	for lose := range 40 {
		w := newWorld(t, 3, limits)
		leader := w.elect(1)
		for i := range 4 {
			w.propose(leader, fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i))
			if i*10 <= lose && lose < i*10+10 {
				w.loseRound(lose % 10)
			}
			w.settle()
		}
		w.pass(3 * testHeartbeat)
		for _, m := range w.members {
			if m.raft.commit != leader.raft.log.last || len(m.applied) != 13 {
				t.Fatalf("case %d: member %d has committed %d of %d: %+v", lose, m.id, m.raft.commit, leader.raft.log.last, leader.raft.Status().Peers)
			}
		}
	}
}

// A probe is lost, and the next one; each heartbeat sends another.
func TestE23LostProbesAreRepeated(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.isolate(3)
	leader := w.elect(1)
	w.pass(3 * testHeartbeat)
	w.propose(leader, "a")
	w.settle()
	w.heal()
	w.pass(testHeartbeat)
	if m := w.member(3); m.raft.commit != leader.raft.commit || m.raft.log.last != 2 {
		t.Fatalf("member 3 has %d of 2 entries: %+v", m.raft.log.last, leader.raft.Status().Peers)
	}
}

// Entries that were read for a follower whose search has begun anew meanwhile are of no use, and do no harm.
func TestFetchedEntriesThatCameTooLate(t *testing.T) {
	w := newWorld(t, 3, Limits{CacheBytes: 1, MessageBytes: 60})
	leader := w.elect(1)
	w.isolate(3)
	w.propose(leader, "a", "b", "c", "d")
	w.settle()
	wish := Fetch{For: 3, Low: 4, High: 6, MaxBytes: 60}
	late := []Entry{leader.disk.entries[3]}
	leader.raft.PeerConnected(w.now, 3)
	w.said(leader)
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Rejected: true, Prev: 5, Conflict: Position{1, 1}, Last: 1})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1})
	if p := leader.raft.peer(3); p.next != 2 || !p.fetching {
		t.Fatalf("next %d, fetching %v", p.next, p.fetching)
	}
	leader.raft.Fetched(w.now, wish, late)
	for _, m := range only[*AppendEntries](w.said(leader)) {
		if len(m.Entries) > 0 && m.Entries[0].Index() != m.Prev.Index+1 {
			t.Fatalf("it sends %s", describe(m))
		}
	}
	w.heal()
	w.pass(2 * testHeartbeat)
	if m := w.member(3); m.raft.commit != 5 {
		t.Fatalf("member 3 has committed %d: %+v", m.raft.commit, leader.raft.Status().Peers)
	}
}

// loseRound lets all members act, count times, and then loses whatever is under way.
func (w *world) loseRound(count int) {
	for range count {
		for _, m := range w.members {
			w.output(m)
			w.persist(m, len(m.pending))
		}
		if len(w.network) > 0 {
			w.deliver(0)
		}
	}
	w.network = nil
}

func TestE24WhatFormerLeadersCommittedReachesEveryone(t *testing.T) {
	w := newWorld(t, 5, Limits{})
	var want []string
	for reign := range 6 {
		id := MemberID(reign%5 + 1)
		leader := w.elect(id)
		away := MemberID((reign+2)%5 + 1)
		w.isolate(away)
		for i := range 3 {
			command := fmt.Sprintf("%d.%d", reign, i)
			w.propose(leader, command)
			w.settle()
			want = append(want, command)
		}
		w.isolate(id)
		w.pass(testElection + testHeartbeat)
		w.heal()
		w.pass(4 * testElection)
	}
	// The last words of the last leader, that its entry is committed, reach nobody, and no client says anything more.
	leader := w.elect(1)
	w.propose(leader, "last")
	want = append(want, "last")
	for leader.raft.commit < leader.raft.log.last {
		for _, m := range w.members {
			w.output(m)
			w.persist(m, len(m.pending))
		}
		w.deliver(0)
	}
	w.network = nil
	w.isolate(1)
	w.pass(4 * testElection)
	w.heal()
	w.pass(4 * testElection)
	for _, m := range w.members {
		var got []string
		for _, e := range m.applied {
			if e.Kind() == EntryNormal {
				got = append(got, string(e.Payload()))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("member %d has applied %v, want %v", m.id, got, want)
		}
	}
}

func TestAFollowerBelowTheLogNeedsASnapshot(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.member(1)
	r, err := New(leader.config, Restored{
		HardState: HardState{Term: 3}, Before: Position{5, 2}, Applied: Position{5, 2}, Commit: 5, Last: 7, Runs: []TermRun{{3, 6}},
	}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	leader.raft = r
	w.timeout(leader)
	w.said(leader)
	w.receive(leader, 2, &PreVoteResponse{Term: 3, NextTerm: 4, Granted: true})
	r.Persisted(w.now, 1)
	w.receive(leader, 2, &VoteResponse{Term: 4, Granted: true})
	said := w.receive(leader, 3, &AppendResponse{Term: 4, Rejected: true, Prev: 7, Conflict: Position{}, Last: 0})
	if p := r.peer(3); p.state != StateSnapshot {
		t.Fatalf("it is in state %v, next %d; said %v", p.state, p.next, said)
	}
	// It is sent heartbeats, and no entries; its answers keep the leader in office and confirm reads.
	for range 5 {
		w.now = w.now.Add(testElection / 2)
		r.Tick(w.now)
		beats := 0
		for _, m := range w.said(leader) {
			if m := m.(*AppendEntries); len(m.Entries) > 0 && m.Prev.Index < 5 {
				t.Fatalf("it is sent %s", describe(m))
			}
			beats++
		}
		if beats < 2 {
			t.Fatalf("%d heartbeats", beats)
		}
		w.receive(leader, 3, &AppendResponse{Term: 4})
	}
	if r.role != Leader {
		t.Fatal("the leader gave up, though a majority answers")
	}
	// Its connection breaks, and the search begins anew, as early as this log goes.
	r.PeerBroken(w.now, 3, false)
	if p := r.peer(3); p.state != StateProbe || p.next != 6 {
		t.Fatalf("it is in state %v, next %d", p.state, p.next)
	}
	w.said(leader)
	w.receive(leader, 3, &AppendResponse{Term: 4, Rejected: true, Prev: 5, Conflict: Position{}, Last: 0})
	if p := r.peer(3); p.state != StateSnapshot {
		t.Fatalf("it is in state %v, next %d", p.state, p.next)
	}
	// It came by the entries in some other way.
	w.receive(leader, 3, &AppendResponse{Term: 4, Match: 7})
	if p := r.peer(3); p.state != StateReplicate || p.match != 7 {
		t.Fatalf("it is in state %v, match %d", p.state, p.match)
	}
}

// The commit index travels at once where a follower has nothing under way, and costs no message where it has.
func TestCommitIndexTravelsAtOnceAndForFree(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	start := w.now
	w.propose(leader, "a")
	w.settle()
	for _, m := range w.members {
		if m.raft.commit != 2 {
			t.Fatalf("without time passing member %d knows of commit %d", m.id, m.raft.commit)
		}
	}
	w.now = start.Add(time.Millisecond)
	w.propose(leader, "b")
	first := only[*AppendEntries](w.said(leader))
	w.propose(leader, "c")
	w.said(leader)
	w.persist(leader, len(leader.pending))
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 3})
	if leader.raft.commit != 3 || len(first) != 2 {
		t.Fatalf("commit %d after %d messages", leader.raft.commit, len(first))
	}
	if said := w.said(leader); len(said) > 0 {
		t.Fatalf("it says %s while entries are under way to both", describe(said[0]))
	}
	said := only[*AppendEntries](w.receive(leader, 2, &AppendResponse{Term: 1, Match: 4}))
	if len(said) != 1 || said[0].Commit != 4 || len(said[0].Entries) > 0 {
		t.Fatalf("it says %v to the one that has all", said)
	}
}
