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

// link names one direction between two members.
type link struct{ from, to raft.MemberID }

// memoryLink is the state of one direction.
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
	e := &memoryEndpoint{network: n, self: self, wake: make(chan struct{}, 1), done: make(chan struct{})}
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

// Cut makes what one member sends to another vanish, without either being told.
func (n *Memory) Cut(from, to raft.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).cut = true
	n.link(to, from) // so that Heal finds both
}

// Heal ends all cuts. A connection over which frames may have vanished breaks, as a stream with a hole in it must.
func (n *Memory) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for between, l := range n.links {
		back := n.link(between.to, between.from)
		if between.from < between.to && (l.cut || back.cut) {
			l.cut, back.cut = false, false
			n.disconnect(between.from, between.to, false)
			n.connect(between.from, between.to)
		}
	}
}

func (n *Memory) link(from, to raft.MemberID) *memoryLink {
	l := n.links[link{from, to}]
	if l == nil {
		l = &memoryLink{}
		n.links[link{from, to}] = l
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
	n.link(a, b).session++
	n.link(b, a).session++
	if from, to := n.endpoints[a], n.endpoints[b]; from.open() && to.open() {
		from.post(memoryEvent{what: eventBroken, peer: b, refused: refused})
		to.post(memoryEvent{what: eventBroken, peer: a, refused: refused})
	}
}

// memoryEndpoint is the transport of one member. Its fields below wake are guarded by the network's lock.
type memoryEndpoint struct {
	network *Memory
	self    raft.MemberID
	wake    chan struct{} // something is in the inbox
	done    chan struct{} // closed when deliver has ended

	receiver Receiver
	inbox    []memoryEvent
	closed   bool
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
	frame   []byte
	session uint64
}

func (e *memoryEndpoint) open() bool { return e != nil && !e.closed && e.receiver != nil }

func (e *memoryEndpoint) post(event memoryEvent) {
	e.inbox = append(e.inbox, event)
	e.signal()
}

func (e *memoryEndpoint) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *memoryEndpoint) SetReceiver(r Receiver) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return
	}
	e.receiver = r
	go e.deliver()
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
	l := n.link(e.self, to)
	if !n.limits.admits(l.waiting, len(frame)) {
		return false
	}
	if !l.cut {
		l.waiting.add(len(frame))
		target.post(memoryEvent{what: eventFrame, peer: e.self, frame: frame, session: l.session})
	}
	return true
}

func (e *memoryEndpoint) Close() error {
	n := e.network
	n.mu.Lock()
	if e.closed {
		n.mu.Unlock()
		<-e.done
		return nil
	}
	wasOpen := e.open()
	e.closed = true
	for _, peer := range n.members() {
		if other := n.endpoints[peer]; wasOpen && peer != e.self && other.open() {
			n.link(e.self, peer).session++
			n.link(peer, e.self).session++
			other.post(memoryEvent{what: eventBroken, peer: e.self, refused: true})
		}
	}
	e.signal()
	n.mu.Unlock()
	if !wasOpen {
		close(e.done)
	}
	<-e.done
	return nil
}

// deliver tells the receiver what is in the inbox, one event at a time and without a lock held.
func (e *memoryEndpoint) deliver() {
	defer close(e.done)
	for range e.wake {
		for {
			event, more, closed := e.next()
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
func (e *memoryEndpoint) next() (event memoryEvent, more, closed bool) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(e.inbox) > 0 && !e.closed {
		event, e.inbox = e.inbox[0], e.inbox[1:]
		l := n.link(event.peer, e.self)
		if event.what != eventFrame || event.session == l.session {
			return event, true, false
		}
		l.waiting.remove(load{1, len(event.frame)})
	}
	if e.closed {
		for _, left := range e.inbox {
			if left.what == eventFrame {
				n.link(left.peer, e.self).waiting.remove(load{1, len(left.frame)})
			}
		}
		e.inbox = nil
	}
	return memoryEvent{}, false, e.closed
}

func (e *memoryEndpoint) tell(event memoryEvent) {
	switch event.what {
	case eventConnected:
		e.receiver.Connected(event.peer)
	case eventBroken:
		e.receiver.Broken(event.peer, event.refused)
	case eventFrame:
		e.receiver.Received(event.peer, event.frame)
		n := e.network
		n.mu.Lock()
		n.link(event.peer, e.self).waiting.remove(load{1, len(event.frame)})
		n.mu.Unlock()
	}
}
