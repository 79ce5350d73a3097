package transport

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

func acceptingAs(id raft.MemberID) func(hello) answer {
	return func(hello) answer { return answer{card: card{dialect: ours, Identity: testIdentity(id)}, version: 1} }
}

// answerPings answers n pings of a connection, and then reads on without a word.
func answerPings(conn net.Conn, n int) {
	frames := newFrameReader(conn, readBuffer, 100<<20)
	for {
		kind, body, err := frames.next()
		if err != nil {
			return
		}
		if kind == framePing && n > 0 {
			n--
			if _, err := conn.Write(frameOf(framePong, body)); err != nil {
				return
			}
		}
	}
}

// bound fails where something that takes about as long as wanted took much longer or shorter.
func bound(t *testing.T, what string, took, atLeast, atMost time.Duration) {
	t.Helper()
	if took < atLeast || took > atMost {
		t.Errorf("%s took %v, want %v to %v", what, took, atLeast, atMost)
	}
}

// TestAConnectionThatIsOpenButDeadIsMadeAgain: the peer takes what it is sent, and does not answer.
func TestAConnectionThatIsOpenButDeadIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		a, atA, log := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		go answerPings(<-conns, 3)
		before := time.Now()
		if e := atA.next(); e.what != "broken" || e.refused {
			t.Errorf("%v, want broken and not refused", e)
		}
		bound(t, "noticing", time.Since(before), 2*time.Second+5*time.Second, 2*time.Second+7*time.Second)
		atA.await("connected", 2)
		go answerPings(<-conns, 1000)
		if log.count("no sign of life") != 1 {
			t.Error("it was not logged once why the connection was given up")
		}
		pass(time.Minute)
		if s := a.Stats().Peers[0]; s.Breaks != 1 {
			t.Errorf("a connection whose pings are answered broke: %+v", s)
		}
	})
}

// TestAPeerThatStopsReadingIsGivenUp: a write hangs, as it does when a process is stopped and its buffers are full.
func TestAPeerThatStopsReadingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		a, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		before := time.Now()
		a.Send(2, numbered(1, 1000))
		atA.await("broken", 2)
		bound(t, "noticing", time.Since(before), 3*time.Second, 7*time.Second)
		_ = (<-conns).Close()
	})
}

// TestASlowPeerIsNotADeadOne: a large frame takes longer than the silence that is allowed, but it moves.
func TestASlowPeerIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		a, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		conn, done := <-conns, make(chan struct{})
		go func() {
			defer close(done)
			buffer := make([]byte, 256<<10)
			for {
				if _, err := io.ReadFull(conn, buffer); err != nil {
					return
				}
				<-time.After(time.Second / 2) // half a megabyte a second: 40 s for the frame
			}
		}()
		a.Send(2, [][]byte{make([]byte, 20<<20)})
		pass(43 * time.Second) // pings are not answered, but the peer was seen to take something a moment ago
		if s := a.Stats().Peers[0]; s.Breaks != 0 || s.SentFrames != 1 || s.QueuedFrames != 0 {
			t.Errorf("the connection was given up although the frame was on its way: %+v", s)
		}
		_ = conn.Close()
		atA.await("broken", 2)
		<-done
	})
}

// TestASilentIncomingConnectionEnds: a peer that is alive pings; this one's host is gone without a word.
func TestASilentIncomingConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		_, atB, _ := n.member(t, 2, []raft.MemberID{1}, nil)
		conn, _ := n.say(t, address(2), helloOf(testIdentity(1), 2))
		before := time.Now()
		atB.await("broken", 1)
		bound(t, "noticing", time.Since(before), 5*time.Second, 5200*time.Millisecond)
		_ = conn.Close()

		patient := helloOf(testIdentity(1), 2) // one that pings more seldom is given more time
		patient.ping = 10 * time.Second
		conn, _ = n.say(t, address(2), patient)
		before = time.Now()
		atB.await("broken", 1)
		bound(t, "noticing the patient one", time.Since(before), 30*time.Second, 30200*time.Millisecond)
		_ = conn.Close()
	})
}

// TestWhoSaysNothingIsNotWaitedForLong: strangers, and peers whose handshake hangs, in both directions.
func TestWhoSaysNothingIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		silent := n.listen(address(1))
		defer silent.Close()
		b, _, log := n.member(t, 2, []raft.MemberID{1}, nil)
		before := time.Now()
		dialled, _ := silent.Accept() // and no answer
		go swallow(dialled)
		conn, err := n.dial(t.Context(), "tcp", address(2)) // and no hello
		if err != nil {
			t.Fatal(err)
		}
		swallow(conn)
		bound(t, "closing on a stranger", time.Since(before), 5*time.Second, 5*time.Second)
		again, _ := silent.Accept()
		bound(t, "dialling again", time.Since(before), 5*time.Second, 6*time.Second)
		_ = again.Close()
		if s := b.Stats(); s.Strangers != 1 || s.Malformed != 0 || log.count("made no handshake") != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestRedialsAreSpacedAndNotInStep: the first follows at once, later ones ever more seldom.
func TestRedialsAreSpacedAndNotInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		n.member(t, 1, []raft.MemberID{2}, nil)
		var at []time.Duration
		start := time.Now()
		synctest.Wait()
		for last := 0; time.Since(start) < 30*time.Second; pass(time.Millisecond) {
			if now := n.dialled(); now > last {
				at, last = append(at, time.Since(start)), now
			}
		}
		if at[0] > 0 {
			t.Errorf("the first attempt came after %v", at[0])
		}
		if len(at) < 20 || len(at) > 45 {
			t.Errorf("%d attempts in 30 s", len(at))
		}
		same := 0
		for i := 2; i < len(at); i++ {
			if at[i]-at[i-1] == at[i-1]-at[i-2] {
				same++
			}
			if pause := at[i] - at[i-1]; pause > maxPause+time.Millisecond {
				t.Errorf("a pause of %v", pause)
			}
		}
		if same > len(at)/4 {
			t.Errorf("%d of %d pauses are equal to the one before: there is no jitter", same, len(at))
		}
	})
}

// TestAllURLsAreTried: the peer listens at the last one only.
func TestAllURLsAreTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		a, atA, _ := n.member(t, 1, nil, nil)
		if err := a.AddPeer(2, []string{"http://nowhere:1", "http://nobody:1", "http://" + address(2)}); err != nil {
			t.Fatal(err)
		}
		atA.await("connected", 2)
		if n.dialled() != 3 {
			t.Errorf("%d dials, want 3", n.dialled())
		}
		_ = (<-conns).Close()
		atA.await("connected", 2)
		if n.dialled() != 4 {
			t.Errorf("%d dials: the URL that worked is tried first", n.dialled())
		}
		_ = (<-conns).Close()
	})
}

// TestAPongForNoPingIsMalformed: a peer that answers what was never asked is not a peer.
func TestAPongForNoPingIsMalformed(t *testing.T) {
	for name, frame := range map[string][]byte{
		"of the future": frameOf(framePong, []byte{0, 0, 0, 0, 0, 0, 0, 1}),
		"before time":   frameOf(framePong, []byte{0, 0, 0, 0, 0, 0, 0, 0x80}),
		"data":          frameOf(frameData, []byte("12345678")),
		"a ping":        frameOf(framePing, []byte("12345678")),
		"noise":         []byte(strings.Repeat("noise", 5)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newPipes()
				conns := n.listenRaw(t, address(2), acceptingAs(2))
				a, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
				atA.await("connected", 2)
				conn := <-conns
				go swallow(conn)
				sendFrame(t, conn, frame)
				atA.await("broken", 2)
				if s := a.Stats(); s.Malformed != 1 {
					t.Errorf("%d malformed, want 1", s.Malformed)
				}
				atA.await("connected", 2)
				_ = (<-conns).Close()
			})
		})
	}
}
