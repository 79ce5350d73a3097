package transport

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// quietNow fails where anything is told though nothing should be.
func (r *recorder) quietNow() {
	r.t.Helper()
	synctest.Wait()
	for len(r.events) > 0 {
		r.t.Errorf("%v was told", <-r.events)
	}
}

func sendFrame(t *testing.T, conn net.Conn, frame []byte) {
	t.Helper()
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
}

func TestANewerConnectionReplacesTheOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		_, atB, _ := n.member(t, 2, []raft.MemberID{1}, nil)
		older, _ := n.say(t, address(2), helloOf(testIdentity(1), 2))
		sendFrame(t, older, frameOf(frameData, []byte("older")))
		newer, _ := n.say(t, address(2), helloOf(testIdentity(1), 2))
		defer newer.Close()
		sendFrame(t, newer, frameOf(frameData, []byte("newer")))
		swallow(older) // it ends
		if _, err := older.Write(frameOf(frameData, []byte("late"))); err == nil {
			t.Error("the older connection still takes frames")
		}
		for _, want := range []string{"older", "", "newer"} {
			if e := atB.next(); string(e.frame) != want || (want == "") != (e.what == "broken") || e.refused {
				t.Errorf("%v, want frame %q or the older connection's end", e, want)
			}
		}
		atB.quietNow()
	})
}

// TestE54NothingIsSentAgainOnTheNextConnection: what waited when a connection broke is lost, not sent later.
func TestE54NothingIsSentAgainOnTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		accepting := answer{card: card{dialect: ours, Identity: testIdentity(2)}, version: 1}
		conns := n.listenRaw(t, address(2), func(hello) answer { return accepting })
		a, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		first := <-conns
		for i := range uint64(10) { // one is being written, for the pipe holds nothing; nine wait
			if !a.Send(2, numbered(i, 100)) {
				t.Fatal("a frame was dropped")
			}
		}
		synctest.Wait()
		_ = first.Close()
		atA.await("broken", 2)
		atA.await("connected", 2)
		a.Send(2, numbered(77, 100))
		second := <-conns
		defer second.Close()
		frames := newFrameReader(second, readBuffer, 1000)
		for {
			kind, body, err := frames.next()
			if err != nil {
				t.Fatal(err)
			}
			if kind == frameData {
				if got := number(t, body); got != 77 {
					t.Errorf("frame %d came over the connection after the one that it was sent on", got)
				}
				break
			}
		}
		if s := a.Stats().Peers[0]; s.Dropped != 10 || s.Breaks != 1 {
			t.Errorf("%d frames were lost and %d connections broke, want 10 and 1", s.Dropped, s.Breaks)
		}
	})
}

func TestAProcessThatDiesIsToldOnceAndAsRefusing(t *testing.T) {
	pairInBubble(t, func(t *testing.T, _ *pipes, a, b *TCP, atA, _ *recorder) {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if e := atA.next(); e.what != "broken" || !e.refused {
			t.Errorf("%v, want broken and refused", e)
		}
		if waited := time.Since(before); waited > 10*time.Millisecond {
			t.Errorf("it took %v, though the redial is refused at once", waited)
		}
		pass(time.Minute)
		atA.quietNow()
		if tries := a.Stats().Peers[0].FailedDials; tries < 20 || tries > 100 {
			t.Errorf("%d attempts in a minute", tries)
		}
	})
}

// dyingListener takes one more connection and resets it before it refuses, as a kernel does that closes a killed process's files.
func TestAProcessThatIsJustDyingIsStillToldAsRefusing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		l := n.listen(address(2))
		connected, died := make(chan net.Conn), make(chan struct{})
		go func() {
			conn, _ := l.Accept()
			h, _ := readHello(conn)
			a := answer{card: card{dialect: ours, Identity: testIdentity(h.to)}, version: 1}
			_, _ = conn.Write(a.encode())
			connected <- conn
			conn, _ = l.Accept()
			_ = conn.Close()
			_ = l.Close()
			close(died)
		}()
		_, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		_ = (<-connected).Close()
		if e := atA.next(); e.what != "broken" || !e.refused {
			t.Errorf("%v, want broken and refused", e)
		}
		<-died
		atA.quietNow()
	})
}

// TestAHostThatCannotBeReachedIsNotSaidToRefuse: it does not answer at all, or the network says that there is no way to it.
func TestAHostThatCannotBeReachedIsNotSaidToRefuse(t *testing.T) {
	for name, change := range map[string]func(*pipes){
		"silence": func(n *pipes) { n.listeners[address(2)] = &pipeListener{network: n, address: address(2)} },
		"no way":  func(n *pipes) { n.lost = syscall.EHOSTUNREACH },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newPipes()
				conns := n.listenRaw(t, address(2), acceptingAs(2))
				_, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
				atA.await("connected", 2)
				n.mu.Lock()
				change(n)
				n.mu.Unlock()
				_ = (<-conns).Close()
				before := time.Now()
				if e := atA.next(); e.what != "broken" || e.refused {
					t.Errorf("%v, want broken and not refused", e)
				}
				redial := Timing.orDefaults(Timing{}).Redial
				bound(t, "telling it", time.Since(before), redial, redial)
			})
		})
	}
}

func TestOneDirectionsBreakIsToldAndTheOtherLivesOn(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		a.Send(2, numbered(1, 10))
		atB.await("received", 1)
		since := a.Stats().Peers[0].ConnectedSince
		pass(time.Millisecond)
		p := b.peer(1)
		p.mu.Lock()
		_ = p.link.conn.Close() // what 2 says to 1
		p.mu.Unlock()
		for _, r := range []*recorder{atA, atB} {
			if e := r.next(); e.what != "broken" || e.refused {
				t.Errorf("%v, want broken and not refused", e)
			}
			if e := r.next(); e.what != "connected" {
				t.Errorf("%v, want connected", e)
			}
			r.quietNow()
		}
		if again := a.Stats().Peers[0].ConnectedSince; again != since {
			t.Error("the connection that had not broken was made again")
		}
	})
}

// TestAnOldAnswerProvesNothing: after a break the other connection is alive if a ping is answered that was sent since.
func TestAnOldAnswerProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		conns := n.listenRaw(t, address(2), acceptingAs(2))
		_, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		atA.await("connected", 2)
		out := <-conns
		defer out.Close()
		frames := newFrameReader(out, 256, 100)
		ping := func() []byte {
			for {
				kind, body, err := frames.next()
				if err != nil {
					t.Fatal(err)
				}
				if kind == framePing {
					return bytes.Clone(body)
				}
			}
		}
		before := ping()
		pass(time.Millisecond)
		in, _ := n.say(t, address(1), helloOf(testIdentity(2), 1))
		pass(time.Millisecond)
		_ = in.Close()
		after := ping()
		sendFrame(t, out, frameOf(framePong, before))
		pass(time.Millisecond)
		atA.quietNow()
		sendFrame(t, out, frameOf(framePong, after))
		for _, want := range []string{"broken", "connected"} {
			if e := atA.next(); e.what != want {
				t.Errorf("%v, want %s", e, want)
			}
		}
	})
}

func TestPeersComeAndGo(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		a.RemovePeer(2)
		if e := atA.next(); e.what != "broken" || e.refused {
			t.Errorf("at the remover: %v", e)
		}
		if a.Send(2, numbered(1, 8)) {
			t.Error("a frame for a removed peer was taken")
		}
		atB.await("broken", 1)
		pass(10 * time.Second)
		atA.quietNow()
		if trouble := b.Stats().Peers[0].Trouble; !strings.Contains(trouble, "not a member") {
			t.Errorf("the removed peer knows of the trouble %q", trouble)
		}
		if err := a.AddPeer(2, []string{"http://" + address(2)}); err != nil {
			t.Fatal(err)
		}
		atA.await("connected", 2)
		atB.await("connected", 1)
		a.RemovePeer(2)
		a.RemovePeer(2)
		if err := a.AddPeer(2, []string{"http://" + address(2)}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"broken", "connected"} { // what concerns the former one first
			if e := atA.next(); e.what != want {
				t.Errorf("%v, want %s", e, want)
			}
		}
		if a.mu.Lock(); len(a.leaving) > 0 {
			t.Error("a peer that is gone is still remembered")
		}
		a.mu.Unlock()
	})
}

func TestAPeerThatMovesIsFollowed(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		elsewhere := n.listen("elsewhere:1")
		b.running.Go(func() { b.accept(elsewhere) })
		defer elsewhere.Close()
		if err := a.SetPeerURLs(2, []string{"http://elsewhere:1", "http://" + address(2)}); err != nil {
			t.Fatal(err)
		}
		atA.quietNow() // the URL in use is still one of them
		if err := a.SetPeerURLs(2, []string{"http://nowhere:1", "http://elsewhere:1"}); err != nil {
			t.Fatal(err)
		}
		atA.await("broken", 2)
		atA.await("connected", 2)
		if url := a.Stats().Peers[0].URL; url != "http://elsewhere:1" {
			t.Errorf("connected at %s", url)
		}
		a.Send(2, numbered(1, 10))
		atB.await("received", 1)
	})
}

func TestWhatMakesNoSenseToTheReceiverEndsTheConnection(t *testing.T) {
	pairInBubble(t, func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder) {
		b.Reject(1, errors.New("packet of kind 99"))
		b.Reject(9, errors.New("nobody"))
		atB.await("broken", 1)
		atA.await("broken", 2)
		atA.await("connected", 2)
		if s := b.Stats(); s.Malformed != 1 {
			t.Errorf("%d connections ended as malformed, want 1", s.Malformed)
		}
		a.Send(2, numbered(1, 10))
		atB.await("received", 1)
	})
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, config := range map[string]TCPConfig{
		"no member":     {},
		"hasty to bury": {Self: testIdentity(1), Timing: Timing{Ping: time.Second, Dead: time.Second}},
	} {
		if _, err := NewTCP(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	tr, err := NewTCP(TCPConfig{Self: testIdentity(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"oneself":        tr.AddPeer(1, []string{"http://a:1"}),
		"nobody":         tr.AddPeer(0, []string{"http://a:1"}),
		"no URL":         tr.AddPeer(2, nil),
		"https and none": tr.AddPeer(2, []string{"https://a:1"}),
		"unknown":        tr.SetPeerURLs(2, []string{"http://a:1"}),
		"once":           errors.Join(tr.AddPeer(3, []string{"http://a:1"}), tr.AddPeer(3, []string{"http://a:1"})),
		"no scheme":      tr.SetPeerURLs(3, []string{"a:1"}),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	tr.RemovePeer(3)
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := tr.AddPeer(2, []string{"http://a:1"}); !errors.Is(err, ErrClosed) {
		t.Errorf("a peer of a closed transport: %v", err)
	}
	tr.SetReceiver(newRecorder(t))
}
