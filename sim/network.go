package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// Network joins the hosts of a world. Streams keep transport's contract: frames in order, each once, whole; a
// break loses a suffix and both ends are told. A link that is cut silently stays open and swallows what is sent.
//
// Between two hosts and in one direction there is one link with two lanes, one for messages and one for bulk. What one lane
// carries delays nothing on the other.
type Network struct {
	world     *World
	endpoints map[raft.MemberID]*endpoint
	members   []raft.MemberID // in the order in which they joined, so that nothing walks over the map
	links     map[link]*linkState
	// Latency bounds of a frame's way.
	Fastest, Slowest time.Duration
	// QueueBytes is what a link holds before it takes no more.
	QueueBytes int
	// LossOneIn is how rarely a connection breaks under a frame, DuplicateOneIn how rarely one with nothing but the protocol's
	// messages arrives twice; 0 for never.
	LossOneIn, DuplicateOneIn int
	chance                    *rand.Rand
	// onBulk sees who sends bulk to whom, when it is on its way.
	onBulk func(from, to raft.MemberID)
	// onSend sees what a host says, at the moment when it is out.
	onSend func(from *life, to raft.MemberID, packets []wire.Packet)
	recent []carried // protocol frames, to be replayed
	oldest int
	// Traffic counts what happened to frames.
	Traffic Traffic
}

// Traffic counts frames.
type Traffic struct {
	Sent, Delivered, Lost, Duplicated, Replayed, Refused, Bulk, Breaks uint64
}

type link struct{ from, to raft.MemberID }

type linkState struct {
	up      bool          // from has been told that it can send
	cut     bool          // frames vanish
	clogged bool          // frames wait
	extra   time.Duration // a direction that is slow
	lost    func(wire.Packet) bool
	session uint64 // counts connections: what was sent on an earlier one does not arrive
	lanes   [2]lane
}

// lane is one ordered stream of a link.
type lane struct {
	arrival actor.Instant // of the last frame: order holds
	held    []func()      // while the link is clogged
	waiting int           // bytes under way
}

const (
	laneMessages = 0
	laneBulk     = 1
	// bulkRate is how many bytes of bulk pass in a microsecond.
	bulkRate = 100
)

// carried is a frame that arrived once.
type carried struct {
	from, to raft.MemberID
	frame    []byte
}

// replayMemory is how many frames are remembered for a replay.
const replayMemory = 64

// NewNetwork returns a network without hosts.
func NewNetwork(w *World) *Network {
	return &Network{
		world: w, endpoints: map[raft.MemberID]*endpoint{}, links: map[link]*linkState{},
		Fastest: 20 * time.Microsecond, Slowest: 500 * time.Microsecond, QueueBytes: 32 << 20,
		chance: rand.New(rand.NewPCG(w.seed, 0x6e6574)),
	}
}

// endpoint is the transport of one life of a host.
type endpoint struct {
	network  *Network
	self     raft.MemberID
	life     *life
	receiver transport.Receiver
	peers    map[raft.MemberID]acquaintance
}

// acquaintance is what a host's transport knows of another host.
type acquaintance uint8

const (
	stranger   acquaintance = iota // it has no address of it, and refuses its connections
	acquainted                     // a peer
	expelled                       // it tells it that it was removed
)

// bulkReceiver is a receiver that takes bulk.
type bulkReceiver interface {
	ReceivedBulk(from raft.MemberID, frame []byte)
}

// Join returns the transport of a host's new life, which knows the members of a configuration. It takes the place of the one before.
func (n *Network) Join(self raft.MemberID, l *life, known *raft.Configuration) transport.Transport {
	if _, is := n.endpoints[self]; !is {
		n.members = append(n.members, self)
	}
	e := &endpoint{network: n, self: self, life: l, peers: map[raft.MemberID]acquaintance{}}
	for i := range known.Seats {
		e.peers[known.Seats[i].ID] = acquainted
	}
	n.endpoints[self] = e
	return e
}

// Forget ends what there is of a host that is gone for good.
func (n *Network) Forget(member raft.MemberID) {
	n.members = slices.DeleteFunc(n.members, func(m raft.MemberID) bool { return m == member })
}

func (e *endpoint) SetReceiver(r transport.Receiver) {
	e.receiver = r
	n := e.network
	for _, peer := range n.members {
		if peer == e.self {
			continue
		}
		if n.link(peer, e.self).up { // it does not know yet that the former life is over
			n.drop(peer, e.self, false)
		}
		n.connect(e.self, peer)
	}
}

// SetPeer makes a host a peer, as transport.TCP does.
func (e *endpoint) SetPeer(id raft.MemberID, _ []string) error {
	if e.peers[id] == stranger {
		e.peers[id] = acquainted
		e.network.world.afterTurn(func() { e.network.redial(e.self, id) })
	}
	return nil
}

// Expel ends the connections with a host that was removed, and tells it so when it comes again.
func (e *endpoint) Expel(id raft.MemberID) {
	e.peers[id] = expelled
	n := e.network
	n.world.afterTurn(func() {
		n.drop(e.self, id, false)
		n.drop(id, e.self, false)
		n.redial(e.self, id)
	})
}

func (e *endpoint) Close() error {
	e.network.Leave(e.self, true)
	return nil
}

func (e *endpoint) alive() bool { return e != nil && !e.life.over && e.receiver != nil }

func (e *endpoint) Send(to raft.MemberID, parts [][]byte) bool {
	return e.send(laneMessages, to, parts)
}

// SendBulk is Send on the other lane.
func (e *endpoint) SendBulk(to raft.MemberID, parts [][]byte) bool {
	return e.send(laneBulk, to, parts)
}

func (e *endpoint) send(lane int, to raft.MemberID, parts [][]byte) bool {
	n := e.network
	l := n.link(e.self, to)
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	if e.life.over || !l.up {
		return false
	}
	queue := &l.lanes[lane]
	if queue.waiting > 0 && queue.waiting+size > n.QueueBytes {
		n.Traffic.Refused++
		return false
	}
	queue.waiting += size
	frame := make([]byte, 0, size)
	for _, part := range parts {
		frame = append(frame, part...)
	}
	session := l.session
	n.world.afterTurn(func() { n.carry(e, lane, to, session, frame) })
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

// carry puts a frame on its way.
func (n *Network) carry(e *endpoint, lane int, to raft.MemberID, session uint64, frame []byte) {
	l := n.link(e.self, to)
	n.Traffic.Sent++
	var packets []wire.Packet
	if lane == laneMessages {
		var room [4]wire.Packet
		packets, _ = wire.Decode(room[:0], frame)
		if n.onSend != nil {
			n.onSend(e.life, to, packets)
		}
	} else {
		n.Traffic.Bulk++
		if n.onBulk != nil {
			from := e.self
			n.world.After(n.world.Between(0, n.Slowest), func() { n.onBulk(from, to) })
		}
	}
	switch {
	case l.session != session, l.cut, l.loses(packets):
		n.lose(l, lane, frame)
		return
	case n.LossOneIn > 0 && n.chance.IntN(n.LossOneIn) == 0:
		n.lose(l, lane, frame)
		n.Break(e.self, to)
		return
	}
	n.travel(l, lane, len(frame), func() { n.arrive(l, lane, session, carried{e.self, to, frame}, protocolOnly(packets)) })
}

func (n *Network) lose(l *linkState, lane int, frame []byte) {
	n.Traffic.Lost++
	l.lanes[lane].waiting -= len(frame)
}

func (l *linkState) loses(packets []wire.Packet) bool {
	if l.lost == nil {
		return false
	}
	for _, p := range packets {
		if l.lost(p) {
			return true
		}
	}
	return false
}

// protocolOnly reports whether a frame holds messages of the protocol and nothing else: those may come twice, or late.
func protocolOnly(packets []wire.Packet) bool {
	for _, p := range packets {
		if p.Envelope.Message == nil {
			return false
		}
	}
	return len(packets) > 0
}

// travel runs fn when something that is sent now arrives, behind all that was sent on the lane before.
func (n *Network) travel(l *linkState, lane, size int, fn func()) {
	when := n.world.now.Add(n.world.Between(n.Fastest, n.Slowest) + l.extra)
	s := &l.lanes[lane]
	if lane == laneBulk {
		when = max(when, s.arrival).Add(time.Duration(size/bulkRate) * time.Microsecond)
	}
	s.arrival = max(s.arrival+1, when)
	n.world.at(s.arrival, func() {
		if l.clogged {
			s.held = append(s.held, fn)
			return
		}
		fn()
	})
}

// arrive hands a frame over.
func (n *Network) arrive(l *linkState, lane int, session uint64, c carried, protocol bool) {
	target := n.endpoints[c.to]
	if l.session != session || l.cut || !target.alive() {
		n.lose(l, lane, c.frame)
		return
	}
	l.lanes[lane].waiting -= len(c.frame)
	n.Traffic.Delivered++
	n.deliver(target, lane, c)
	if !protocol {
		return
	}
	if n.DuplicateOneIn > 0 && n.chance.IntN(n.DuplicateOneIn) == 0 {
		n.Traffic.Duplicated++
		n.deliver(target, lane, carried{c.from, c.to, append([]byte(nil), c.frame...)})
	}
	n.remember(c)
}

func (n *Network) deliver(target *endpoint, lane int, c carried) {
	target.life.arrives(func() {
		if !target.alive() {
			return
		}
		n.world.note(Event{
			Member: c.to, Actor: "network", What: "received", Peer: c.from, N: uint64(len(c.frame)),
			Index: raft.Index(xxhash.Sum64(c.frame)), Detail: n.describe(c.frame),
		})
		if lane == laneMessages {
			target.receiver.Received(c.from, c.frame)
		} else if r, ok := target.receiver.(bulkReceiver); ok {
			r.ReceivedBulk(c.from, c.frame)
		}
	})
}

// remember keeps a frame for a replay. What the receiver was given is its own from then on, so that this is a copy.
func (n *Network) remember(c carried) {
	if n.chance.IntN(8) != 0 {
		return
	}
	c.frame = append([]byte(nil), c.frame...)
	if len(n.recent) < replayMemory {
		n.recent = append(n.recent, c)
		return
	}
	n.recent[n.oldest%replayMemory] = c
	n.oldest++
}

// Replay delivers a frame of the protocol once more that arrived some time ago, perhaps in another life.
func (n *Network) Replay(random *rand.Rand) bool {
	if len(n.recent) == 0 {
		return false
	}
	c := n.recent[random.IntN(len(n.recent))]
	target := n.endpoints[c.to]
	if !target.alive() {
		return false
	}
	n.Traffic.Replayed++
	n.deliver(target, laneMessages, carried{c.from, c.to, append([]byte(nil), c.frame...)})
	return true
}

// connect tells both ends that they can talk, where both are there, know each other, and what one says reaches the other.
func (n *Network) connect(a, b raft.MemberID) {
	atA, atB := n.endpoints[a], n.endpoints[b]
	if !atA.alive() || !atB.alive() || n.link(a, b).cut || n.link(b, a).cut {
		return
	}
	if atA.peers[b] == acquainted && atB.peers[a] == acquainted {
		n.tellConnected(a, b)
		n.tellConnected(b, a)
		return
	}
	n.refuse(a, b)
	n.refuse(b, a)
}

// lost reports whether a host knows nobody who is still there, and nobody there dials it: it was away while all others were replaced, and was
// removed meanwhile. Nobody can tell it so.
func (n *Network) lost(member raft.MemberID) bool {
	e := n.endpoints[member]
	if !e.alive() {
		return false
	}
	for _, other := range n.members {
		if other != member && (e.peers[other] == acquainted || n.endpoints[other].peers[member] == acquainted) {
			return false
		}
	}
	return true
}

// acquaintances is what the runtime wants to know of connections that were refused.
type acquaintances interface {
	Expelled(peer raft.MemberID, text string)
	Stranger(peer raft.MemberID, urls []string)
}

// refuse is what happens where one dials the other, which does not know it: who was removed is told so, a stranger is made known.
func (n *Network) refuse(from, to raft.MemberID) {
	dials, refuses := n.endpoints[from], n.endpoints[to]
	if dials.peers[to] != acquainted {
		return
	}
	switch refuses.peers[from] {
	case expelled:
		n.reach(to, from, "expelled", func(r acquaintances) { r.Expelled(to, fmt.Sprintf("member %d was removed from the cluster", from)) })
	case stranger:
		n.reach(from, to, "stranger", func(r acquaintances) { r.Stranger(from, []string{fmt.Sprint("host", from)}) })
	}
}

// reach lets a host's receiver know something after a frame's time.
func (n *Network) reach(from, to raft.MemberID, what string, tell func(acquaintances)) {
	e := n.endpoints[to]
	receiver, ok := e.receiver.(acquaintances)
	if !ok {
		return
	}
	n.travel(n.link(from, to), laneMessages, 0, func() {
		e.life.arrives(func() {
			if e.alive() {
				n.world.note(Event{Member: to, Actor: "network", What: what, Peer: from})
				tell(receiver)
			}
		})
	})
}

func (n *Network) tellConnected(who, peer raft.MemberID) {
	e, back := n.endpoints[who], n.link(peer, who)
	session := back.session
	n.travel(back, laneMessages, 0, func() {
		e.life.arrives(func() {
			if e.alive() && back.session == session && !n.link(who, peer).up {
				n.link(who, peer).up = true
				n.world.note(Event{Member: who, Actor: "network", What: "connected", Peer: peer})
				e.receiver.Connected(peer)
			}
		})
	})
}

// Leave ends a host's connections. With refused the others learn at once that its host refuses to be dialled, as when a
// process died; without, they learn of it when it is back, or when they have heard nothing for long: the machine is gone.
func (n *Network) Leave(member raft.MemberID, refused bool) {
	for _, peer := range n.members {
		if peer == member {
			continue
		}
		n.link(peer, member).session++
		n.link(member, peer).session++
		n.link(member, peer).up = false
		if refused {
			n.tellBroken(peer, member, true)
		} else {
			n.expire(peer, member)
		}
	}
}

// expire breaks a connection that stays silent, as the transport's own pings do.
func (n *Network) expire(who, peer raft.MemberID) {
	session := n.link(who, peer).session
	n.world.After(n.world.Between(time.Second, 6*time.Second), func() {
		if n.link(who, peer).session == session && n.link(who, peer).up {
			n.drop(who, peer, false)
			n.redial(who, peer)
		}
	})
}

// Break ends the connections between two hosts; they are made again after a moment.
func (n *Network) Break(a, b raft.MemberID) {
	n.Traffic.Breaks++
	n.drop(a, b, false)
	n.drop(b, a, false)
	n.redial(a, b)
}

// redial connects two hosts again after a moment.
func (n *Network) redial(a, b raft.MemberID) {
	n.world.After(n.world.Between(time.Millisecond, 20*time.Millisecond), func() { n.connect(a, b) })
}

// drop ends the streams between who and peer in both directions and tells who.
func (n *Network) drop(who, peer raft.MemberID, refused bool) {
	n.link(who, peer).session++
	n.link(peer, who).session++
	n.tellBroken(who, peer, refused)
}

func (n *Network) tellBroken(who, peer raft.MemberID, refused bool) {
	e := n.endpoints[who]
	if !e.alive() || !n.link(who, peer).up {
		return
	}
	n.link(who, peer).up = false
	n.travel(n.link(peer, who), laneMessages, 0, func() {
		e.life.arrives(func() {
			if e.alive() {
				n.world.note(Event{Member: who, Actor: "network", What: "broken", Peer: peer})
				e.receiver.Broken(peer, refused)
			}
		})
	})
}

// Cut makes the frames from one host to another vanish, without either being told, until Heal.
func (n *Network) Cut(from, to raft.MemberID) {
	if from != to {
		n.link(from, to).cut = true
		n.world.note(Event{Member: from, Actor: "network", What: "cut", Peer: to})
	}
}

// Isolate cuts a host off from all others, in both directions.
func (n *Network) Isolate(member raft.MemberID) {
	for _, peer := range n.members {
		n.Cut(member, peer)
		n.Cut(peer, member)
	}
}

// Clog makes frames from one host to another wait.
func (n *Network) Clog(from, to raft.MemberID) {
	n.link(from, to).clogged = true
	n.world.note(Event{Member: from, Actor: "network", What: "clogged", Peer: to})
}

// Unclog lets them go on, in order.
func (n *Network) Unclog(from, to raft.MemberID) {
	l := n.link(from, to)
	l.clogged = false
	n.world.note(Event{Member: from, Actor: "network", What: "unclogged", Peer: to})
	for i := range l.lanes {
		held := l.lanes[i].held
		l.lanes[i].held = nil
		for _, fn := range held {
			fn()
		}
	}
}

// Heal ends all that is wrong with the links. Connections over which frames were lost break, as a stream with a hole in
// it must; those that could not be made are made.
func (n *Network) Heal() {
	for i, a := range n.members {
		for _, b := range n.members[i+1:] {
			n.HealBetween(a, b)
		}
	}
}

// HealBetween is Heal for two hosts.
func (n *Network) HealBetween(a, b raft.MemberID) {
	there, back := n.link(a, b), n.link(b, a)
	holes := there.cut || back.cut || there.lost != nil || back.lost != nil
	for _, l := range [...]*linkState{there, back} {
		l.cut, l.extra, l.lost = false, 0, nil
	}
	for _, way := range [...]link{{a, b}, {b, a}} {
		if n.link(way.from, way.to).clogged {
			n.Unclog(way.from, way.to)
		}
	}
	switch {
	case holes:
		n.Break(a, b)
	case !there.up || !back.up:
		n.redial(a, b)
	}
}
