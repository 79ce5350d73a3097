package balsa

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/wal"
)

// rot flips a bit in the payload of a command, wherever it lies in the log of a member, and reports whether it was there.
func (m *labMember) rot(t *testing.T, command string) {
	t.Helper()
	names, err := m.disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		file, err := m.disk.OpenRead("wal/" + name)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := file.Size()
		b := make([]byte, size)
		_, _ = file.ReadAt(b, 0)
		_ = file.Close()
		if i := bytes.Index(b, []byte(command)); i >= 0 {
			m.disk.Flip("wal/"+name, int64(i), 4)
			return
		}
	}
	t.Fatalf("%q is not in the log of member %d", command, m.id)
}

func (m *labMember) wantWhole(t *testing.T) {
	t.Helper()
	if lost := m.host.log.Damaged(1); len(lost) > 0 || len(m.host.Troubles()) > 0 || m.group.replica.raft.Mending() || m.group.replica.raft.InDoubt() {
		t.Fatalf("member %d: lost %v, troubles %+v", m.id, lost, m.host.Troubles())
	}
}

// An entry that rotted while its member was down comes back from the others, and costs its own size.
func TestE44LostEntryComesBackFromThePeers(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	l.proposeAll(leader, 20, "command ")
	l.advance(50 * time.Millisecond)
	m := l.others(leader)[0]
	m.crash(true)
	m.rot(t, "command 7")
	l.proposeAll(l.leader(), 5, "meanwhile ")
	m.start(newJournal(m.id))
	if len(m.host.Troubles()) != 1 {
		l.run()
	}
	l.advance(200 * time.Millisecond)
	m.wantWhole(t)
	if got := m.machine.(*journal).all(); len(got) != 25 || got[7] != "command 7" {
		t.Fatalf("%q", got)
	}
	if c := m.group.Counters(); c.EntriesMended != 1 || c.BytesMended > 1000 {
		t.Fatalf("%d entries of %d bytes were fetched", c.EntriesMended, c.BytesMended)
	}
	m.crash(true) // it is in the file again
	m.start(newJournal(m.id))
	l.advance(200 * time.Millisecond)
	m.wantWhole(t)
	if c := m.group.Counters(); c.EntriesMended != 0 || len(m.machine.(*journal).all()) != 25 {
		t.Fatalf("%+v", c)
	}
}

// The last record of one member is damaged while another one lags, and the leader, which alone has it, is killed: what was acknowledged is
// waited for, and there when the leader is.
func TestE44LastRecordWhileAnotherLagsAndTheLeaderIsKilled(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	l.proposeAll(leader, 5, "command ")
	l.advance(50 * time.Millisecond)
	m, lagging := l.others(leader)[0], l.others(leader)[1]
	lagging.crash(true)
	l.proposeAll(leader, 1, "acknowledged ")
	l.advance(50 * time.Millisecond)
	m.crash(true)
	leader.crash(true)
	m.rot(t, "acknowledged 0")
	m.start(newJournal(m.id))
	lagging.start(newJournal(lagging.id))
	l.advance(20 * labElectionTimeout)
	if led := m.group.Leadership().Role == raft.Leader || lagging.group.Leadership().Role == raft.Leader; led {
		t.Fatal("somebody leads who does not have what was acknowledged")
	}
	if troubles := m.host.Troubles(); len(troubles) != 1 || troubles[0].Kind != TroubleLog || !strings.Contains(troubles[0].Text, "entry 7 of term 1") {
		t.Fatalf("%+v", troubles)
	}
	leader.start(newJournal(leader.id))
	l.advance(20 * labElectionTimeout)
	for _, member := range l.members {
		member.wantWhole(t)
		if got := member.machine.(*journal).all(); len(got) != 6 || got[5] != "acknowledged 0" {
			t.Fatalf("member %d has %q", member.id, got)
		}
	}
}

// What nobody else ever had is dropped on the word of a leader.
func TestE44WhatNobodyElseHadIsDropped(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	l.proposeAll(leader, 5, "command ")
	l.advance(50 * time.Millisecond)
	l.isolate(leader)
	leader.propose("lonely")
	l.advance(20 * time.Millisecond)
	leader.crash(true)
	leader.rot(t, "lonely")
	l.heal()
	l.proposeAll(l.leader(), 3, "later ")
	leader.start(newJournal(leader.id))
	l.advance(10 * labElectionTimeout)
	leader.wantWhole(t)
	if got := leader.machine.(*journal).all(); len(got) != 8 || got[5] != "later 0" {
		t.Fatalf("%q", got)
	}
}

// Two of three have lost entries, but not the same ones: each has what the other lacks.
func TestE44TwoMembersMendEachOther(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	l.proposeAll(l.leader(), 20, "command ")
	l.advance(50 * time.Millisecond)
	for _, m := range l.members {
		m.crash(true)
	}
	a, b := l.members[0], l.members[1]
	a.rot(t, "command 7")
	b.rot(t, "command 11")
	a.start(newJournal(a.id))
	b.start(newJournal(b.id))
	l.advance(20 * labElectionTimeout)
	a.wantWhole(t)
	b.wantWhole(t)
	l.proposeAll(l.leader(), 1, "after ")
}

// The same entry is lost by a majority: nothing goes on, and it is said which one it is, until the third comes.
func TestE44MajorityDamagedInTheSameEntryStandsStill(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	l.proposeAll(l.leader(), 20, "command ")
	l.advance(50 * time.Millisecond)
	for _, m := range l.members {
		m.crash(true)
	}
	for _, m := range l.members[:2] {
		m.rot(t, "command 7")
		m.start(newJournal(m.id))
	}
	l.advance(20 * labElectionTimeout)
	for _, m := range l.members[:2] {
		if text := m.host.Troubles()[0].Text; !strings.Contains(text, "entry 9 of term 1") || m.group.Leadership().Leader != 0 {
			t.Fatalf("%s; leader %d", text, m.group.Leadership().Leader)
		}
	}
	l.members[2].start(newJournal(3))
	l.advance(20 * labElectionTimeout)
	for _, m := range l.members {
		m.wantWhole(t)
	}
}

// A log without names is put aside. Its member follows without a vote until a leader has vouched for what it has.
func TestE44MemberInDoubtFollowsAndDoesNotVote(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	l.proposeAll(leader, 20, "command ")
	l.advance(50 * time.Millisecond)
	m, other := l.others(leader)[0], l.others(leader)[1]
	progress := m.host.Progress()
	m.crash(true)
	other.crash(true)
	if err := m.disk.Remove("wal/0000000000000001.wal"); err != nil {
		t.Fatal(err)
	}
	m.start(newJournal(m.id))
	if now := m.host.Progress(); progress == 0 || now < progress {
		t.Fatalf("progress %x, and it was %x: the others take that for an older copy (E21)", now, progress)
	}
	leader.crash(true)
	other.start(newJournal(other.id))
	l.advance(20 * labElectionTimeout)
	if m.group.Leadership().Leader != 0 || !m.group.replica.raft.InDoubt() {
		t.Fatal("a member in doubt gave its vote")
	}
	leader.start(newJournal(leader.id))
	l.advance(20 * labElectionTimeout)
	for _, member := range l.members {
		member.wantWhole(t)
		if got := member.machine.(*journal).all(); len(got) != 20 {
			t.Fatalf("member %d has %q", member.id, got)
		}
	}
	m.crash(true)
	m.start(newJournal(m.id))
	if m.group.replica.raft.InDoubt() {
		t.Fatal("still in doubt after a restart")
	}
}

// What a read has found damaged may be mended by the time the writer has looked at it again: then there is nothing to do, and nothing to tell.
func TestE44DamageThatIsMendedBeforeItIsExamined(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	l.proposeAll(leader, 20, "command ")
	l.advance(50 * time.Millisecond)
	r := leader.group.replica
	leader.host.loop.control.Post(func() { r.foundDamaged(&wal.CorruptionError{Segment: 1}) })
	l.advance(50 * time.Millisecond)
	leader.wantWhole(t)
	l.proposeAll(leader, 1, "after ")
}
