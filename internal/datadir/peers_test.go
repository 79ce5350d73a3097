package datadir

import (
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// What was promised to be durable survives a power cut; what was only noted does once some seconds have passed, or the register was closed.
func TestE21PeersAreRememberedAcrossPowerCuts(t *testing.T) {
	fsys, now := vfs.NewMem(), time.Unix(1000, 0)
	clock := func() time.Time { return now }
	cut := func() *Peers {
		t.Helper()
		fsys = fsys.PowerCut(nil)
		p, warning, err := OpenPeers(fsys, clock)
		if err != nil || warning != nil {
			t.Fatal(err, warning)
		}
		return p
	}
	p := cut()
	met := transport.Acquaintance{Life: 1, DataDir: [16]byte{7}, Progress: 10}
	if err := p.Remember(5, met, true); err != nil {
		t.Fatal(err)
	}
	further := met
	further.Progress = 20
	if err := p.Remember(5, further, false); err != nil {
		t.Fatal(err)
	}
	if got, ok := p.Recall(5); !ok || got != further {
		t.Errorf("%+v, %v", got, ok)
	}
	p = cut()
	if got, ok := p.Recall(5); !ok || got != met {
		t.Errorf("after a power cut: %+v, %v", got, ok)
	}
	for _, member := range []raft.MemberID{6, 7} { // the second one within the seconds in which others are only noted
		if err := p.Remember(member, met, true); err != nil {
			t.Fatal(err)
		}
	}
	p = cut()
	if _, ok := p.Recall(7); !ok {
		t.Error("who was met for the first time is forgotten")
	}
	now = now.Add(notedEvery)
	further.Progress = 30
	if err := p.Remember(5, further, false); err != nil {
		t.Fatal(err)
	}
	p = cut()
	if got, _ := p.Recall(5); got != further {
		t.Errorf("after some seconds and a power cut: %+v", got)
	}
	further.Progress = 40
	for range 2 { // the first one after a start is written at once
		further.Progress++
		if err := p.Remember(5, further, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := cut().Recall(5); got != further {
		t.Errorf("after it was closed and a power cut: %+v", got)
	}
	fsys.Flip(peersName, 20, 1)
	p, warning, err := OpenPeers(fsys, clock)
	if err != nil || warning == nil {
		t.Fatalf("a damaged file: %v, %v", warning, err)
	}
	if _, ok := p.Recall(5); ok {
		t.Error("what a damaged file says is believed")
	}
	cut()
}
