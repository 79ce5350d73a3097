package sim

import (
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// Network joins the hosts of a world. Streams keep transport's contract: frames in order, each once, whole; a
// break loses a suffix and both ends are told. A link that is cut silently stays open and swallows what is sent.
type Network struct {
	world     *World
	endpoints map[raft.MemberID]*endpoint
	members   []raft.MemberID // in the order in which they joined, so that nothing walks over the map
	links     map[link]*linkState
	// Latency bounds of a frame's way.
	Fastest, Slowest time.Duration
	// Counters of what happened to frames.
	Sent, Delivered, Lost, Breaks uint64
}

type link struct{ from, to raft.MemberID }

type linkState struct {
	cut     bool          // frames vanish
	session uint64        // counts connections: what was sent on an earlier one does not arrive
	arrival actor.Instant // of the last frame: order holds
}

// NewNetwork returns a network without hosts.
func NewNetwork(w *World) *Network {
	return &Network{
		world: w, endpoints: map[raft.MemberID]*endpoint{}, links: map[link]*linkState{},
		Fastest: 20 * time.Microsecond, Slowest: 500 * time.Microsecond,
	}
}

// endpoint is the transport of one life of a host.
type endpoint struct {
	network  *Network
	self     raft.MemberID
	life     *life
	receiver transport.Receiver
}

// Join returns the transport of a host's new life. It takes the place of the one before.
func (n *Network) Join(self raft.MemberID, l *life) transport.Transport {
	if _, known := n.endpoints[self]; !known {
		n.members = append(n.members, self)
	}
	e := &endpoint{network: n, self: self, life: l}
	n.endpoints[self] = e
	return e
}

func (e *endpoint) SetReceiver(r transport.Receiver) {
	e.receiver = r
	for _, peer := range e.network.members {
		if peer != e.self {
			e.network.connect(e.self, peer)
		}
	}
}

func (e *endpoint) Close() error {
	e.network.Leave(e.self)
	return nil
}

func (e *endpoint) alive() bool { return e != nil && !e.life.over && e.receiver != nil }

func (e *endpoint) Send(to raft.MemberID, parts [][]byte) bool {
	if e.life.over || !e.network.endpoints[to].alive() {
		return false
	}
	var frame []byte
	for _, part := range parts {
		frame = append(frame, part...)
	}
	e.network.world.afterTurn(func() { e.network.carry(e, to, frame) })
	return true
}

func (n *Network) link(from, to raft.MemberID) *linkState {
	l := n.links[link{from, to}]
	if l == nil {
		l = &linkState{}
		n.links[link{from, to}] = l
	}
	return l
}

func (n *Network) carry(e *endpoint, to raft.MemberID, frame []byte) {
	n.Sent++
	l := n.link(e.self, to)
	if l.cut {
		n.Lost++
		return
	}
	l.arrival = max(l.arrival+1, n.world.now.Add(n.world.Between(n.Fastest, n.Slowest)))
	session := l.session
	n.world.at(l.arrival, func() {
		target := n.endpoints[to]
		if l.session != session || l.cut || !target.alive() {
			n.Lost++
			return
		}
		n.Delivered++
		target.life.arrives(func() {
			n.world.Trace(target.life.host, "received %d bytes from %d", len(frame), e.self)
			target.receiver.Received(e.self, frame)
		})
	})
}

// connect tells both ends that they can talk.
func (n *Network) connect(a, b raft.MemberID) {
	if !n.endpoints[a].alive() || !n.endpoints[b].alive() {
		return
	}
	n.tellConnected(a, b)
	n.tellConnected(b, a)
}

func (n *Network) tellConnected(who, peer raft.MemberID) {
	e := n.endpoints[who]
	session := n.link(peer, who).session
	n.world.After(n.world.Between(n.Fastest, n.Slowest), func() {
		if !e.life.over && n.link(peer, who).session == session {
			e.life.arrives(func() { e.receiver.Connected(peer) })
		}
	})
}

// Leave ends a host's connections: the others are told that its host refuses to be dialled.
func (n *Network) Leave(member raft.MemberID) {
	for _, peer := range n.members {
		if peer != member {
			n.breakLink(peer, member, true)
		}
	}
}

// Break ends the connections between two hosts; they are made again after a moment.
func (n *Network) Break(a, b raft.MemberID) {
	n.Breaks++
	n.breakLink(a, b, false)
	n.breakLink(b, a, false)
	n.world.After(n.world.Between(time.Millisecond, 20*time.Millisecond), func() { n.connect(a, b) })
}

// breakLink ends the streams between who and peer in both directions and tells who.
func (n *Network) breakLink(who, peer raft.MemberID, refused bool) {
	n.link(who, peer).session++
	n.link(peer, who).session++
	e := n.endpoints[who]
	if !e.alive() {
		return
	}
	n.world.After(n.world.Between(n.Fastest, n.Slowest), func() {
		if e.alive() {
			e.life.arrives(func() { e.receiver.Broken(peer, refused) })
		}
	})
}

// Cut makes the frames from one host to another vanish, without either being told, until Heal.
func (n *Network) Cut(from, to raft.MemberID) {
	n.link(from, to).cut = true
	n.world.Trace("network", "cut %d to %d", from, to)
}

// Isolate cuts a host off from all others, in both directions.
func (n *Network) Isolate(member raft.MemberID) {
	for _, peer := range n.members {
		if peer != member {
			n.Cut(member, peer)
			n.Cut(peer, member)
		}
	}
}

// Heal ends all cuts. Connections over which frames were lost break, as a stream with a hole in it must.
func (n *Network) Heal() {
	for i, a := range n.members {
		for _, b := range n.members[i+1:] {
			if n.link(a, b).cut || n.link(b, a).cut {
				n.link(a, b).cut, n.link(b, a).cut = false, false
				n.Break(a, b)
			}
		}
	}
}
