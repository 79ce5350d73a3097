package transport

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// TestE21ARestartedProcessIsLetInAtOnce: the end of the former process was seen, so that nobody waits for a sign of life of it.
func TestE21ARestartedProcessIsLetInAtOnce(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, _ *recorder) {
		for range 3 {
			before := time.Now()
			_ = b.Close()
			var again *recorder
			b, again, _ = n.member(t, 2, []raft.MemberID{1}, nil)
			again.await("connected", 1)
			atA.await("connected", 2)
			synctest.Wait()
			bound(t, "coming back", time.Since(before), 0, 200*time.Millisecond)
		}
		if refused := a.Stats().Refused; refused > 3 {
			t.Errorf("%d handshakes of a process that had the member for itself were refused", refused)
		}
	})
}

// TestE21AProcessThatWasLostWithItsHostIsSucceeded: no end of the former process is seen, and it answers no ping. Its successor is let in as soon as
// it has not, and is not sent to over the connection that leads nowhere.
func TestE21AProcessThatWasLostWithItsHostIsSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), func(hello) answer {
			a := acceptingAs(2)(hello{})
			a.boot = 1
			return a
		})
		_, atA, log := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		h := helloOf(testIdentity(2), 1)
		h.boot = 1
		incoming, said := n.say(t, address(1), h)
		if said.reason != accepted {
			t.Fatalf("the first process is refused: %v", said.reason)
		}
		go swallow(incoming)
		go answerPings(<-conns, 3)
		pass(2500 * time.Millisecond)

		before := time.Now()
		_, at2, _ := n.member(t, 2, []raft.MemberID{1}, nil)
		if e := atA.next(); e.what != "broken" {
			t.Errorf("%v, want broken", e)
		}
		atA.await("connected", 2)
		at2.await("connected", 1)
		bound(t, "taking its place", time.Since(before), time.Second, 1600*time.Millisecond)
		if log.count("took its place") == 0 {
			t.Error("it was not logged why the former connections ended")
		}
	})
}

// TestE21OfTwoProcessesThatLiveTheFirstStays: however often the second one says hello, and however long.
func TestE21OfTwoProcessesThatLiveTheFirstStays(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, _, _ *recorder) {
		copied := helloOf(testIdentity(2), 1)
		copied.boot = b.boot + 2
		for range 3000 {
			conn, said := n.say(t, address(1), copied)
			_ = conn.Close()
			if said.reason != ReasonTwice {
				t.Fatalf("a second process is told %v, want %v", said.reason, ReasonTwice)
			}
			pass(10 * time.Millisecond)
		}
		for _, host := range []*TCP{a, b} {
			if s := host.Stats().Peers[0]; s.Breaks != 0 || s.ConnectedSince.IsZero() || s.ReceivingSince.IsZero() {
				t.Errorf("the first process was disturbed: %+v", s)
			}
		}
	})
}
