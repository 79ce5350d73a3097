package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/balsadb/balsa/raft"
)

// TCPConfig is what a TCP transport is made of.
type TCPConfig struct {
	Self Identity
	// Listeners accept the peers' connections. They belong to the transport, which closes them.
	Listeners []net.Listener
	// ServerTLS, where set, is spoken on all listeners; ClientTLS with peers whose URL is https. Mutual TLS is a ServerTLS
	// that requires and verifies client certificates and a ClientTLS that has one. Renewed certificates are
	// picked up by the callbacks of tls.Config (GetCertificate, GetClientCertificate).
	ServerTLS, ClientTLS *tls.Config
	Limits               Limits
	Timing               Timing
	// Logger is told of connections that come and go. The default discards.
	Logger *slog.Logger
	// URLs, where set, says where this host is reached, which it tells whom it dials. It may be called concurrently.
	URLs func() []string
	// OnRoundTrip, where set, is called with each round trip that was measured. It must not block.
	OnRoundTrip func(peer raft.MemberID, roundTrip time.Duration)
	// OnInquiry, where set, answers a question of somebody who is no member yet (Inquire). The error is told to them. It may be called
	// concurrently.
	OnInquiry func(question []byte) (answer []byte, err error)
	// Former are the clusters that this one was recovered from: their members are told so.
	Former []uint64
	// Register is what this host remembers of the others; one that ends with the process by default.
	Register Register
	// Level is the highest level that is spoken; 0 is all that this build does.
	Level raft.Level

	// For tests: how to dial, and what to speak.
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	dialect *dialect
}

// Timing says how long a transport waits for what. Zero fields take the defaults, which are right wherever peers answer
// within a second or so.
type Timing struct {
	// Ping is how often a connection is asked for a sign of life, which is also how often its round trip is measured. Default 1 s.
	Ping time.Duration
	// Dead is how long a connection may be silent before it is closed and made again. At least two pings. Default 5 s.
	Dead time.Duration
	// Dial is how long connecting may take, TLS and handshake included. Default 5 s.
	Dial time.Duration
	// Redial is how long Broken is held back for the answer to the immediate redial, which tells a process that is
	// gone from a network that is slow. Default 150 ms; raise it where the round trip is longer.
	Redial time.Duration
}

func (t Timing) orDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Ping, time.Second)
	set(&t.Dead, 5*time.Second)
	set(&t.Dial, 5*time.Second)
	set(&t.Redial, 150*time.Millisecond)
	return t
}

// TCP is the transport over TCP, or TLS. Make it with NewTCP, add the peers, and set the receiver: only then does it
// listen and dial.
type TCP struct {
	config   TCPConfig
	dialect  dialect
	level    atomic.Uint32 // of the cluster: nothing lower is spoken
	start    time.Time     // pings carry the time since then
	boot     uint64        // tells this process from any other of the same member
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	counters counters
	refused  quiet // what was said about handshakes that were refused here

	mu       sync.Mutex
	receiver Receiver
	closed   bool
	peers    map[raft.MemberID]*peer
	leaving  map[raft.MemberID]*peer // removed last under that id, perhaps not ended yet
	conns    map[net.Conn]struct{}   // accepted and not yet closed
	expelled map[raft.MemberID]bool  // removed for ever
}

// ErrClosed is returned by what is asked of a closed transport.
var ErrClosed = errors.New("transport: closed")

// NewTCP checks the configuration. Nothing happens before SetReceiver.
func NewTCP(config TCPConfig) (*TCP, error) {
	config.Limits, config.Timing = config.Limits.orDefaults(), config.Timing.orDefaults()
	if config.Self.Member == 0 {
		return nil, errors.New("transport: Self.Member is 0, which names no member")
	}
	if config.Timing.Dead < 2*config.Timing.Ping {
		return nil, fmt.Errorf("transport: Timing.Dead is %v, want at least two pings of %v", config.Timing.Dead, config.Timing.Ping)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Register == nil {
		config.Register = NewRegister()
	}
	if config.dial == nil {
		config.dial = new(net.Dialer).DialContext
	}
	t := &TCP{config: config, dialect: ours.upTo(config.Level), start: time.Now(), boot: rand.Uint64() | 1}
	t.peers, t.leaving, t.conns = map[raft.MemberID]*peer{}, map[raft.MemberID]*peer{}, map[net.Conn]struct{}{}
	t.expelled = map[raft.MemberID]bool{}
	if config.dialect != nil {
		t.dialect = *config.dialect
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// AddPeer adds a member that is to be reached at one of its URLs, and that may connect to this one.
func (t *TCP) AddPeer(id raft.MemberID, urls []string) error {
	parsed, err := t.checkURLs(id, urls)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.peers[id] != nil {
		return fmt.Errorf("transport: %s is a peer already; SetPeerURLs changes where it is", memberName(id))
	}
	p := newPeer(t, id, parsed)
	p.former, p.bulk.former = t.leaving[id], t.leaving[id]
	delete(t.leaving, id)
	t.peers[id] = p
	if t.receiver != nil {
		t.goRun(p)
	}
	return nil
}

// SetPeerURLs changes where a peer is. A connection with a URL that is no longer there is made again.
func (t *TCP) SetPeerURLs(id raft.MemberID, urls []string) error {
	parsed, err := t.checkURLs(id, urls)
	if err != nil {
		return err
	}
	p := t.peer(id)
	if p == nil {
		return fmt.Errorf("transport: %s is not a peer; AddPeer makes it one", memberName(id))
	}
	p.setURLs(parsed)
	return nil
}

func (t *TCP) checkURLs(id raft.MemberID, urls []string) ([]peerURL, error) {
	if id == 0 || id == t.config.Self.Member {
		return nil, fmt.Errorf("transport: %s cannot be a peer of itself", memberName(id))
	}
	parsed, err := parseURLs(urls)
	if err != nil {
		return nil, fmt.Errorf("transport: %s: %w", memberName(id), err)
	}
	for _, u := range parsed {
		if u.tls && t.config.ClientTLS == nil {
			return nil, fmt.Errorf("transport: %s: URL %s is https, and no TLS was configured for peers", memberName(id), u.raw)
		}
	}
	return parsed, nil
}

// RemovePeer ends the connections with a member and refuses it from now on. The receiver may be told of the end a moment later.
func (t *TCP) RemovePeer(id raft.MemberID) {
	t.mu.Lock()
	p := t.peers[id]
	if p != nil {
		delete(t.peers, id)
		if t.receiver != nil {
			t.leaving[id] = p
		}
	}
	t.mu.Unlock()
	if p != nil {
		p.remove()
	}
}

// SetPeer adds a member, or changes where it is.
func (t *TCP) SetPeer(id raft.MemberID, urls []string) error {
	if t.peer(id) != nil {
		return t.SetPeerURLs(id, urls)
	}
	return t.AddPeer(id, urls)
}

// Expel is RemovePeer for a member that was removed from the cluster for ever: it is told so when it comes again. A receiver with a
// method Expelled(peer, text) is told where a peer says that of this host.
func (t *TCP) Expel(id raft.MemberID) {
	t.mu.Lock()
	t.expelled[id] = true
	t.mu.Unlock()
	t.RemovePeer(id)
}

func (t *TCP) hasExpelled(id raft.MemberID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.expelled[id]
}

// tellExpelled passes on that a peer says that this host was removed.
func (p *peer) tellExpelled(refusal *RefusedError) {
	r, ok := p.transport.receiver.(interface {
		Expelled(peer raft.MemberID, text string)
	})
	if ok && refusal.ByPeer && refusal.Reason == ReasonRemoved {
		r.Expelled(p.id, refusal.Text)
	}
}

// tellStranger passes on that a host of this cluster wants to connect that is none of the peers, and where it says that it is. A receiver with a
// method Stranger(peer, urls) may make it one (SetPeer): it will come again.
func (t *TCP) tellStranger(h hello) {
	r, ok := t.receiver.(interface {
		Stranger(peer raft.MemberID, urls []string)
	})
	if !ok || h.stream != streamMessages || len(h.rest) == 0 {
		return
	}
	urls := strings.Split(string(h.rest), ",")
	if _, err := t.checkURLs(h.Member, urls); err == nil {
		r.Stranger(h.Member, urls)
	}
}

// tellDisowned passes on that a peer says that this host has lost what it had promised, or is there twice. The latter may be a former process
// of this very host whose end the peer has yet to see: it is passed on once that has been said for as long as a connection can be dead.
func (p *peer) tellDisowned(refusal *RefusedError) {
	r, ok := p.transport.receiver.(interface {
		Disowned(peer raft.MemberID, reason Reason, text string)
	})
	if !ok || !refusal.ByPeer {
		return
	}
	switch refusal.Reason {
	case ReasonDataDir, ReasonStale:
	case ReasonTwice:
		if p.twice == 0 {
			p.twice = p.transport.now()
		}
		if p.transport.now()-p.twice < 2*p.transport.config.Timing.Dead {
			return
		}
	default:
		return
	}
	r.Disowned(p.id, refusal.Reason, refusal.Text)
}

// forget lets go of a removed peer that has ended.
func (t *TCP) forget(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaving[p.id] == p {
		delete(t.leaving, p.id)
	}
}

// SetReceiver implements Transport. From here on the transport listens and dials.
func (t *TCP) SetReceiver(r Receiver) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.receiver != nil {
		return
	}
	t.receiver = r
	for _, l := range t.config.Listeners {
		t.running.Go(func() { t.accept(l) })
	}
	for _, p := range t.peers {
		t.goRun(p)
	}
}

func (t *TCP) goRun(p *peer) {
	p.receiver, p.bulk.receiver = t.receiver, bulkReceiver{t.receiver}
	t.running.Go(p.run)
	t.running.Go(p.bulk.run)
}

// Send implements Transport.
func (t *TCP) Send(to raft.MemberID, parts [][]byte) bool {
	p := t.peer(to)
	return p != nil && p.enqueue(parts)
}

// Reject ends the connection over which the peer sends, since what came over it made no sense; it is counted among
// the malformed. The receiver may call it from Received.
func (t *TCP) Reject(peer raft.MemberID, why error) {
	if p := t.peer(peer); p != nil {
		p.reject(why)
	}
}

// now is the time on the clock that pings carry.
func (t *TCP) now() time.Duration { return time.Since(t.start) }

func (t *TCP) peer(id raft.MemberID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id]
}

// members returns the peers in the order of their ids.
func (t *TCP) members() []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	peers := make([]*peer, 0, len(t.peers))
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b *peer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return peers
}

// Close implements Transport. It must not be called by the receiver.
func (t *TCP) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	var failed error
	// Listeners first: who dials again at once is refused. Then what the peers dialled: while that ends, no ping is answered, and
	// nobody takes us for alive because the other direction ended first.
	for _, l := range t.config.Listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			failed = errors.Join(failed, err)
		}
	}
	t.mu.Lock()
	for conn := range t.conns {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.cancel()
	for _, p := range t.members() {
		p.silence()
		p.bulk.silence()
	}
	t.running.Wait()
	return failed
}
