package transport

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// mustSendBulk sends a frame that must be taken.
func mustSendBulk(t *testing.T, from Transport, to raft.MemberID, parts [][]byte) {
	t.Helper()
	if !from.SendBulk(to, parts) {
		t.Fatalf("%d bytes of bulk were dropped", sizeOf(parts))
	}
}

func conformBulkOrder(t *testing.T, open func(*testing.T, Limits) network) {
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
func conformBulkApart(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{QueueBytes: 1 << 30, BulkQueueBytes: 1 << 20}))
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

func conformBulkFull(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{QueueBytes: 1 << 30, BulkQueueBytes: 1 << 20}))
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
func conformBulkBreak(t *testing.T, open func(*testing.T, Limits) network) {
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

// TestTheBulkLaneIsConnectedWhileItIsUsed: the first frame dials; a minute without any hangs up, which is no trouble.
func TestTheBulkLaneIsConnectedWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		a, atA, logA := n.member(t, 1, []raft.MemberID{2}, nil)
		b, atB, logB := n.member(t, 2, []raft.MemberID{1}, nil)
		atA.await("connected", 2)
		atB.await("connected", 1)
		pass(time.Hour)
		before := n.dialled()
		for round := range 3 {
			mustSendBulk(t, a, 2, numbered(uint64(round), 100))
			if e := atB.nextBulk(); number(t, e.frame) != uint64(round) {
				t.Errorf("%v in place of frame %d", e, round)
			}
			pass(bulkRest - 2*time.Second)
			mustSendBulk(t, a, 2, numbered(100, 100)) // its time begins anew
			atB.nextBulk()
			pass(bulkRest - 2*time.Second)
			if a.Stats().Peers[0].Bulk.ConnectedSince.IsZero() || b.Stats().Peers[0].Bulk.ReceivingSince.IsZero() {
				t.Error("it was closed before a minute had passed without use")
			}
			pass(4 * time.Second)
			if got := n.dialled() - before; got != round+1 {
				t.Errorf("%d dials after %d uses", got, round+1)
			}
		}
		for _, tr := range []*TCP{a, b} {
			s := tr.Stats().Peers[0].Bulk
			if !s.ConnectedSince.IsZero() || !s.ReceivingSince.IsZero() || s.Trouble != "" || s.Breaks != 0 || s.Dropped != 0 {
				t.Errorf("after the bulk lane came to rest: %+v", s)
			}
		}
		if logA.count("WARN")+logB.count("WARN") > 0 {
			t.Error("it was logged as trouble that a lane is at rest")
		}
		atA.quietNow()
		atB.quietNow()
	})
}

// TestAFrameForALaneThatComesToRestWaits: it was taken after the connection had been found unused, and leaves by the next one.
func TestAFrameForALaneThatComesToRestWaits(t *testing.T) {
	a, err := NewTCP(TCPConfig{Self: testIdentity(1)})
	if err == nil {
		err = a.AddPeer(2, []string{"http://a:1"})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, a)
	bulk := a.peer(2).bulk
	bulk.link = &outgoing{}
	if !bulk.enqueue(numbered(1, 8)) {
		t.Fatal("it was dropped")
	}
	bulk.rested()
	if bulk.present() != nil || len(bulk.queue) != 1 || !bulk.wanted() {
		t.Error("the frame was lost, or nothing will be dialled for it")
	}
}

// TestABulkLaneThatCannotBeMade has a row for each way in which a peer that takes our messages does not get our bulk. It is dropped,
// nobody waits for it, and messages go on.
func TestABulkLaneThatCannotBeMade(t *testing.T) {
	for _, row := range []struct {
		name, text string
		change     func(*answer)
	}{
		{"an older build", "streams of kind 2", func(a *answer) { a.reason, a.text = ReasonStream, "streams of kind 2 are not known" }},
		{"not the one that messages met", "its disk was wiped or swapped", func(a *answer) { a.DataDir[0] = 99 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newPipes()
				conns := n.listenRaw(t, address(2), func(h hello) answer {
					a := acceptingAs(2)(h)
					if h.stream == streamBulk {
						row.change(&a)
					}
					return a
				})
				a, atA, log := n.member(t, 1, []raft.MemberID{2}, nil)
				atA.await("connected", 2)
				go answerPings(<-conns, 1000)
				for i := range uint64(3) {
					mustSendBulk(t, a, 2, numbered(i, 100))
					pass(10 * time.Second)
				}
				s := a.Stats().Peers[0]
				if s.Bulk.Dropped != 3 || s.Bulk.FailedDials != 3 || s.Bulk.QueuedFrames != 0 || s.Trouble != "" {
					t.Errorf("%+v, bulk %+v", s, s.Bulk)
				}
				if got := log.count(row.text); got != 1 {
					t.Errorf("it was logged %d times why there is no bulk", got)
				}
				atA.quietNow()
			})
		})
	}
}

// TestBulkSaysNothingOfThePeersLife: its connection breaks and every redial is refused, while messages have theirs.
func TestBulkSaysNothingOfThePeersLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		a, atA, _ := n.member(t, 1, []raft.MemberID{2}, func(c *TCPConfig) {
			c.OnRoundTrip = func(raft.MemberID, time.Duration) { t.Error("a ping on the bulk lane was taken for a measure") }
		})
		atA.await("connected", 2)
		go swallow(<-conns)
		mustSendBulk(t, a, 2, numbered(1, 100))
		bulk := <-conns
		go answerPings(bulk, 1000)
		pass(2 * time.Second)
		n.mu.Lock()
		delete(n.listeners, address(2))
		n.mu.Unlock()
		_ = bulk.Close()
		synctest.Wait()
		mustSendBulk(t, a, 2, numbered(2, 100))
		pass(time.Second)
		if s := a.Stats().Peers[0].Bulk; s.Breaks != 1 || s.FailedDials == 0 {
			t.Errorf("the bulk lane did not break as the test wants it: %+v", s)
		}
		atA.quietNow()
	})
}

func TestBulkThatMakesNoSenseToTheReceiverEndsItsConnectionAlone(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		mustSendBulk(t, a, 2, numbered(1, 100))
		atB.nextBulk()
		b.RejectBulk(1, errors.New("a piece of another's snapshot"))
		b.RejectBulk(9, errors.New("nobody"))
		synctest.Wait()
		if s := b.Stats(); s.Malformed != 1 || !s.Peers[0].Bulk.ReceivingSince.IsZero() {
			t.Errorf("%d connections ended as malformed, want the one", s.Malformed)
		}
		atA.quietNow()
		atB.quietNow()
		mustSendBulk(t, a, 2, numbered(2, 100))
		atB.nextBulk()
	})
}

// TestARemovedPeersBulkLaneEndsWithIt: where the peer is added again at once, nothing is told about the new one as long as a frame
// of the former one's bulk is being handed over.
func TestARemovedPeersBulkLaneEndsWithIt(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		stalled := make(chan struct{})
		atA.stallBulk.Store(&stalled)
		mustSendBulk(t, b, 1, numbered(1, 100))
		synctest.Wait()
		former := a.peer(2)
		a.RemovePeer(2)
		if a.SendBulk(2, numbered(9, 8)) {
			t.Error("bulk for a removed peer was taken")
		}
		if err := a.AddPeer(2, []string{"http://" + address(2)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !b.Stats().Peers[0].Bulk.ReceivingSince.IsZero() {
			t.Error("the connection for bulk outlasts the peer")
		}
		again := a.peer(2)
		if over(former.ended) || over(again.ready) || over(again.bulk.ready) {
			t.Error("a peer was taken for gone while a frame of its bulk was being handed over")
		}
		close(stalled)
		synctest.Wait()
		if !over(former.ended) || !over(again.ready) || !over(again.bulk.ready) {
			t.Error("a peer whose last frame of bulk was handed over is not gone")
		}
	})
}

func over(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
