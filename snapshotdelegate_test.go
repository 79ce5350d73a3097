package balsa

import (
	"strings"
	"testing"

	"github.com/balsadb/balsa/internal/wire"
)

// byFollowers has leaders delegate.
func byFollowers(c *HostConfig) { smallPieces(c); c.SnapshotsByLeader = false }

// sender returns who else could send, besides a leader and a receiver.
func (l *lab) third(a, b *labMember) *labMember {
	for _, m := range l.members {
		if m != a && m != b {
			return m
		}
	}
	return nil
}

// TestALeaderHasAFollowerSend: the leader sends no byte of it, knows how it goes, and goes on with its log from there.
func TestALeaderHasAFollowerSend(t *testing.T) {
	l, leader, follower := bulkLab(t, byFollowers)
	other := l.third(leader, follower)
	var told []SnapshotProgress
	l.watchPieces(64<<10, func(*wire.SnapshotChunk) { told = leader.group.Snapshots() })
	follower.start(newVault(follower.id))
	l.sameJournals()
	if sent, by := leader.group.Counters().SnapshotBytesSent, other.group.Counters().SnapshotsSent; sent > 0 || by != 1 {
		t.Errorf("the leader sent %d bytes, the other %d snapshots", sent, by)
	}
	if len(told) != 1 || told[0].Stage != SnapshotDelegated || told[0].Via != other.id || told[0].Peer != follower.id {
		t.Errorf("the leader told %+v", told)
	}
	if c := leader.group.Counters(); c.SnapshotsDelegated != 1 {
		t.Errorf("%d were delegated", c.SnapshotsDelegated)
	}
	l.until("the leader knows its end", func() bool { return len(leader.group.Snapshots()) == 0 })
}

// fiveAndOneBehind is a lab of five in which followers send snapshots, and the one that is down needs one.
func fiveAndOneBehind(t *testing.T) (l *lab, leader, follower *labMember) {
	l = newLab(t, 5, newVault, cutEarly)
	l.host = byFollowers
	follower = l.others(l.leader())[0]
	follower.crash(false)
	for _, m := range l.others(follower) {
		m.crash(false)
		m.start(newVault(m.id))
	}
	for range 2 {
		l.fill(l.leader(), "a")
	}
	return l, l.leader(), follower
}

// TestALeaderSendsItselfWhatAnotherDidNot: its process is gone, it says nothing any more, or it cannot.
func TestALeaderSendsItselfWhatAnotherDidNot(t *testing.T) {
	for name, ends := range map[string]func(*lab, *labMember){
		"killed":  func(l *lab, m *labMember) { m.crash(false) },
		"silent":  func(l *lab, m *labMember) { l.isolate(m) },
		"refuses": func(l *lab, m *labMember) { m.group.replica.stop(ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			l, leader, follower := fiveAndOneBehind(t)
			var sender MemberID
			l.watchPieces(64<<10, func(c *wire.SnapshotChunk) { sender = c.Source.Sender })
			follower.start(newVault(follower.id))
			l.untilStep("somebody sends", func() bool { return sender != 0 })
			if sender == leader.id {
				t.Fatal("the leader sends")
			}
			ends(l, l.member(sender))
			l.until("it has caught up", func() bool { return follower.group.Applied() >= leader.group.Applied() })
			if !strings.Contains(l.log.String(), "which does so itself now") && leader.group.Counters().SnapshotBytesSent == 0 {
				t.Error("the leader sent nothing")
			}
		})
	}
}

// TestE31AnotherLeaderHasItSentOn: the leader dies in the midst; who sends has the file still, and the receiver tells the next leader so.
func TestE31AnotherLeaderHasItSentOn(t *testing.T) {
	l, leader, follower := fiveAndOneBehind(t)
	var first *wire.SnapshotChunk
	p := l.watchPieces(512<<10, func(c *wire.SnapshotChunk) { first = c })
	follower.start(newVault(follower.id))
	l.untilStep("half of it has come", func() bool { return first != nil })
	leader.crash(false)
	before := p.bytes
	l.until("it has caught up", func() bool { return follower.group.Counters().SnapshotsInstalled > 0 })
	if n := follower.group.Counters().SnapshotsResumed; n == 0 {
		t.Error("it was sent from the start")
	}
	if l.leader().id == first.Source.Sender {
		t.Fatal("who was sending leads now: this seed shows nothing")
	}
	if n := l.member(first.Source.Sender).group.Counters().SnapshotsSent; n != 1 {
		t.Errorf("who was sending has sent %d, %d bytes before and %d in all of %d", n, before, p.bytes, p.size)
	}
}
