package balsa

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

func TestEveryMemberProposesAndReadsItsOwnWrites(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	l.leader()
	for i, m := range l.members {
		command := fmt.Sprint("from ", m.id)
		o := m.propose(command)
		l.until("an answer", func() bool { return o.answered > 0 })
		o.wants(t)
		if want := fmt.Sprintf("%d:%s", i+1, command); string(o.result.Value) != want {
			t.Errorf("member %d got %q, want %q", m.id, o.result.Value, want)
		}
		if got := m.machine.(*journal).all(); !slices.Contains(got, command) || o.applied < o.result.Index {
			t.Errorf("member %d was answered before it had applied index %d itself: %q", m.id, o.result.Index, got)
		}
		r := m.read()
		l.until("a read", func() bool { return r.answered > 0 })
		if r.wants(t); r.result.Index < o.result.Index {
			t.Errorf("member %d may read at %d, it wrote at %d", m.id, r.result.Index, o.result.Index)
		}
	}
	l.until("all to have applied the same", func() bool {
		return l.members[1].machine.(*journal).position == l.members[0].machine.(*journal).position &&
			l.members[2].machine.(*journal).position == l.members[0].machine.(*journal).position
	})
	for _, m := range l.members {
		if c := m.group.Counters(); c.Pending != 0 || c.Reading != 0 || c.Failed != 0 || c.Commands != 3 || m.group.pendingBytes.Load() != 0 || m.group.forwardedBytes.Load() != 0 {
			t.Errorf("member %d counts %+v, %d bytes pending, %d bytes forwarded", m.id, c, m.group.pendingBytes.Load(), m.group.forwardedBytes.Load())
		}
	}
}

func TestProposalsThatQueueUpShareWritesAndFrames(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	before := leader.host.LogStats()
	var outcomes []*outcome
	for i := range 1000 {
		outcomes = append(outcomes, l.members[i%3].propose(fmt.Sprint(i)))
	}
	l.advance(5 * time.Millisecond)
	for _, o := range outcomes {
		o.wants(t)
	}
	if syncs := leader.host.LogStats().Syncs - before.Syncs; syncs > 8 {
		t.Errorf("1,000 proposals that were made at once took %d syncs", syncs)
	}
}

func TestE47LeaderThatLostItsOfficeAnswersUnknown(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	old := l.leader()
	l.isolate(old)
	lost := old.propose("lost")
	l.run()
	if lost.answered != 0 {
		t.Fatal("answered though no majority has it")
	}
	others := l.others(old)
	l.until("another leader", func() bool {
		a, b := others[0].group.Leadership().Leader, others[1].group.Leadership().Leader
		return a == b && a != 0 && a != old.id
	})
	won := l.member(others[0].group.Leadership().Leader).propose("won")
	l.until("an answer", func() bool { return won.answered > 0 })
	won.wants(t)
	lost.wants(t, ErrOutcomeUnknown, ErrLeaderChanged) // it has noticed that nobody answers it
	l.heal()
	l.leader()
	l.advance(time.Second)
	for _, m := range l.members {
		if got := m.machine.(*journal).all(); !slices.Equal(got, []string{"won"}) {
			t.Errorf("member %d applied %q", m.id, got)
		}
	}
}

func TestE47ForwardedToALeaderThatLostItsOfficeIsUnknown(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	follower, third := l.others(leader)[0], l.others(leader)[1]
	// The leader hears both, and reaches nobody.
	l.cut[[2]MemberID{leader.id, follower.id}], l.cut[[2]MemberID{leader.id, third.id}] = true, true
	o := follower.propose("forwarded")
	l.run()
	if last := leader.status().Last; last < 2 || o.answered != 0 {
		t.Fatalf("the leader's log ends at %d, answered %d times", last, o.answered)
	}
	l.until("an answer", func() bool { return o.answered > 0 })
	o.wants(t, ErrOutcomeUnknown)
}

// An entry of another term at the index where a proposal was appended is not that proposal, even where the applier
// learns of both before the loop has noticed that the leader changed.
func TestE47AnotherTermsEntryIsNoAnswer(t *testing.T) {
	l := newLab(t, 1, newJournal, nil)
	m := l.leader()
	l.run()
	applied := m.group.Applied()
	o := &outcome{}
	m.group.pending.Add(1)
	entry := placed(t, raft.Position{Index: applied + 1, Term: 9}, "another")
	m.group.applier.add(&applyBatch{
		entries: []raft.Entry{entry},
		waiters: []waiter{{index: applied + 1, term: 8, done: func(r Result, err error) { o.answered++; o.result, o.err = r, err }}},
	})
	m.group.applier.apply()
	o.wants(t, ErrOutcomeUnknown, ErrLeaderChanged)
}

// placed makes an entry as a leader would have placed it.
func placed(t *testing.T, at raft.Position, payload string) raft.Entry {
	t.Helper()
	e := raft.SealedEntry(raft.EntryNormal, []byte(payload))
	for i, v := range []uint64{1, uint64(at.Index), uint64(at.Term)} {
		for b := range 8 {
			e[32+8*i+b] = byte(v >> (8 * b))
		}
	}
	return e
}

func TestE49ProposalsAreRefusedDuringATransfer(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	target, third := l.others(leader)[0], l.others(leader)[1]
	l.cut[[2]MemberID{leader.id, target.id}] = true // so that the transfer does not end
	before := leader.propose("before")
	l.run()
	before.wants(t)
	appended := leader.status().Last
	transferred := 0
	var failure error
	leader.group.TransferAsync(target.id, func(err error) { transferred++; failure = err })
	l.run()
	during, forwarded := leader.propose("during"), third.propose("forwarded during")
	l.run()
	during.wants(t, ErrTransferring)
	during.neverAppended(t)
	forwarded.wants(t, ErrTransferring)
	forwarded.neverAppended(t)
	if last := leader.status().Last; last != appended {
		t.Errorf("the log ends at %d, before the transfer at %d", last, appended)
	}
	l.until("the transfer to end", func() bool { return transferred > 0 })
	if transferred != 1 || failure == nil {
		t.Errorf("the transfer to a member that cannot be reached ended %d times, with %v", transferred, failure)
	}
}

func TestE49ProposalsBeforeATransferAreApplied(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	target := l.others(leader)[0]
	var outcomes []*outcome
	for i := range 10 {
		outcomes = append(outcomes, leader.propose(fmt.Sprint(i)))
	}
	var failure error
	transferred := false
	leader.group.TransferAsync(target.id, func(err error) { transferred, failure = true, err })
	l.until("the transfer", func() bool { return transferred })
	if failure != nil || l.leader() != target {
		t.Fatalf("member %d leads, error %v", l.leader().id, failure)
	}
	l.advance(10 * time.Millisecond)
	for i, o := range outcomes {
		if o.answered != 1 {
			t.Fatalf("proposal %d was answered %d times", i, o.answered)
		}
		if o.err != nil {
			o.wants(t, ErrTransferring)
		}
	}
}

func TestE54BrokenConnectionMakesAForwardedProposalUnknown(t *testing.T) {
	for _, lostOnItsWay := range []bool{true, false} {
		t.Run(fmt.Sprintf("lost on its way %v", lostOnItsWay), func(t *testing.T) {
			l := newLab(t, 3, newJournal, nil)
			leader := l.leader()
			follower := l.others(leader)[0]
			l.cut[[2]MemberID{leader.id, follower.id}] = true // the result does not come back
			l.cut[[2]MemberID{follower.id, leader.id}] = lostOnItsWay
			o := follower.propose("once")
			l.run()
			clear(l.cut)
			if o.answered != 0 {
				t.Fatal("answered though no result came")
			}
			l.breakConnection(leader, follower)
			l.run()
			o.wants(t, ErrOutcomeUnknown, ErrConnectionBroke)
			l.advance(time.Second)
			want := []string{"once"}
			if lostOnItsWay {
				want = nil
			}
			for _, m := range l.members {
				if got := m.machine.(*journal).all(); !slices.Equal(got, want) {
					t.Errorf("member %d applied %q, want %q", m.id, got, want)
				}
			}
		})
	}
}

// A result that was meant for an earlier life of this host, or was given up on, answers nobody.
func TestE54LateResultsAnswerNobody(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	l.cut[[2]MemberID{leader.id, follower.id}] = true
	first := follower.propose("first")
	l.run()
	late := follower.group.replica.forwarded.first
	clear(l.cut)
	l.breakConnection(leader, follower)
	l.run()
	first.wants(t, ErrOutcomeUnknown)
	second := follower.propose("second")
	l.run()
	second.wants(t)
	if next := follower.group.replica.forwarded.first; next != late+2 {
		t.Errorf("ids go on at %d, after %d", next, late)
	}
	follower.crash(false)
	follower.start(newJournal(follower.id))
	if next := follower.group.replica.forwarded.first; next-late < 1<<20 {
		t.Errorf("after a restart ids go on at %d, near those of the life before (%d)", next, late)
	}
}

func TestE55RefusedProposalsWereNeverAppended(t *testing.T) {
	l := newLab(t, 3, newJournal, func(c *GroupConfig) {
		c.Limits = GroupLimits{PendingProposals: 8, PendingBytes: 4000, Protocol: raft.Limits{EntryBytes: 2000}}
	})
	leader := l.leader()
	follower := l.others(leader)[0]
	before := leader.status().Last
	for _, m := range []*labMember{leader, follower} {
		m.propose(strings.Repeat("x", 2000)).wants(t, ErrTooLarge)
		a, b, c := m.propose(strings.Repeat("a", 1900)), m.propose(strings.Repeat("b", 1900)), m.propose(strings.Repeat("c", 1900))
		c.wants(t, ErrOverloaded)
		c.neverAppended(t)
		l.advance(20 * time.Millisecond)
		a.wants(t)
		b.wants(t)
		late := m.proposeFor("late", time.Nanosecond)
		l.now++
		l.run()
		late.wants(t, ErrExpired)
		late.neverAppended(t)
	}
	var many []*outcome
	for i := range 9 {
		many = append(many, leader.propose(fmt.Sprint(i)))
	}
	many[8].wants(t, ErrOverloaded)
	l.advance(20 * time.Millisecond)
	if got, want := leader.status().Last, before+4+8; got != want {
		t.Errorf("the log ends at %d, want %d: 4 large and 8 small commands were accepted", got, want)
	}
	follower.host.Close()
	closed := follower.propose("closed")
	closed.wants(t, ErrClosed)
	closed.neverAppended(t)
}

func TestE55NoLeaderIsSaidWhereNothingWasAppended(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	for _, m := range l.others(leader) {
		m.crash(false)
	}
	l.until("the leader to notice", func() bool { return leader.group.Leadership().Leader == 0 })
	last := leader.status().Last
	o := leader.propose("nobody leads")
	l.advance(labElectionTimeout)
	if o.answered != 0 {
		t.Fatalf("answered at once with %v: it is held back", o.err)
	}
	l.advance(2 * labElectionTimeout)
	o.wants(t, ErrNoLeader)
	o.neverAppended(t)
	if now := leader.status().Last; now != last {
		t.Errorf("the log ends at %d, before at %d", now, last)
	}
}

func TestProposalsAreHeldUntilThereIsALeader(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	var outcomes []*outcome
	for _, m := range l.members { // nobody leads yet
		outcomes = append(outcomes, m.propose(fmt.Sprint(m.id)))
	}
	l.until("answers", func() bool {
		return !slices.ContainsFunc(outcomes, func(o *outcome) bool { return o.answered == 0 })
	})
	for _, o := range outcomes {
		o.wants(t)
	}
}

func TestE22FullBoundsRefuseAtOnce(t *testing.T) {
	l := newLab(t, 3, newJournal, func(c *GroupConfig) {
		c.Limits.Protocol.UncommittedBytes = 3000
	})
	leader := l.leader()
	others := l.others(leader)
	l.cut[[2]MemberID{leader.id, others[0].id}], l.cut[[2]MemberID{leader.id, others[1].id}] = true, true
	var own []*outcome
	for range 8 {
		own = append(own, leader.propose(strings.Repeat("x", 450)))
	}
	l.run()
	accepted := 0
	for _, o := range own {
		if o.answered == 0 {
			accepted++
			continue
		}
		o.wants(t, ErrOverloaded)
		o.neverAppended(t)
	}
	if accepted != 5 {
		t.Errorf("%d proposals of 506 bytes fit into 3,000 bytes beside the first entry of the term", accepted)
	}
	clear(l.cut)
	l.advance(50 * time.Millisecond)
	for _, o := range own[:accepted] {
		o.wants(t)
	}
}

func TestE22WhatOthersForwardedIsBounded(t *testing.T) {
	l := newLab(t, 3, newJournal, func(c *GroupConfig) { c.Limits.ForwardedBytes = 1100 })
	leader := l.leader()
	follower, third := l.others(leader)[0], l.others(leader)[1]
	// Nothing commits, and what the leader says is heard by one follower only.
	for _, task := range l.tasks {
		if task.member == follower && task.name == "log writer" || task.member == leader && task.name == "log writer" {
			task.stopped = true
		}
	}
	l.cut[[2]MemberID{leader.id, third.id}] = true
	var forwarded []*outcome
	for range 5 {
		forwarded = append(forwarded, follower.propose(strings.Repeat("y", 450)))
	}
	l.run()
	if bytes := leader.group.forwardedBytes.Load(); bytes > 1100 {
		t.Errorf("%d forwarded bytes are held, the bound is 1,100", bytes)
	}
	for i, o := range forwarded {
		if i < 2 {
			if o.answered != 0 {
				t.Errorf("the command %d was answered with %v", i, o.err)
			}
			continue
		}
		o.wants(t, ErrOverloaded)
		o.neverAppended(t)
	}
}

func TestProposalsWaitForTheTransportsQueue(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	there, back := [2]MemberID{follower.id, leader.id}, [2]MemberID{leader.id, follower.id}
	l.full[there] = true
	o := follower.propose("later")
	l.advance(15 * time.Millisecond)
	if o.answered != 0 {
		t.Fatalf("answered with %v", o.err)
	}
	l.full[there] = false
	l.advance(15 * time.Millisecond)
	o.wants(t)

	l.full[back] = true // now the result waits; the third member is enough for the commit
	o = follower.propose("result later")
	l.run()
	if leader.group.Applied() != follower.group.Applied()+1 {
		t.Fatalf("the leader has applied %d, the follower %d", leader.group.Applied(), follower.group.Applied())
	}
	l.full[back] = false
	l.advance(30 * time.Millisecond)
	o.wants(t)
}

func TestExpiredProposalsAreUnknownOnceAppended(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	for _, other := range l.others(leader) {
		l.cut[[2]MemberID{leader.id, other.id}] = true
	}
	own, forwarded := leader.proposeFor("own", 20*time.Millisecond), follower.proposeFor("forwarded", 20*time.Millisecond)
	l.advance(19 * time.Millisecond)
	if own.answered+forwarded.answered != 0 {
		t.Fatal("answered before the time was over")
	}
	l.advance(2 * time.Millisecond)
	own.wants(t, ErrOutcomeUnknown, ErrExpired)
	forwarded.wants(t, ErrOutcomeUnknown, ErrExpired)
	l.heal()
	l.advance(time.Second) // whatever becomes of them now, nobody is told twice
	own.wants(t, ErrOutcomeUnknown)
	forwarded.wants(t, ErrOutcomeUnknown)
	for _, m := range l.members {
		if n := m.group.Counters().Pending; n != 0 {
			t.Errorf("member %d counts %d pending proposals", m.id, n)
		}
	}
}
