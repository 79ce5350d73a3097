package balsa

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// changed is what became of a change of members.
type changed struct {
	answered int
	c        raft.ConfigurationAt
	err      error
}

func (m *labMember) change(options ChangeOptions, changes ...Change) *changed {
	o := &changed{}
	m.group.ChangeMembersAsync(options, changes, 0, func(c raft.ConfigurationAt, err error) {
		o.answered++
		o.c, o.err = c, err
	})
	return o
}

// changes makes a change of the configuration that a member has, and waits until it is done.
func (l *lab) changes(m *labMember, changes ...Change) raft.ConfigurationAt {
	l.t.Helper()
	l.until("another configuration is settled", func() bool { return m.group.Membership().Committed })
	o := m.change(ChangeOptions{From: m.group.Membership().Index}, changes...)
	l.until("the members are changed", func() bool { return o.answered > 0 })
	if o.err != nil || o.answered != 1 {
		l.t.Fatalf("answered %d times: %v", o.answered, o.err)
	}
	return o.c
}

// join starts another member, which was told what a member has settled.
func (l *lab) join(id MemberID, of *labMember, machine StateMachine) *labMember {
	l.t.Helper()
	c := of.group.Settled().Configuration
	m := l.members[max(0, min(int(id), len(l.members))-1)]
	if int(id) > len(l.members) {
		m = &labMember{lab: l, id: id}
		l.members = append(l.members, m)
	}
	m.joins, m.disk = &c, vfs.NewMem()
	m.start(machine)
	return m
}

func address(id MemberID) string { return fmt.Sprintf("http://host%d:2380", id) }

// A member is added at a follower, joins empty while commands go on, is sent a snapshot, becomes a voter by itself, and keeps the group going when
// another one dies. All transports are told where it is.
func TestMemberJoins(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	leader := l.leader()
	l.fill(leader, "before")
	follower := l.others(leader)[0]
	c := l.changes(follower, Change{Kind: raft.AddMember, Member: 4, Address: address(4)})
	if seat := c.Seat(4); seat == nil || seat.Role != raft.Learner || seat.Life != 1 {
		t.Fatalf("it has %+v", seat)
	}
	if follower.group.Applied() < c.Index {
		t.Errorf("answered at index %d with %d applied", c.Index, follower.group.Applied())
	}
	leader.propose("while it is away").ends(l)
	joined := l.join(4, follower, newVault(4))
	l.until("it votes", func() bool {
		m := leader.group.Membership()
		return m.Committed && !m.Joint && m.Seat(4).Role == raft.Voter
	})
	if leader.group.Counters().SnapshotsSent != 1 {
		t.Errorf("%d snapshots were sent", leader.group.Counters().SnapshotsSent)
	}
	for _, m := range l.members[:3] {
		if m.peers[4] != address(4) {
			t.Errorf("the transport of %d knows %v", m.id, m.peers)
		}
	}
	leader.propose("with four").ends(l)
	follower.crash(true)
	leader.propose("with three of four").ends(l)
	l.until("it has everything", func() bool { return joined.group.Applied() == leader.group.Applied() })
	if a, b := joined.machine.(*vault).all(), leader.machine.(*vault).all(); !slices.Equal(a, b) {
		t.Errorf("%d commands, the leader has %d", len(a), len(b))
	}
}

// The configuration outlives the processes and the logs: it is in the state, in the snapshots and in what is left of the log.
func TestConfigurationIsRecovered(t *testing.T) {
	for name, after := range map[string]func(l *lab, leader *labMember){
		"from the log":      func(*lab, *labMember) {},
		"from the snapshot": func(l *lab, leader *labMember) { l.fill(leader, "after") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 3, newVault, cutEarly)
			leader := l.leader()
			want := l.changes(leader, Change{Kind: raft.AddLearner, Member: 4, Address: address(4)})
			after(l, leader)
			l.until("all have it", func() bool {
				return !slices.ContainsFunc(l.members, func(m *labMember) bool { return m.group.Applied() < leader.group.Applied() })
			})
			for _, m := range l.members {
				m.crash(true)
			}
			for _, m := range l.members {
				m.start(newVault(m.id))
				if got := m.group.Membership(); got.Index != want.Index || got.Seat(4) == nil || got.Seat(4).Address != address(4) {
					t.Errorf("member %d has %+v, want %+v", m.id, got, want)
				}
			}
			l.leader().propose("and on").ends(l)
		})
	}
}

// A removed member is told so, once, and expelled by the others a while later; a removed leader hands over first.
func TestRemovedMemberIsTold(t *testing.T) {
	l := newLab(t, 4, newVault, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	l.changes(leader, Change{Kind: raft.Remove, Member: follower.id})
	l.until("it is told", func() bool { return len(follower.removed) > 0 })
	if !strings.Contains(follower.removed[0], "was removed from group 1") {
		t.Errorf("it is told: %s", follower.removed)
	}
	follower.up = false
	l.changes(leader, Change{Kind: raft.Remove, Member: leader.id})
	l.until("the leader is told", func() bool { return len(leader.removed) > 0 })
	if role := leader.group.Leadership().Role; role == raft.Leader {
		t.Error("it leads all the same")
	}
	l.advance(10 * labElectionTimeout)
	for _, m := range l.members {
		want := 0
		if m == leader || m == follower {
			want = 1
		} else if slices.Sort(m.expelled); len(m.expelled) != 2 {
			t.Errorf("member %d has expelled %v", m.id, m.expelled)
		}
		if len(m.removed) != want {
			t.Errorf("member %d was told %v", m.id, m.removed)
		}
	}
	leader.up = false
	l.leader().propose("without them").ends(l)
}

// Where a removed member was away and hears of its removal from another host's transport, it is the same.
func TestExpelledMemberIsTold(t *testing.T) {
	l := newLab(t, 3, newVault, nil)
	leader := l.leader()
	away := l.others(leader)[0]
	l.isolate(away)
	l.changes(leader, Change{Kind: raft.Remove, Member: away.id})
	l.advance(10 * labElectionTimeout)
	if len(away.removed) > 0 {
		t.Fatal("it knows of it already")
	}
	away.host.Expelled(leader.id, "you were removed")
	away.host.Expelled(leader.id, "you were removed")
	l.run()
	if len(away.removed) != 1 || !strings.Contains(away.removed[0], "says: you were removed") {
		t.Errorf("it is told %v", away.removed)
	}
}

// Refusals keep their meaning on the way from the leader, and a dry run changes nothing.
func TestChangesAreRefused(t *testing.T) {
	l := newLab(t, 3, newVault, nil)
	leader := l.leader()
	for _, m := range []*labMember{leader, l.others(leader)[0]} {
		now := m.group.Membership()
		for _, test := range []struct {
			from   Index
			change Change
			want   error
		}{
			{now.Index + 1, Change{Kind: raft.AddLearner, Member: 9}, raft.ErrConfigurationChanged},
			{now.Index, Change{Kind: raft.AddLearner, Member: 1}, raft.ErrMemberExists},
			{now.Index, Change{Kind: raft.Remove, Member: 9}, raft.ErrMemberUnknown},
			{now.Index, Change{Kind: raft.Promote, Member: 1}, raft.ErrNotLearner},
			{now.Index, Change{Kind: 99, Member: 1}, raft.ErrBadChange},
		} {
			o := m.change(ChangeOptions{From: test.from}, test.change)
			l.until("an answer", func() bool { return o.answered > 0 })
			if !errors.Is(o.err, test.want) || errors.Is(o.err, ErrOutcomeUnknown) {
				t.Errorf("member %d, %+v: %v, want %v", m.id, test.change, o.err, test.want)
			}
		}
		o := m.change(ChangeOptions{From: now.Index, DryRun: true}, Change{Kind: raft.Remove, Member: 3})
		l.until("an answer", func() bool { return o.answered > 0 })
		if o.err != nil || o.c.Seat(3) != nil || o.c.Voters() != 2 || m.group.Membership().Index != now.Index {
			t.Errorf("a dry run gives %+v, %v", o.c, o.err)
		}
	}
}

// A change whose leader dies is answered as unknown (E47); one that would cost the majority is refused, save with the override.
func TestChangeAndLostLeader(t *testing.T) {
	l := newLab(t, 3, newVault, nil)
	leader := l.leader()
	others := l.others(leader)
	others[0].crash(true)
	l.advance(2 * labElectionTimeout)
	now := leader.group.Membership()
	o := leader.change(ChangeOptions{From: now.Index}, Change{Kind: raft.Remove, Member: others[1].id})
	l.until("an answer", func() bool { return o.answered > 0 })
	if !errors.Is(o.err, raft.ErrMajorityLost) {
		t.Fatal(o.err)
	}
	o = leader.change(ChangeOptions{From: now.Index, Lossy: true}, Change{Kind: raft.Remove, Member: others[1].id})
	l.advance(time.Millisecond)
	if o.answered > 0 {
		t.Fatalf("answered with %v, though two of three would have to agree to it alone", o.err)
	}
	l.isolate(leader)
	l.until("an answer", func() bool { return o.answered > 0 })
	if !errors.Is(o.err, ErrOutcomeUnknown) || !errors.Is(o.err, ErrLeaderChanged) {
		t.Error(o.err)
	}
}

// A durable state machine that does not keep what the runtime must remember has the members that it began with.
func TestMembersFixed(t *testing.T) {
	l := newLab(t, 1, func(MemberID) StateMachine { return &ledger{} }, nil)
	o := l.leader().change(ChangeOptions{}, Change{Kind: raft.AddLearner, Member: 2})
	if o.answered != 1 || !errors.Is(o.err, ErrMembersFixed) {
		t.Errorf("answered %d times: %v", o.answered, o.err)
	}
}

// Leadership is not handed to a learner, not even where that is furthest along.
func TestLearnersAreNotHandedLeadership(t *testing.T) {
	l := newLab(t, 3, newVault, nil)
	leader := l.leader()
	l.changes(leader, Change{Kind: raft.AddLearner, Member: 4})
	learner := l.join(4, leader, newVault(4))
	for _, m := range l.others(leader)[:2] {
		l.cut[[2]MemberID{leader.id, m.id}] = true
	}
	leader.propose("only the learner has it")
	l.until("the learner is ahead", func() bool { return learner.status().Last == leader.status().Last })
	clear(l.cut)
	var err error
	answered := 0
	leader.group.TransferAsync(0, func(e error) { err, answered = e, answered+1 })
	l.until("an answer", func() bool { return answered > 0 })
	if now := l.leader(); err != nil || now == leader || now == learner {
		t.Errorf("member %d leads: %v", now.id, err)
	}
}
