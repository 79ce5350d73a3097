package transport

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

// tcpNetwork is members on loopback, each of whom knows all the others from the start.
type tcpNetwork struct {
	t      *testing.T
	limits Limits
	change func(*TCPConfig) // what a test wants different

	mu        sync.Mutex
	listeners map[raft.MemberID]net.Listener
	addresses map[raft.MemberID]string
	members   map[raft.MemberID]*TCP
}

func openTCP(t *testing.T, limits Limits) *tcpNetwork {
	n := &tcpNetwork{
		t: t, limits: limits, change: func(*TCPConfig) {},
		listeners: map[raft.MemberID]net.Listener{}, addresses: map[raft.MemberID]string{}, members: map[raft.MemberID]*TCP{},
	}
	for _, id := range []raft.MemberID{1, 2} {
		n.listeners[id] = listen(t, "127.0.0.1:0")
		n.addresses[id] = n.listeners[id].Addr().String()
	}
	t.Cleanup(func() {
		for _, l := range n.listeners { // those that no member took over
			_ = l.Close()
		}
	})
	return n
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testIdentity(id raft.MemberID) Identity {
	return Identity{Cluster: 77, Member: id, Life: 1, DataDir: [16]byte{byte(id)}}
}

func (n *tcpNetwork) join(self raft.MemberID, r Receiver) Transport { return n.start(self, r) }

func (n *tcpNetwork) start(self raft.MemberID, r Receiver) *TCP {
	n.t.Helper()
	l := n.listeners[self]
	if l == nil {
		l = listen(n.t, n.addresses[self])
	}
	delete(n.listeners, self)
	config := TCPConfig{Self: testIdentity(self), Listeners: []net.Listener{l}, Limits: n.limits}
	config.Timing.Redial = time.Minute // a machine under load is not a process that lives on
	n.change(&config)
	tr, err := NewTCP(config)
	if err != nil {
		n.t.Fatal(err)
	}
	scheme := "http://"
	if config.ServerTLS != nil {
		scheme = "https://"
	}
	for id, address := range n.addresses {
		if id != self {
			if err := tr.AddPeer(id, []string{scheme + address}); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	tr.SetReceiver(r)
	n.mu.Lock()
	n.members[self] = tr
	n.mu.Unlock()
	return tr
}

// sever cuts the connections between two members as a network would: with a reset, seen by both.
func (n *tcpNetwork) sever(a, b raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members[a].peer(b).reset()
	n.members[b].peer(a).reset()
}

func (n *tcpNetwork) severBulk(a, b raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range []*peer{n.members[a].peer(b).bulk, n.members[b].peer(a).bulk} {
		for link := p.reset(); link != nil && p.present() == link; {
			runtime.Gosched()
		}
	}
}

func (p *peer) present() *outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

// reset cuts the connection that frames leave by, and returns it, if there is one.
func (p *peer) reset() *outgoing {
	link := p.present()
	if link != nil {
		if c, isTCP := link.conn.(*net.TCPConn); isTCP {
			_ = c.SetLinger(0)
		}
		_ = link.conn.Close()
	}
	return link
}

func TestTCPConforms(t *testing.T) {
	conformance(t, func(t *testing.T, limits Limits) network { return openTCP(t, limits) })
}

func TestStatsSayWhatHappened(t *testing.T) {
	measured := make(chan time.Duration, 16)
	n := openTCP(t, Limits{})
	n.change = func(c *TCPConfig) {
		if c.Self.Member == 1 {
			c.OnRoundTrip = func(_ raft.MemberID, d time.Duration) { measured <- d }
		}
	}
	a, b, _, atB := pair(t, n)
	a.Send(2, numbered(1, 100))
	a.Send(9, numbered(1, 100))
	atB.await("received", 1)
	if d := <-measured; d <= 0 {
		t.Errorf("a round trip of %v", d)
	}
	s := a.(*TCP).Stats()
	p := s.Peers[0]
	if len(s.Peers) != 1 || p.Peer != 2 || p.SentFrames != 1 || p.SentBytes < 112 || p.ConnectedSince.IsZero() ||
		p.RoundTrip <= 0 || p.Trouble != "" || p.URL != "http://"+n.addresses[2] {
		t.Errorf("at the sender: %+v", s)
	}
	p = b.(*TCP).Stats().Peers[0]
	if p.ReceivedFrames != 1 || p.ReceivedBytes != 112 || p.ReceivingSince.IsZero() {
		t.Errorf("at the receiver: %+v", p)
	}
}
