package raft

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers are those of the list of behaviours that a Raft must get right; docs/track-record.md has them all.

func TestE01NothingIsSaidBeforeTermAndVoteAreDurable(t *testing.T) {
	for name, message := range map[string]Message{
		"a vote":               &RequestVote{Term: 5, Last: Position{9, 4}},
		"an acknowledgement":   &AppendEntries{Term: 5},
		"a rejection":          &AppendEntries{Term: 5, Prev: Position{7, 3}},
		"a refusal for a term": &RequestVote{Term: 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, Limits{})
			m := w.member(1)
			m.disk.hard.Term, m.disk.entries = 4, []Entry{entryAt(1, 4)}
			w.start(m)
			m.slow = true
			if said := w.receive(m, 2, message); len(said) > 0 {
				t.Fatalf("says %s before its disk knows of term 5", describe(said[0]))
			}
			w.persist(m, 1)
			if said := w.said(m); len(said) != 1 || said[0].SenderTerm() != 5 {
				t.Fatalf("says %v once its disk knows of term 5", said)
			}
		})
	}
}

// A candidate's requests vouch for its log: a voter compares with it. A crash must not leave the promise
// without the log.
func TestE01RequestsForVotesWaitForTheCandidatesOwnDisk(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(1)
	m.slow = true
	w.timeout(m)
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{NextTerm: 1, Granted: true})
	if m.raft.role != Candidate {
		t.Fatalf("it is %v", m.raft.role)
	}
	if said := w.receive(m, 2, &VoteResponse{Term: 1, Granted: true}); len(said) > 0 || m.raft.role != Candidate {
		t.Fatalf("says %v as %v, before its disk has its own vote", said, m.raft.role)
	}
	w.persist(m, 1)
	if m.raft.role != Leader {
		t.Fatalf("it is %v with two of three votes", m.raft.role)
	}
}

func TestE02AVoteIsForgottenWithItsTermOnly(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	term := leader.raft.hard.Term
	w.isolate(1)
	w.pass(testElection)
	if leader.raft.role == Leader {
		t.Fatal("it leads without a majority")
	}
	long := Position{99, term}
	w.now = w.now.Add(testElection)
	for _, said := range only[*VoteResponse](w.receive(leader, 2, &RequestVote{Term: term, Last: long})) {
		if said.Granted {
			t.Fatal("it votes a second time in its term")
		}
	}
	w.receive(leader, 2, &RequestVote{Term: term + 1, Last: long})
	if leader.raft.hard != (HardState{term + 1, 2}) {
		t.Fatalf("in a new term its vote is %+v", leader.raft.hard)
	}
}

func TestE03TermAndVoteAreNotWrittenAfterEntriesOfThatTerm(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(3)
	m.slow = true
	w.receive(m, 1, &AppendEntries{Term: 1, Entries: []Entry{entryAt(1, 1)}})
	w.receive(m, 2, &RequestVote{Term: 2, Last: Position{1, 1}, Transfer: true})
	w.receive(m, 2, &AppendEntries{Term: 2, Prev: Position{1, 1}, Entries: []Entry{entryAt(2, 2)}})
	for _, write := range m.pending {
		for _, e := range write.Entries {
			if e.Term() > write.HardState.Term {
				t.Fatalf("write %d has an entry of term %d, and term %d", write.Seq, e.Term(), write.HardState.Term)
			}
		}
	}
	if len(m.pending) < 2 || m.pending[len(m.pending)-1].HardState != (HardState{2, 2}) {
		t.Fatalf("%d writes", len(m.pending))
	}
}

func TestE04TimeoutsAreDrawnAfreshAtEachCampaign(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(1)
	drawn := map[time.Duration]bool{m.raft.election.timeout: true}
	for range 20 {
		w.timeout(m)
		w.said(m)
		got := m.raft.election.timeout
		if got < testElection || got >= 2*testElection {
			t.Fatalf("drew %v", got)
		}
		drawn[got] = true
	}
	if len(drawn) < 20 {
		t.Fatalf("21 waits had %d different lengths", len(drawn))
	}
	// A candidate draws again, too.
	w.receive(m, 2, &PreVoteResponse{NextTerm: 1, Granted: true})
	if drawn[m.raft.election.timeout] || m.raft.role != Candidate {
		t.Fatalf("%v waits %v once more", m.raft.role, m.raft.election.timeout)
	}
}

func TestE05GrantingAPreVoteChangesNothingHere(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.elect(1)
	m := w.member(2)
	w.now = w.now.Add(testElection) // it has not heard from its leader for the shortest election timeout
	before := *m.raft
	said := only[*PreVoteResponse](w.receive(m, 3, &PreVoteRequest{Term: 1, NextTerm: 2, Last: Position{9, 1}}))
	if len(said) != 1 || !said[0].Granted {
		t.Fatalf("said %v", said)
	}
	if m.raft.election.at != before.election.at || m.raft.hard != before.hard ||
		m.raft.following.heard != before.following.heard || m.raft.leader != before.leader {
		t.Fatal("its timer, term, vote or leader changed")
	}
}

// The tables in election.go, row by row. The member that is asked is in term 3; its log ends at 2/t2.
func TestVotesRowByRow(t *testing.T) {
	fresh, stale, short, same := Position{1, 3}, Position{9, 1}, Position{1, 2}, Position{2, 2}
	for _, test := range []struct {
		name    string
		content bool // with a leader
		voted   MemberID
		request Message
		granted bool
	}{
		{"pre-vote, content with a leader", true, 0, &PreVoteRequest{Term: 3, NextTerm: 4, Last: fresh}, false},
		{"pre-vote for our own term", false, 0, &PreVoteRequest{Term: 2, NextTerm: 3, Last: fresh}, false},
		{"pre-vote, older last term", false, 0, &PreVoteRequest{Term: 3, NextTerm: 4, Last: stale}, false},
		{"pre-vote, shorter log", false, 0, &PreVoteRequest{Term: 3, NextTerm: 4, Last: short}, false},
		{"pre-vote, equal log", false, 0, &PreVoteRequest{Term: 3, NextTerm: 4, Last: same}, true},
		{"pre-vote, newer log", false, 0, &PreVoteRequest{Term: 3, NextTerm: 4, Last: fresh}, true},
		{"pre-vote, though voted in this term", false, 1, &PreVoteRequest{Term: 3, NextTerm: 4, Last: fresh}, true},
		{"vote given to the candidate before", false, 2, &RequestVote{Term: 3, Last: stale}, true},
		{"vote given to another", false, 1, &RequestVote{Term: 3, Last: fresh}, false},
		{"vote, older last term", false, 0, &RequestVote{Term: 3, Last: stale}, false},
		{"vote, shorter log", false, 0, &RequestVote{Term: 3, Last: short}, false},
		{"vote, equal log", false, 0, &RequestVote{Term: 3, Last: same}, true},
		{"vote, newer log", false, 0, &RequestVote{Term: 3, Last: fresh}, true},
		{"vote in a later term, though voted in this", false, 1, &RequestVote{Term: 4, Last: same}, true},
		{"vote in a later term, older log", false, 0, &RequestVote{Term: 4, Last: short}, false},
		{"vote in an earlier term", false, 0, &RequestVote{Term: 2, Last: fresh}, false},
		{"vote in a term that has a leader", true, 0, &RequestVote{Term: 3, Last: fresh}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 3, Limits{})
			m := w.member(3)
			m.disk.hard = HardState{Term: 3, Vote: test.voted}
			m.disk.entries = []Entry{entryAt(1, 1), entryAt(2, 2)}
			w.start(m)
			if test.content {
				w.receive(m, 1, &AppendEntries{Term: 3, Prev: same})
			}
			said := w.receive(m, 2, test.request)
			w.persist(m, len(m.pending))
			said = append(said, w.said(m)...)
			if len(said) != 1 {
				t.Fatalf("it says %v", said)
			}
			var granted bool
			switch answer := said[0].(type) {
			case *PreVoteResponse:
				granted = answer.Granted
			case *VoteResponse:
				granted = answer.Granted
			}
			if granted != test.granted {
				t.Fatalf("it says %s", describe(said[0]))
			}
			if vote, ok := test.request.(*RequestVote); ok && granted && m.disk.hard != (HardState{vote.Term, 2}) {
				t.Fatalf("its disk has %+v", m.disk.hard)
			}
		})
	}
}

func TestE06PartialPartitionsGetALeader(t *testing.T) {
	type link [2]MemberID
	both := func(links ...link) (cuts []link) {
		for _, l := range links {
			cuts = append(cuts, l, link{l[1], l[0]})
		}
		return cuts
	}
	for name, test := range map[string]struct {
		members int
		cuts    []link
	}{
		"bridge of three":              {3, both(link{1, 3})},
		"the leader hears nobody":      {3, []link{{2, 1}, {3, 1}}},
		"nobody hears the leader":      {3, []link{{1, 2}, {1, 3}}},
		"leader and one, one way":      {3, []link{{1, 2}}},
		"one and leader, other way":    {3, []link{{2, 1}}},
		"bridge of five":               {5, both(link{1, 4}, link{1, 5}, link{2, 4}, link{2, 5})},
		"ring of five":                 {5, both(link{1, 3}, link{1, 4}, link{2, 4}, link{2, 5}, link{3, 5})},
		"leader with a minority":       {5, both(link{1, 3}, link{1, 4}, link{1, 5}, link{2, 3}, link{2, 4}, link{2, 5})},
		"one hub, others cannot talk":  {5, both(link{1, 2}, link{1, 3}, link{1, 4}, link{2, 3}, link{2, 4}, link{3, 4})},
		"leader cut off from the hub":  {5, both(link{1, 5}, link{1, 2}, link{2, 3}, link{3, 4})},
		"half a ring, and one is gone": {5, both(link{1, 3}, link{2, 4}, link{5, 1}, link{5, 2}, link{5, 3}, link{5, 4})},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.members, Limits{})
			w.elect(1)
			for _, cut := range test.cuts {
				w.cut[cut] = true
			}
			commit := func() (highest Index) {
				for _, m := range w.members {
					m.raft.Propose(w.now, commandEntries("x"))
				}
				w.settle()
				for _, m := range w.members {
					highest = max(highest, m.raft.commit)
				}
				return highest
			}
			w.pass(20 * testElection)
			terms := w.terms()
			for range 10 {
				before := commit()
				w.pass(testElection)
				if after := commit(); after <= before {
					t.Fatalf("nothing is committed after %d: %s", before, w.roles())
				}
			}
			if grown := w.terms() - terms; grown > 3*Term(test.members) {
				t.Errorf("terms grow by %d in ten election timeouts: %s", grown, w.roles())
			}
		})
	}
}

// terms returns the sum of all terms.
func (w *world) terms() (sum Term) {
	for _, m := range w.members {
		sum += m.raft.hard.Term
	}
	return sum
}

func (w *world) roles() string {
	var all []string
	for _, m := range w.members {
		all = append(all, fmt.Sprintf("%d %v of term %d, leader %d", m.id, m.raft.role, m.raft.hard.Term, m.raft.leader))
	}
	return strings.Join(all, "; ")
}

func TestE07ALeaderWithoutAMajorityFallsSilent(t *testing.T) {
	w := newWorld(t, 3, Limits{CacheBytes: 1, MessageBytes: 60, InflightMessages: 2})
	leader := w.elect(1)
	w.isolate(1)
	w.propose(leader, "a", "b", "c", "d")
	leader.raft.Read(w.now, 7)
	w.receive(leader, 2, &ReadIndexRequest{Term: 1, ID: 5})
	w.now = leader.raft.peers[1].heard.Add(testElection)
	leader.raft.Tick(w.now)
	if leader.raft.role != Follower {
		t.Fatal("it still leads")
	}
	// Late answers, entries for its followers and a lost connection make it say nothing any more.
	said := w.receive(leader, 2, &AppendResponse{Term: 1, Match: 1, Round: 1})
	leader.raft.PeerConnected(w.now, 2)
	leader.raft.Fetched(w.now, Fetch{For: 2, Low: 2, High: 3}, []Entry{entryAt(2, 1)})
	leader.raft.Persisted(w.now, leader.raft.durable.lastSeq)
	said = append(said, w.said(leader)...)
	if len(said) > 0 {
		t.Fatalf("it says %s", describe(said[0]))
	}
	for _, read := range leader.reads {
		if read.Err == nil {
			t.Fatalf("it answers a read: %+v", read)
		}
	}
}

func TestE08ALeaderWithAStalledDiskStepsDown(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	leader.slow = true
	w.propose(leader, "a")
	w.settle()
	start := w.now
	w.pass(leader.raft.config.DiskStall - time.Millisecond)
	if leader.raft.role != Leader {
		t.Fatalf("it gives up after %v", w.now-start)
	}
	w.pass(time.Millisecond)
	if leader.raft.role == Leader {
		t.Fatalf("it leads %v after its disk stopped", w.now-start)
	}
	w.pass(3 * testElection)
	if leader.raft.leader == 0 || leader.raft.leader == 1 {
		t.Fatalf("nobody else leads: %s", w.roles())
	}
}

// A member whose disk stalls does not campaign when its leader is gone, though the others would vote: it would
// raise a term in which it cannot lead, and spend its own vote.
func TestE08AMemberWithAStalledDiskDoesNotCampaign(t *testing.T) {
	w := newWorld(t, 5, Limits{})
	leader := w.elect(1)
	m := w.member(2)
	m.slow = true
	w.propose(leader, "a")
	w.pass(m.raft.config.DiskStall)
	w.crash(leader, 0)
	before := m.raft.counts
	for range 5 {
		w.timeout(m)
		w.settle()
	}
	if m.raft.counts != before || m.raft.hard.Term != 1 {
		t.Fatalf("it campaigns: %+v after %+v", m.raft.counts, before)
	}
	w.pass(3 * testElection)
	if m.raft.leader <= 2 {
		t.Fatalf("nobody else leads: %v", m.raft.leadership())
	}
}

func TestE09WhoHearsFromALeaderIgnoresCampaigns(t *testing.T) {
	for _, test := range []struct {
		name           string
		silence        time.Duration
		broken, refuse bool
		transfer       bool
		adopts         bool
	}{
		{"hears from its leader", testElection - 1, false, false, false, false},
		{"has not heard for the shortest election timeout", testElection, false, false, false, true},
		{"the leader itself wants it", 0, false, false, true, true},
		{"its stream from the leader broke", 0, true, false, false, false},
		{"its stream broke, and the redial was refused", 0, true, true, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 3, Limits{})
			w.elect(1)
			m := w.member(2)
			w.now = m.raft.following.heard.Add(test.silence)
			if test.broken {
				m.raft.PeerBroken(w.now, 1, test.refuse)
			}
			said := only[*PreVoteResponse](w.receive(m, 3, &PreVoteRequest{Term: 1, NextTerm: 2, Last: Position{9, 1}}))
			if want := test.adopts && !test.transfer; len(said) != 1 || said[0].Granted != want {
				t.Errorf("a pre-vote is answered by %+v", said)
			}
			w.receive(m, 3, &RequestVote{Term: 2, Last: Position{9, 1}, Transfer: test.transfer})
			if adopts := m.raft.hard == (HardState{2, 3}); adopts != test.adopts {
				t.Errorf("in term %d with vote %d", m.raft.hard.Term, m.raft.hard.Vote)
			}
		})
	}
}

// Another peer's broken connection says nothing about the leader, and the leader is not ousted by a campaign.
func TestE09OtherPeersAndTheLeaderItself(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	m := w.member(2)
	m.raft.PeerBroken(w.now, 3, true)
	if m.raft.election.hint.leaderGone || m.raft.Deadline() < w.now.Add(testElection-testHeartbeat) {
		t.Error("it takes a peer's end for its leader's")
	}
	w.now = w.now.Add(10 * testElection)
	w.receive(leader, 3, &RequestVote{Term: 2, Last: Position{9, 1}})
	if leader.raft.role != Leader {
		t.Error("a campaign ousts a leader before it has asked its majority")
	}
}

func TestE10RepliesOfABusyFollowerAndItsTimer(t *testing.T) {
	w := newWorld(t, 3, Limits{BufferedBytes: 200})
	w.elect(1)
	m := w.member(2)
	m.slow = true
	prev := m.raft.log.end()
	for i := range 20 {
		w.now = w.now.Add(testHeartbeat)
		entry := entryAt(prev.Index+1, 1)
		said := only[*AppendResponse](w.receive(m, 1, &AppendEntries{Term: 1, Prev: prev, Entries: []Entry{entry}}))
		if len(said) == 0 || said[0].Term != 1 || said[0].Match != 1 {
			t.Fatalf("append %d, while the disk is busy, is answered by %v", i, said)
		}
		if m.raft.Deadline() < w.now.Add(testElection) {
			t.Fatal("its election timeout goes on")
		}
		if m.raft.log.last == entry.Index() {
			prev = entry.Position()
		}
	}
	if m.raft.log.last == 21 {
		t.Fatal("it took all of them: the bound on what waits for the disk does not hold")
	}
	// A rejected append is a sign of life as well.
	w.now = w.now.Add(testElection / 2)
	w.receive(m, 1, &AppendEntries{Term: 1, Prev: Position{99, 1}})
	if m.raft.Deadline() < w.now.Add(testElection) {
		t.Fatal("a rejected append does not count as a sign of life")
	}
}

// TestE11OnePlaceChangesRoleAndTerm reads the source: become alone assigns role and leader, become and New the hard state,
// castVote the vote.
func TestE11OnePlaceChangesRoleAndTerm(t *testing.T) {
	allowed := map[string]string{"role": "become", "leader": "become", "hard": "become New", "Vote": "castVote", "Term": ""}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				assign, ok := n.(*ast.AssignStmt)
				if !ok {
					return true
				}
				for _, left := range assign.Lhs {
					field, ok := left.(*ast.SelectorExpr)
					if !ok || !ofRaft(field) {
						continue
					}
					functions, watched := allowed[field.Sel.Name]
					if !watched {
						continue
					}
					found++
					if !strings.Contains(" "+functions+" ", " "+function.Name.Name+" ") {
						t.Errorf("%s: %s changes %s, which only %q may", file.Name(), function.Name.Name, field.Sel.Name, functions)
					}
				}
				return true
			})
		}
	}
	if found < 4 {
		t.Errorf("found %d assignments to role, leader, hard state and vote: the test looks for the wrong names", found)
	}
}

// ofRaft reports whether the field is r.x or r.hard.x.
func ofRaft(field *ast.SelectorExpr) bool {
	switch of := field.X.(type) {
	case *ast.Ident:
		return of.Name == "r"
	case *ast.SelectorExpr:
		receiver, ok := of.X.(*ast.Ident)
		return ok && receiver.Name == "r" && of.Sel.Name == "hard"
	}
	return false
}

// A wrong or repeated hint costs a bounded number of questions.
func TestHintsAreRateLimited(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.elect(1)
	m := w.member(2)
	w.isolate(2) // nobody answers, and the leader is not heard
	questions := func() uint64 { return m.raft.counts.PreCampaigns }
	before := questions()
	for range 90 { // a connection that breaks once per millisecond
		m.raft.PeerBroken(w.now, 1, true)
		w.pass(time.Millisecond)
	}
	if asked := questions() - before; asked == 0 || asked > maxHintAttempts {
		t.Fatalf("asked %d times in less than an election timeout", asked)
	}
	if m.raft.hard.Term != 1 {
		t.Fatalf("its term is %d", m.raft.hard.Term)
	}
}
