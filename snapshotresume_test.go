package balsa

import (
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// bulkLab is a lab whose first follower is down and needs a snapshot of so many commands of 64 KiB, at least.
func bulkLab(t *testing.T, host func(*HostConfig)) (l *lab, leader, follower *labMember) {
	l = newLab(t, 3, newVault, cutEarly)
	follower = l.others(l.leader())[0]
	follower.crash(false)
	l.host = host
	for _, m := range l.others(follower) {
		m.crash(false)
		m.start(newVault(m.id))
	}
	for range 2 {
		l.fill(l.leader(), "a")
	}
	return l, l.leader(), follower
}

// smallPieces makes snapshots travel in many pieces.
func smallPieces(c *HostConfig) { c.SnapshotPiece = 4 << 10 }

// pieces counts the bytes of pieces that were sent, and lets a test do something when so many have been.
type pieces struct {
	bytes, size int64
	at          int64
	then        func(piece *wire.SnapshotChunk)
}

func (l *lab) watchPieces(at int64, then func(*wire.SnapshotChunk)) *pieces {
	p := &pieces{at: at, then: then}
	l.loses = func(f labFrame) bool {
		if !f.bulk {
			return false
		}
		packets, err := wire.Decode(nil, f.bytes)
		if err != nil {
			l.t.Fatal(err)
		}
		chunk := packets[0].Chunk
		p.bytes += int64(len(chunk.Data))
		p.size = int64(chunk.Size)
		if p.then != nil && p.bytes >= p.at {
			then := p.then
			p.then = nil
			then(chunk)
			return true
		}
		return false
	}
	return p
}

// TestE31AReceiverThatCrashesGoesOnWhereItWas: after a kill or a power cut what it had is there, but for what was not synced, and
// is not sent again.
func TestE31AReceiverThatCrashesGoesOnWhereItWas(t *testing.T) {
	l, _, follower := bulkLab(t, smallPieces)
	p := l.watchPieces(128<<10, nil)
	crashed := false
	p.then = func(*wire.SnapshotChunk) { crashed = true }
	follower.start(newVault(follower.id))
	l.untilStep("half of it has come", func() bool { return crashed })
	follower.crash(false)
	before := p.bytes
	follower.start(newVault(follower.id))
	l.sameJournals()
	if n := follower.group.Counters().SnapshotsResumed; n != 1 {
		t.Errorf("it went on with %d snapshots", n)
	}
	if most := p.size - before + 3*windowPieces*4<<10; p.bytes-before > most {
		t.Errorf("%d bytes of %d were sent before the crash, and %d after it", before, p.size, p.bytes-before)
	}
}

// TestE31SendingKeepsToItsPace on virtual time: the rate bounds what is sent, nothing else is kept waiting by it, and a follower that
// is slow for want of pace is not given up.
func TestE31SendingKeepsToItsPace(t *testing.T) {
	const rate = 512 << 10
	l, leader, follower := bulkLab(t, func(c *HostConfig) { c.SnapshotPiece, c.SnapshotRate = 16<<10, rate })
	p := l.watchPieces(0, nil)
	var began actor.Instant
	p.then = func(*wire.SnapshotChunk) { began = l.now }
	follower.start(newVault(follower.id))
	l.until("it begins", func() bool { return began > 0 })
	var slowest time.Duration
	for follower.group.Counters().SnapshotsInstalled == 0 {
		asked := l.now
		leader.propose("meanwhile").ends(l)
		slowest = max(slowest, time.Duration(l.now-asked))
		l.advance(labElectionTimeout / 10)
		if l.now > began.Add(time.Minute) {
			t.Fatal("it does not arrive")
		}
	}
	took := time.Duration(l.now - began)
	if least := time.Duration(p.size) * time.Second / rate * 9 / 10; took < least {
		t.Errorf("%d bytes went in %v: that takes %v", p.size, took, least)
	}
	if strings.Contains(l.log.String(), "did not take a snapshot") || p.bytes > p.size+windowPieces*16<<10 {
		t.Errorf("%d bytes were sent of a snapshot of %d", p.bytes, p.size)
	}
	if slowest > labElectionTimeout/10 {
		t.Errorf("a write took %v meanwhile", slowest)
	}
	if now := leader.group.Leadership(); now.Role != raft.Leader {
		t.Errorf("it does not lead any more: %v", now)
	}
	l.sameJournals()
}

// untilStep takes single steps until done reports true.
func (l *lab) untilStep(what string, done func() bool) {
	l.t.Helper()
	for end := l.now.Add(10 * time.Second); !done(); {
		if !l.step() {
			l.advance(time.Millisecond)
		}
		if l.now > end {
			l.t.Fatalf("not within ten seconds: %s", what)
		}
	}
}
