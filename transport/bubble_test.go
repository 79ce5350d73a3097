package transport

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// pipes is a network without sockets, so that it can live in a bubble of synctest, where time passes at once.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	dials     int
	lost      error // what every dial fails with, where it is set
}

func newPipes() *pipes { return &pipes{listeners: map[string]*pipeListener{}} }

type pipeListener struct {
	network *pipes
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *pipes) listen(address string) *pipeListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &pipeListener{network: n, address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l
}

func (n *pipes) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	l, lost := n.listeners[address], n.lost
	n.mu.Unlock()
	if lost != nil {
		return nil, lost
	}
	refused := &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if l == nil {
		return nil, refused
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *pipes) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		if l.network.listeners[l.address] == l {
			delete(l.network.listeners, l.address)
		}
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: l.address} }

// logs keeps what was logged.
type logs struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{}
}

func newLogs() *logs { return &logs{written: make(chan struct{}, 1)} }

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	signal(l.written)
	return l.b.Write(b)
}

// await waits until a line contains text.
func (l *logs) await(text string) {
	for l.count(text) == 0 {
		<-l.written
	}
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns how many lines contain text.
func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// pass lets time pass in a bubble, which takes none outside, and then everybody come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func address(id raft.MemberID) string { return string([]byte{'a' + byte(id)}) + ":1" }

// member starts a member in a bubble's network. It knows the members of peers, and its log comes back with it.
func (n *pipes) member(t *testing.T, self raft.MemberID, peers []raft.MemberID, change func(*TCPConfig)) (*TCP, *recorder, *logs) {
	t.Helper()
	log := newLogs()
	config := TCPConfig{
		Self: testIdentity(self), Listeners: []net.Listener{n.listen(address(self))}, Logger: log.logger(), dial: n.dial,
	}
	if change != nil {
		change(&config)
	}
	tr, err := NewTCP(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	for _, id := range peers {
		if err := tr.AddPeer(id, []string{"http://" + address(id)}); err != nil {
			t.Fatal(err)
		}
	}
	r := newRecorder(t)
	tr.SetReceiver(r)
	return tr, r, log
}

// pairInBubble runs a test with two connected members.
func pairInBubble(t *testing.T, test func(t *testing.T, n *pipes, a, b *TCP, atA, atB *recorder)) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		a, atA, _ := n.member(t, 1, []raft.MemberID{2}, nil)
		b, atB, _ := n.member(t, 2, []raft.MemberID{1}, nil)
		atA.await("connected", 2)
		atB.await("connected", 1)
		synctest.Wait() // both directions are there
		test(t, n, a, b, atA, atB)
	})
}

// helloOf is what a member with an identity would say to another.
func helloOf(id Identity, to raft.MemberID) hello {
	return hello{card: card{dialect: ours, Identity: id}, to: to, stream: streamMessages}
}

// say connects to an address, says hello, and returns the connection with the answer.
func (n *pipes) say(t *testing.T, address string, h hello) (net.Conn, answer) {
	t.Helper()
	conn, err := n.dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(h.encode()); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, a
}

// listenRaw answers every hello at an address as told, and keeps the connections that it accepted.
func (n *pipes) listenRaw(t *testing.T, at string, reply func(hello) answer) chan net.Conn {
	l, conns := n.listen(at), make(chan net.Conn, 1000)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h, err := readHello(conn)
			if err != nil {
				continue
			}
			a := reply(h)
			if _, err := conn.Write(a.encode()); err != nil {
				continue
			}
			if a.reason != accepted {
				_ = conn.Close()
				continue
			}
			conns <- conn
		}
	}()
	return conns
}

// swallow reads a connection until it ends.
func swallow(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
