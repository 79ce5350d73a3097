package transport

import (
	"slices"
	"sync"

	"github.com/balsadb/balsa/raft"
)

// Memory is a network within one process: the twin of TCP for tests and for hosts that share a process. All who
// joined and have a receiver are connected, until a test breaks or cuts them apart.
type Memory struct {
	limits Limits

	mu        sync.Mutex
	endpoints map[raft.MemberID]*memoryEndpoint
	links     map[link]*memoryLink
}

// link names one lane in one direction between two members.
type link struct {
	lane     streamKind
	from, to raft.MemberID
}

// memoryLink is the state of one lane in one direction.
type memoryLink struct {
	waiting load
	session uint64 // counts connections: what was sent over an earlier one does not arrive
	cut     bool   // open but dead: what is sent vanishes
}

// NewMemory returns a network that nobody has joined yet.
func NewMemory(limits Limits) *Memory {
	return &Memory{
		limits:    limits.orDefaults(),
		endpoints: map[raft.MemberID]*memoryEndpoint{},
		links:     map[link]*memoryLink{},
	}
}

// Join returns the transport of a member. It takes the place of an earlier one of the same member, which is closed.
func (n *Memory) Join(self raft.MemberID) Transport {
	e := &memoryEndpoint{network: n, self: self, messages: newMemoryInbox(), bulk: newMemoryInbox()}
	n.mu.Lock()
	former := n.endpoints[self]
	n.mu.Unlock()
	if former != nil {
		_ = former.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endpoints[self] = e
	return e
}

// Break ends the connections between two members, in both directions; they are made again at once.
func (n *Memory) Break(a, b raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disconnect(a, b, false)
	n.connect(a, b)
}

// BreakBulk loses what is on its way between two members on the bulk lane, in both directions; nobody is told.
func (n *Memory) BreakBulk(a, b raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(streamBulk, a, b).session++
	n.link(streamBulk, b, a).session++
}

// Cut makes what one member sends to another vanish, on both lanes, without either being told.
func (n *Memory) Cut(from, to raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, lane := range streams {
		n.link(lane, from, to).cut = true
	}
}

// Heal ends all cuts. A connection over which frames may have vanished breaks, as a stream with a hole in it must.
func (n *Memory) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for between, l := range n.links {
		if l.cut && between.lane == streamMessages {
			n.heal(between.from, between.to)
			n.disconnect(between.from, between.to, false)
			n.connect(between.from, between.to)
		}
	}
}

// heal lets frames through between two members.
func (n *Memory) heal(a, b raft.MemberID) {
	for _, lane := range streams {
		n.link(lane, a, b).cut, n.link(lane, b, a).cut = false, false
	}
}

func (n *Memory) link(lane streamKind, from, to raft.MemberID) *memoryLink {
	l := n.links[link{lane, from, to}]
	if l == nil {
		l = &memoryLink{}
		n.links[link{lane, from, to}] = l
	}
	return l
}

// connect tells both ends that they can talk, where both are there.
func (n *Memory) connect(a, b raft.MemberID) {
	from, to := n.endpoints[a], n.endpoints[b]
	if from.open() && to.open() {
		from.post(memoryEvent{what: eventConnected, peer: b})
		to.post(memoryEvent{what: eventConnected, peer: a})
	}
}

// disconnect ends both directions and tells the ends that are there.
func (n *Memory) disconnect(a, b raft.MemberID, refused bool) {
	n.lose(a, b)
	if from, to := n.endpoints[a], n.endpoints[b]; from.open() && to.open() {
		from.post(memoryEvent{what: eventBroken, peer: b, refused: refused})
		to.post(memoryEvent{what: eventBroken, peer: a, refused: refused})
	}
}

// lose drops what is on its way between two members.
func (n *Memory) lose(a, b raft.MemberID) {
	for _, lane := range streams {
		n.link(lane, a, b).session++
		n.link(lane, b, a).session++
	}
}

// memoryEndpoint is the transport of one member. Its fields below the inboxes are guarded by the network's lock.
type memoryEndpoint struct {
	network        *Memory
	self           raft.MemberID
	messages, bulk *memoryInbox // with a goroutine each: bulk delays no message

	receiver Receiver
	closed   bool
}

// memoryInbox is what a member is to be told on a lane.
type memoryInbox struct {
	wake   chan struct{} // something is in the inbox
	done   chan struct{} // closed when deliver has ended
	events []memoryEvent // guarded by the network's lock
}

func newMemoryInbox() *memoryInbox {
	return &memoryInbox{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

type memoryEventKind uint8

const (
	eventFrame memoryEventKind = iota
	eventConnected
	eventBroken
)

type memoryEvent struct {
	what    memoryEventKind
	peer    raft.MemberID
	refused bool
	lane    streamKind
	frame   []byte
	session uint64
}

func (e *memoryEndpoint) open() bool { return e != nil && !e.closed && e.receiver != nil }

func (e *memoryEndpoint) post(event memoryEvent) {
	in := e.messages
	if event.lane == streamBulk {
		in = e.bulk
	}
	in.events = append(in.events, event)
	signal(in.wake)
}

func (e *memoryEndpoint) SetReceiver(r Receiver) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return
	}
	e.receiver = r
	go e.deliver(e.messages)
	go e.deliver(e.bulk)
	for _, peer := range n.members() {
		if peer != e.self {
			n.connect(e.self, peer)
		}
	}
}

func (n *Memory) members() []raft.MemberID {
	ids := make([]raft.MemberID, 0, len(n.endpoints))
	for id := range n.endpoints {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (e *memoryEndpoint) Send(to raft.MemberID, parts [][]byte) bool {
	return e.send(streamMessages, to, parts)
}

func (e *memoryEndpoint) SendBulk(to raft.MemberID, parts [][]byte) bool {
	return e.send(streamBulk, to, parts)
}

func (e *memoryEndpoint) send(lane streamKind, to raft.MemberID, parts [][]byte) bool {
	frame := make([]byte, 0, sizeOf(parts))
	for _, part := range parts {
		frame = append(frame, part...)
	}
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	target := n.endpoints[to]
	if !e.open() || !target.open() || to == e.self {
		return false
	}
	l := n.link(lane, e.self, to)
	if limits := n.limits.of(lane); !limits.admits(l.waiting, len(frame)) {
		return false
	}
	if !l.cut {
		l.waiting.add(len(frame))
		target.post(memoryEvent{what: eventFrame, peer: e.self, lane: lane, frame: frame, session: l.session})
	}
	return true
}

func (e *memoryEndpoint) Close() error {
	defer func() {
		<-e.messages.done
		<-e.bulk.done
	}()
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return nil
	}
	wasOpen := e.open()
	e.closed = true
	if !wasOpen {
		close(e.messages.done)
		close(e.bulk.done)
		return nil
	}
	for _, peer := range n.members() {
		if other := n.endpoints[peer]; peer != e.self && other.open() {
			n.lose(e.self, peer)
			other.post(memoryEvent{what: eventBroken, peer: e.self, refused: true})
		}
	}
	signal(e.messages.wake)
	signal(e.bulk.wake)
	return nil
}

// deliver tells the receiver what is in an inbox, one event at a time and without a lock held.
func (e *memoryEndpoint) deliver(in *memoryInbox) {
	defer close(in.done)
	for range in.wake {
		for {
			event, more, closed := e.next(in)
			if closed {
				return
			}
			if !more {
				break
			}
			e.tell(event)
		}
	}
}

// next takes the first event that is still to be told.
func (e *memoryEndpoint) next(in *memoryInbox) (event memoryEvent, more, closed bool) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(in.events) > 0 && !e.closed {
		event, in.events = in.events[0], in.events[1:]
		if event.what != eventFrame || event.session == n.link(event.lane, event.peer, e.self).session {
			return event, true, false
		}
		n.arrived(e, event)
	}
	if e.closed {
		for _, left := range in.events {
			n.arrived(e, left)
		}
		in.events = nil
	}
	return memoryEvent{}, false, e.closed
}

// arrived gives the room of a frame, if the event is one, back to the queue.
func (n *Memory) arrived(at *memoryEndpoint, event memoryEvent) {
	if event.what == eventFrame {
		n.link(event.lane, event.peer, at.self).waiting.remove(load{1, len(event.frame)})
	}
}

func (e *memoryEndpoint) tell(event memoryEvent) {
	switch event.what {
	case eventConnected:
		e.receiver.Connected(event.peer)
	case eventBroken:
		e.receiver.Broken(event.peer, event.refused)
	case eventFrame:
		if event.lane == streamBulk {
			e.receiver.ReceivedBulk(event.peer, event.frame)
		} else {
			e.receiver.Received(event.peer, event.frame)
		}
		n := e.network
		n.mu.Lock()
		n.arrived(e, event)
		n.mu.Unlock()
	}
}
