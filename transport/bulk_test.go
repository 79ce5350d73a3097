package transport

import (
	"sync"
	"testing"

	"github.com/balsadb/balsa/raft"
)

// bulkConformance is what the bulk lane promises.
func bulkConformance(t *testing.T, open func(*testing.T, Limits) bulkNetwork) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T, Limits) bulkNetwork)
	}{
		{"BulkArrivesWholeAndInOrder", conformBulkOrder},
		{"BulkDelaysNoMessage", conformBulkApart},
		{"AFullBulkQueueDropsAndSaysSo", conformBulkFull},
		{"ABulkLaneThatBreaksIsNotTold", conformBulkBreak},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// bulkNetwork can break the bulk lane alone.
type bulkNetwork interface {
	network
	// severBulk ends the connections between two members on the bulk lane, and returns when they have ended.
	severBulk(a, b raft.MemberID)
}

func TestMemoryConformsWithBulk(t *testing.T) {
	bulkConformance(t, func(_ *testing.T, limits Limits) bulkNetwork { return memoryNetwork{NewMemory(limits)} })
}

// mustSendBulk sends a frame that must be taken.
func mustSendBulk(t *testing.T, from Transport, to raft.MemberID, parts [][]byte) {
	t.Helper()
	if !from.SendBulk(to, parts) {
		t.Fatalf("%d bytes of bulk were dropped", sizeOf(parts))
	}
}

func conformBulkOrder(t *testing.T, open func(*testing.T, Limits) bulkNetwork) {
	a, b, atA, atB := pair(t, open(t, Limits{}))
	for i, size := range []int{8, 256 << 10, 9, 1 << 20, 4096} {
		mustSendBulk(t, a, 2, numbered(uint64(i), size))
		mustSendBulk(t, b, 1, numbered(uint64(i), size))
	}
	for i := range uint64(5) {
		for at, r := range map[raft.MemberID]*recorder{1: atA, 2: atB} {
			if e := r.nextBulk(); number(t, e.frame) != i || e.peer != 3-at {
				t.Fatalf("%v in place of frame %d", e, i)
			}
		}
	}
	for _, to := range []raft.MemberID{1, 9} {
		if a.SendBulk(to, numbered(1, 8)) {
			t.Errorf("bulk for member %d was taken", to)
		}
	}
	closeAll(t, b)
	atA.await("broken", 2)
	if a.SendBulk(2, numbered(1, 8)) {
		t.Error("bulk for a member that is gone was taken")
	}
	if b.SendBulk(1, numbered(1, 8)) {
		t.Error("a closed transport took bulk")
	}
}

// conformBulkApart: while the bulk lane is full and its receiver hangs, messages go their way.
func conformBulkApart(t *testing.T, open func(*testing.T, Limits) bulkNetwork) {
	a, _, _, atB := pair(t, open(t, Limits{BulkQueueBytes: 1 << 20}))
	stalled := make(chan struct{})
	atB.stallBulk.Store(&stalled)
	defer close(stalled)
	for i := uint64(0); a.SendBulk(2, numbered(i, 64<<10)); i++ {
	}
	for i := range uint64(100) {
		if !a.Send(2, numbered(i, 100)) {
			t.Fatalf("message %d was dropped", i)
		}
		if e := atB.next(); e.what != "received" || number(t, e.frame) != i {
			t.Fatalf("%v in place of message %d", e, i)
		}
	}
}

func conformBulkFull(t *testing.T, open func(*testing.T, Limits) bulkNetwork) {
	a, _, _, atB := pair(t, open(t, Limits{BulkQueueBytes: 1 << 20}))
	stalled := make(chan struct{})
	atB.stallBulk.Store(&stalled)
	release := sync.OnceFunc(func() { close(stalled) })
	defer release()
	taken := uint64(0)
	for a.SendBulk(2, numbered(taken, 64<<10)) { // sockets take some before the queue fills
		taken++
		if taken > 1000 {
			t.Fatal("64 MB of bulk are waiting, the bound is 1 MiB")
		}
	}
	release()
	for i := range taken {
		if got := number(t, atB.nextBulk().frame); got != i {
			t.Fatalf("frame %d arrived in place of %d", got, i)
		}
	}
	for !a.SendBulk(2, numbered(taken, 8)) { // the queue has room as soon as the sender has noticed
	}
	if got := number(t, atB.nextBulk().frame); got != taken {
		t.Errorf("frame %d arrived after the queue had been full, want %d", got, taken)
	}
}

// conformBulkBreak: a break of the bulk lane loses a suffix, is nobody's news, and is mended by the next frame.
func conformBulkBreak(t *testing.T, open func(*testing.T, Limits) bulkNetwork) {
	n := open(t, Limits{})
	a, _, atA, atB := pair(t, n)
	mustSendBulk(t, a, 2, numbered(0, 100))
	atB.nextBulk()
	for i := range uint64(50) {
		mustSendBulk(t, a, 2, numbered(1+i, 10<<10))
	}
	n.severBulk(1, 2)
	const mark = 1000
	mustSendBulk(t, a, 2, numbered(mark, 100))
	for next := uint64(1); ; next++ {
		select {
		case e := <-atB.bulk:
			got := number(t, e.frame)
			if got == mark {
				return
			}
			if got != next {
				t.Fatalf("frame %d in place of %d", got, next)
			}
		case e := <-atA.events:
			t.Fatalf("at the sender: %v", e)
		case e := <-atB.events:
			t.Fatalf("at the receiver: %v", e)
		}
	}
}
