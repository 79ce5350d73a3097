package sim

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/store"
)

// TestE40PausedLeaderServesNoStaleRead stops a leader in the middle of a read, at many moments and for 1 ms to 60 s.
// Meanwhile another one leads and acknowledges a write, if there is time for that: in every other run leadership was being transferred, so
// that there is. Then the first goes on, knowing nothing of it: what waits in its sockets is read a little later. No read that is begun
// after that write is answered with what was there before. E42 is here too: hosts know no clock but the scheduler's.
//
// Seen to fail with settleReads answering at once, also in a group of three.
func TestE40PausedLeaderServesNoStaleRead(t *testing.T) {
	written := 0
	for seed := uint64(1); seed <= 60; seed++ {
		if pausedRead(t, seed) {
			written++
		}
	}
	if written < 20 {
		t.Errorf("only in %d of 60 runs was there a write while the old leader was stopped", written)
	}
}

func pausedRead(t *testing.T, seed uint64) (written bool) {
	w := NewWorld(seed)
	c, err := NewCluster(w, Options{Members: 3, ElectionTimeout: 50 * time.Millisecond, NewState: NewStoreState})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartAll(); err != nil {
		t.Fatal(err)
	}
	put := func(h *Host, value string, done func()) {
		entry, err := store.EncodePut(&pb.PutRequest{Key: []byte("k"), Value: []byte(value)})
		if err != nil {
			t.Fatal(err)
		}
		h.Group.ProposeEntry(entry, time.Second, func(_ balsa.Result, err error) {
			if err == nil {
				done()
			}
		})
	}
	first := false
	if err := w.RunUntil(10*time.Second, func() bool { return c.Leader() != nil }); err != nil {
		t.Fatal(err)
	}
	old := c.Leader()
	put(old, "old", func() { first = true })
	if err := w.RunUntil(10*time.Second, func() bool { return first }); err != nil {
		t.Fatal(err)
	}

	read := func() {
		begun := written
		old.Group.ReadAsync(func(_ balsa.Index, err error) {
			if err != nil {
				return
			}
			r, err := old.State.(*StoreState).Range(context.Background(), &pb.RangeRequest{Key: []byte("k")})
			if err != nil {
				t.Fatal(err)
			}
			if value := string(r.Kvs[0].Value); begun && value != "new" {
				t.Errorf("seed %d: a read that began after the write of new answered %s", seed, value)
			}
		})
	}
	read()
	pause := w.Between(10*time.Millisecond, time.Second)
	if seed%2 == 0 {
		old.Group.TransferAsync(c.Hosts[int(old.ID)%3].ID, func(error) {})
		pause = w.Between(time.Millisecond, 40*time.Millisecond)
	}
	w.Run(w.Between(0, 2*time.Millisecond)) // in the middle of it
	old.Pause()
	if w.Chance(10) {
		pause = w.Between(time.Second, time.Minute)
	}
	asked := false
	for end := w.Now().Add(pause); w.Now() < end; w.Step() {
		if l := c.Leader(); l != nil && l != old && !asked {
			asked = true
			put(l, "new", func() { written = true })
		}
	}
	read() // registered with a leader that does not know yet what it missed
	old.Resume()
	for range 20 {
		read()
		w.Run(w.Between(0, 5*time.Millisecond))
	}
	w.Run(time.Second)
	return written
}
