package raft

import (
	"errors"
	"strings"
	"testing"
)

// E38: the whole story is in testdata/read_waits_for_own_term.txt.
func TestE38NoReadBeforeAnEntryOfTheOwnTermIsCommitted(t *testing.T) {
	w, m := follower(t, 1, 1, 1)
	w.timeout(m)
	w.said(m)
	w.receive(m, 2, &PreVoteResponse{Term: 1, NextTerm: 2, Granted: true})
	w.persist(m, 1)
	w.receive(m, 2, &VoteResponse{Term: 2, Granted: true})
	w.persist(m, 1)
	if m.raft.role != Leader || m.raft.commit != 0 {
		t.Fatalf("%s, commit %d", w.roles(), m.raft.commit)
	}
	// Its predecessor may have committed index 3, and told a client; this leader knows of nothing.
	m.raft.Read(w.now, 7)
	w.receive(m, 1, &ReadIndexRequest{Term: 2, ID: 9})
	said := w.receive(m, 2, &AppendResponse{Term: 2, Match: 3})
	if m.raft.reign.round != 0 || len(m.reads) > 0 || len(only[*ReadIndexResponse](said)) > 0 {
		t.Fatalf("it begins round %d, answers %v, says %v", m.raft.reign.round, m.reads, said)
	}
	w.receive(m, 2, &AppendResponse{Term: 2, Match: 4})
	said = w.receive(m, 2, &AppendResponse{Term: 2, Match: 4, Round: 1})
	answers := only[*ReadIndexResponse](said)
	if len(m.reads) != 1 || m.reads[0].Index != 4 || len(answers) != 1 || answers[0].Index != 4 {
		t.Fatalf("once its no-op, at 4, is committed it answers %v and %v", m.reads, answers)
	}
}

func TestE39OnlyAnswersToALaterRoundConfirmARead(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	leader.raft.Read(w.now, 1)
	w.said(leader) // round 1
	leader.raft.Read(w.now, 2)
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 1, Round: 0})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Round: 0})
	if len(leader.reads) > 0 {
		t.Fatalf("answers of round 0 confirm %v", leader.reads)
	}
	w.receive(leader, 2, &AppendResponse{Term: 1, Match: 1, Round: 1})
	if len(leader.reads) != 1 || leader.reads[0].ID != 1 {
		t.Fatalf("an answer of round 1 confirms %v", leader.reads)
	}
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Round: 1})
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Round: 1})
	if len(leader.reads) != 1 {
		t.Fatalf("more answers of round 1 confirm %v", leader.reads)
	}
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Round: 2})
	if len(leader.reads) != 2 {
		t.Fatalf("an answer of round 2 confirms %v", leader.reads)
	}
}

// A majority of five are three: the leader and two more.
func TestE39OneFollowerOfFourIsNoMajority(t *testing.T) {
	w := newWorld(t, 5, Limits{})
	leader := w.elect(1)
	leader.raft.Read(w.now, 1)
	w.said(leader)
	for range 3 {
		w.receive(leader, 2, &AppendResponse{Term: 1, Match: 1, Round: 1})
	}
	if len(leader.reads) > 0 {
		t.Fatal("one follower's answers confirm a read")
	}
	w.receive(leader, 3, &AppendResponse{Term: 1, Match: 1, Round: 1})
	if len(leader.reads) != 1 {
		t.Fatal("two followers' answers do not")
	}
}

// A follower's question has a number of its own, in each life: what was asked in an earlier one is no answer.
func TestE39AnAnswerToAnEarlierLifesQuestionConfirmsNothing(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	m := w.member(2)
	m.raft.Read(w.now, 1)
	asked := only[*ReadIndexRequest](w.said(m))
	if len(asked) != 1 {
		t.Fatalf("it asks %v", asked)
	}
	late := &ReadIndexResponse{Term: 1, ID: asked[0].ID, Index: 1}
	w.crash(m, 0)
	w.start(m)
	w.propose(leader, "a")
	w.pass(testHeartbeat)
	m.raft.Read(w.now, 1)
	again := only[*ReadIndexRequest](w.said(m))
	if len(again) != 1 {
		t.Fatalf("it asks %v", again)
	}
	w.receive(m, 1, late)
	if len(m.reads) > 0 {
		t.Fatalf("a late answer confirms %v, commit is %d", m.reads, leader.raft.commit)
	}
	w.receive(m, 1, &ReadIndexResponse{Term: 1, ID: again[0].ID, Index: 2})
	if len(m.reads) != 1 || m.reads[0].Index != 2 {
		t.Fatalf("its own answer confirms %v", m.reads)
	}
}

// A read that arrives while a question is under way is not covered by it: the leader may have noted its index before.
func TestE39AReadIsNotCoveredByAnEarlierQuestion(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.elect(1)
	m := w.member(2)
	m.raft.Read(w.now, 1)
	asked := only[*ReadIndexRequest](w.said(m))
	m.raft.Read(w.now, 2)
	w.receive(m, 1, &ReadIndexResponse{Term: 1, ID: asked[0].ID, Index: 1})
	if len(m.reads) != 1 || m.reads[0].ID != 1 {
		t.Fatalf("it answers %v", m.reads)
	}
}

func TestReadsSurviveAChangeOfLeader(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.elect(1)
	w.isolate(1)
	for _, m := range w.members {
		m.raft.Read(w.now, ReadID(m.id))
	}
	w.settle()
	w.member(2).raft.PeerBroken(w.now, 1, true)
	w.member(3).raft.PeerBroken(w.now, 1, true)
	w.pass(testElection / 2)
	for _, id := range []MemberID{2, 3} {
		if reads := w.member(id).reads; len(reads) != 1 || reads[0].Err != nil {
			t.Errorf("member %d: %v", id, reads)
		}
	}
	w.heal()
	w.member(1).raft.PeerConnected(w.now, 2)
	w.pass(testElection / 4)
	if reads := w.member(1).reads; len(reads) != 1 || reads[0].Err != nil {
		t.Errorf("the former leader: %v, %s", reads, w.roles())
	}
}

func TestReadsFailAfterAnElectionTimeoutWithoutALeader(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	w.isolate(1)
	m := w.member(1)
	m.raft.Read(w.now, 7)
	w.pass(testElection - 1)
	if len(m.reads) > 0 {
		t.Fatalf("too early: %v", m.reads)
	}
	w.pass(1)
	if len(m.reads) != 1 || !errors.Is(m.reads[0].Err, ErrNoLeader) {
		t.Fatalf("%v", m.reads)
	}
}

func TestASingleMemberAnswersAtOnce(t *testing.T) {
	w := newWorld(t, 1, Limits{})
	m := w.member(1)
	m.raft.Read(w.now, 1)
	w.elect(1)
	m.raft.Read(w.now, 2)
	w.settle()
	if len(m.reads) != 2 || m.reads[0].Index < 1 || m.reads[1].Err != nil {
		t.Fatalf("%v", m.reads)
	}
}

// E47, E55: "not leader" is said where nothing was appended, and what was appended is never taken back by its own
// leader: it is in the log until another leader's entry replaces it.
func TestE47NotLeaderMeansNothingWasAppended(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.isolate(1)
	p := w.propose(leader, "a")
	w.pass(testElection)
	var notLeader *NotLeaderError
	if q, err := leader.raft.Propose(w.now, commandEntries("b")); q.Accepted != 0 || !errors.As(err, &notLeader) || notLeader.Leader != 0 {
		t.Fatalf("%+v, %v", q, err)
	}
	if leader.raft.log.last != p.First {
		t.Fatalf("its log ends at %d, what was accepted is at %d", leader.raft.log.last, p.First)
	}
	// It was not decided; here it comes true after all, by the same member in a later term.
	w.heal()
	w.elect(1)
	w.settle()
	found := false
	for _, e := range w.member(3).applied {
		found = found || string(e.Payload()) == "a"
		if string(e.Payload()) == "b" {
			t.Fatal("what was refused is applied")
		}
	}
	if !found {
		t.Fatal("it was in the only log, and is gone")
	}
	if _, err := w.member(2).raft.Propose(w.now, commandEntries("c")); !errors.As(err, &notLeader) || notLeader.Leader != 1 {
		t.Fatalf("a follower says %v", err)
	}
}

func TestE49NothingIsAppendedDuringATransfer(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.propose(leader, "a")
	if err := leader.raft.Transfer(w.now, 2); err != nil {
		t.Fatal(err)
	}
	last := leader.raft.log.last
	if p, err := leader.raft.Propose(w.now, commandEntries("b")); !errors.Is(err, ErrTransferring) || p.Accepted != 0 || leader.raft.log.last != last {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := leader.raft.Transfer(w.now, 2); err != nil {
		t.Errorf("once more to the same: %v", err)
	}
	if err := leader.raft.Transfer(w.now, 3); !errors.Is(err, ErrTransferring) {
		t.Errorf("to another: %v", err)
	}
	w.settle()
	if w.member(2).raft.role != Leader {
		t.Fatal(w.roles())
	}
	var got []string
	for _, e := range w.member(3).applied {
		got = append(got, string(e.Payload()))
	}
	if strings.Join(got, ",") != ",a," { // no-op, a, no-op
		t.Errorf("applied: %q", got)
	}
	for to, want := range map[MemberID]string{2: "leads already", 9: "not a member"} {
		if err := w.member(2).raft.Transfer(w.now, to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("to %d: %v", to, err)
		}
	}
	var notLeader *NotLeaderError
	if err := leader.raft.Transfer(w.now, 3); !errors.As(err, &notLeader) || notLeader.Leader != 2 {
		t.Errorf("by a follower: %v", err)
	}
}

// A lost word to the target is said again with the next heartbeat.
func TestTransferSurvivesALostMessage(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	if err := leader.raft.Transfer(w.now, 2); err != nil {
		t.Fatal(err)
	}
	if said := only[*TimeoutNow](w.said(leader)); len(said) != 1 {
		t.Fatalf("it says %v", said)
	}
	w.pass(testHeartbeat)
	if w.member(2).raft.role != Leader {
		t.Fatal(w.roles())
	}
}
