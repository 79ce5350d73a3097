package transport

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// TestMalformedBytesEndTheConnectionAndNothingElse: what comes over the peer port is no reason to stop, or to forget peers.
func TestMalformedBytesEndTheConnectionAndNothingElse(t *testing.T) {
	n := openTCP(t, Limits{FrameBytes: 1000})
	a, peer, atA, atB := pair(t, n)
	b := peer.(*TCP)
	if err := b.AddPeer(3, []string{"http://nobody.invalid:1"}); err != nil { // whom the intruders pretend to be
		t.Fatal(err)
	}
	noise := make([]byte, 100)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	h := helloOf(testIdentity(3), 2)
	flipped := frameOf(frameData, []byte("body"))
	flipped[frameHeader] ^= 1
	bulk := helloOf(testIdentity(3), 2)
	bulk.stream = streamBulk
	cases := map[string][]byte{
		"a spoilt bulk frame": append(bulk.encode(), flipped...),
		"too large bulk":      append(bulk.encode(), frameOf(frameData, make([]byte, 1001))...),
		"noise":               noise,
		"an HTTP request":     []byte("POST /raft HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"half a hello":        h.encode()[:40],
		"a spoilt hello":      append(h.encode()[:helloSize+presenceSize+2], 0, 0),
		"noise after hello":   append(h.encode(), noise...),
		"a spoilt frame":      append(h.encode(), flipped...),
		"too large a frame":   append(h.encode(), frameOf(frameData, make([]byte, 1001))...),
		"a pong for no ping":  append(h.encode(), frameOf(framePong, make([]byte, 8))...),
	}
	for name, sent := range cases {
		conn, err := net.Dial("tcp", n.addresses[2])
		if err != nil {
			t.Fatalf("%s: the port is closed: %v", name, err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // until it is closed, by a reset or not
		_ = conn.Close()
	}
	if !a.Send(2, numbered(5, 100)) || number(t, atB.await("received", 1).frame) != 5 {
		t.Error("a peer's frame did not arrive afterwards")
	}
	if len(atA.events) > 0 {
		t.Errorf("a peer was disturbed: %v", <-atA.events)
	}
	if s := b.Stats(); s.Malformed != uint64(len(cases)-1) || s.Strangers != 4 { // half a hello is not malformed, but cut
		t.Errorf("%d connections ended as malformed and %d without a handshake, want %d and 4", s.Malformed, s.Strangers, len(cases)-1)
	}
}

// TestAFloodOfStrangersIsBounded: connections without a handshake do not pile up, and peers get in again afterwards.
func TestAFloodOfStrangersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		b, _, log := n.member(t, 2, []raft.MemberID{1}, nil)
		var ended sync.WaitGroup
		for range 2 * maxUnproven {
			conn, err := n.dial(t.Context(), "tcp", address(2))
			if err != nil {
				t.Fatal(err)
			}
			ended.Go(func() { swallow(conn) })
		}
		synctest.Wait()
		if got := b.Stats().Strangers; got != maxUnproven {
			t.Errorf("%d of %d strangers were sent away at once, want %d", got, 2*maxUnproven, maxUnproven)
		}
		pass(10 * time.Second)
		ended.Wait()
		if got := log.count("made no handshake"); got != 1 {
			t.Errorf("one host's strangers were logged %d times", got)
		}
		conn, a := n.say(t, address(2), helloOf(testIdentity(1), 2))
		defer conn.Close()
		if a.reason != accepted {
			t.Errorf("a peer was refused after a flood: %s", a.text)
		}
	})
}

// cutProxy passes bytes on to a member. The first connection ends, with a reset, after a number of bytes.
type cutProxy struct {
	l      net.Listener
	target string
	after  int64
	done   sync.WaitGroup
	conns  []net.Conn
	mu     sync.Mutex
}

func newCutProxy(t *testing.T, target string, after int64) *cutProxy {
	p := &cutProxy{l: listen(t, "127.0.0.1:0"), target: target, after: after}
	p.done.Go(p.run)
	return p
}

func (p *cutProxy) run() {
	for first := true; ; first = false {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		p.done.Go(func() {
			_, _ = io.Copy(near, far)
			_ = near.Close()
		})
		p.done.Go(func() {
			if first {
				_, _ = io.CopyN(far, near, p.after)
				_ = near.(*net.TCPConn).SetLinger(0)
			} else {
				_, _ = io.Copy(far, near)
			}
			_ = far.Close()
			_ = near.Close()
		})
	}
}

func (p *cutProxy) close() {
	_ = p.l.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// TestAConnectionCutAnywhere cuts the connection after so many bytes: in the handshake, between frames, in a header, in a body. What
// arrived is a prefix of what was sent, each frame whole; then a new connection takes over, and nobody is called malformed.
func TestAConnectionCutAnywhere(t *testing.T) {
	const framesSent, frameSize = 6, 60
	whole := int64(helloSize + checksumSize + framesSent*(frameHeader+frameSize))
	for after := int64(1); after < whole+30; after += 11 {
		n := openTCP(t, Limits{})
		atB := newRecorder(t)
		b := n.start(2, atB)
		proxy := newCutProxy(t, n.addresses[2], after)
		n.addresses[2] = proxy.l.Addr().String()
		atA := newRecorder(t)
		a := n.start(1, atA)
		atA.await("connected", 2)
		for i := range uint64(framesSent) {
			a.Send(2, numbered(i, frameSize))
		}
		checkCut(t, after, a, atA, atB)
		for _, tr := range []*TCP{a, b} {
			if got := tr.Stats().Malformed; got != 0 {
				t.Errorf("cut after %d bytes: %d connections ended as malformed", after, got)
			}
		}
		closeAll(t, a, b)
		proxy.close()
	}
}

// checkCut sends a mark over each connection until one arrives, and checks what arrived before it: frames in order, with a gap only
// where a connection broke.
func checkCut(t *testing.T, after int64, a *TCP, atA, atB *recorder) {
	t.Helper()
	next, broken := uint64(0), false
	a.Send(2, numbered(1000, 10))
	for {
		select {
		case e := <-atA.events:
			if e.what == "connected" {
				a.Send(2, numbered(1000, 10))
			}
		case e := <-atB.events:
			if e.what != "received" {
				broken = broken || e.what == "broken"
				continue
			}
			got := number(t, e.frame)
			if got == 1000 {
				return
			}
			if got < next || (got > next && !broken) {
				t.Fatalf("cut after %d bytes: frame %d arrived in place of %d", after, got, next)
			}
			next, broken = got+1, false
		}
	}
}

// FuzzPeerPort: whatever comes over a proven connection, the transport lives, and hands over only frames that were written as such.
func FuzzPeerPort(f *testing.F) {
	f.Add(frameOf(frameData, []byte("body")))
	f.Add(append(frameOf(framePing, make([]byte, 8)), frameOf(frameData, nil)...))
	f.Add([]byte("noise"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		synctest.Test(t, func(t *testing.T) {
			n := newPipes()
			b, atB, _ := n.member(t, 2, []raft.MemberID{1}, nil)
			conn, _ := n.say(t, address(2), helloOf(testIdentity(1), 2))
			go swallow(conn)
			_, _ = conn.Write(sent)
			synctest.Wait()
			_ = conn.Close()
			synctest.Wait()
			for at := 0; len(atB.events) > 0; {
				if e := <-atB.events; e.what == "received" {
					found := bytes.Index(sent[at:], e.frame)
					if found < 0 {
						t.Fatalf("%x was handed over, which is not in %x", e.frame, sent)
					}
					at += found + len(e.frame)
				}
			}
			_ = b.Close()
		})
	})
}
