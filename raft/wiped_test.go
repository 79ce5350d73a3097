package raft

import "testing"

// A member whose disk is empty may be a new one, or one that was wiped and has forgotten its votes. It stays out of elections for as long as it
// is told to, so that whoever remembers it can say so first; afterwards it is a member like any other.
func TestE21AnEmptyMemberHesitates(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(2)
	m.config.Hesitation = testElection
	w.start(m)
	until := w.now.Add(testElection)
	if votes := only[*PreVoteResponse](w.receive(m, 1, &PreVoteRequest{Term: 4, NextTerm: 5})); len(votes) != 1 || votes[0].Granted {
		t.Errorf("a pre-vote of an empty member: %v", votes)
	}
	vote := func(term Term) []*VoteResponse {
		said := w.receive(m, 1, &RequestVote{Term: term})
		w.persist(m, len(m.pending))
		return only[*VoteResponse](append(said, w.said(m)...))
	}
	if votes := vote(5); len(votes) != 1 || votes[0].Granted {
		t.Errorf("a vote of an empty member: %v", votes)
	}
	w.now = until
	if votes := vote(6); len(votes) != 1 || !votes[0].Granted {
		t.Errorf("a vote once it has waited: %v", votes)
	}
}

// A leader whose follower comes back with an empty disk, as if it were its old self, neither panics nor counts it for what it has lost, or for
// anything new: it says that it lacks what it had acknowledged.
func TestE21AWipedFollowerIsNotCounted(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(1)
	w.now = w.now.Add(3 * testElection)
	m.raft.Tick(w.now)
	term := m.raft.Status().Term
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{Term: term, NextTerm: term + 1, Granted: true})
	w.persist(m, len(m.pending))
	w.said(m)
	term = m.raft.Status().Term
	w.receive(m, 2, &VoteResponse{Term: term, Granted: true})
	w.persist(m, len(m.pending))
	w.said(m)
	w.receive(m, 2, &AppendResponse{Term: term, Match: 1, Last: 1})
	if s := m.raft.Status(); s.Role != Leader || s.Commit != 1 {
		t.Fatalf("no leader with a committed entry: %+v", s)
	}
	w.receive(m, 2, &AppendResponse{Term: term, Rejected: true, Last: 0}) // wiped: it has nothing
	if s := m.raft.Status(); s.Commit != 1 || s.Peers[0].Match != 1 {
		t.Errorf("a wiped follower moved what was known: %+v", s.Peers[0])
	}
	if _, err := m.raft.Propose(w.now, []Entry{SealedEntry(EntryNormal, []byte("x"))}); err != nil {
		t.Fatal(err)
	}
	w.persist(m, len(m.pending))
	w.said(m)
	w.receive(m, 2, &AppendResponse{Term: term, Rejected: true, Last: 0})
	if s := m.raft.Status(); s.Commit != 1 {
		t.Errorf("a wiped follower was counted: commit %d", s.Commit)
	}
}
