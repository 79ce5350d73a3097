package balsa

import (
	"container/heap"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// loop drives the protocol of all groups of a host. It is an actor: each turn it takes everything that has arrived, feeds
// it to the groups' protocols in a fixed order, and then has each group that was touched carry out what came of it,
// once: one write, one frame to each peer, one batch to the applier. Batches form because work arrives while a turn runs.
type loop struct {
	host *Host
	task actor.Task
	now  actor.Instant

	control   actor.Mailbox[func()]
	arrivals  actor.Mailbox[arrival]
	persisted actor.Mailbox[persisted]
	fetched   actor.Mailbox[fetched]
	applied   actor.Mailbox[*applyBatch]
	reads     actor.Mailbox[readRequest]
	proposals actor.Mailbox[proposal]

	replicas    map[GroupID]*replica
	order       []*replica // as they were started
	touched     []*replica // this turn
	timers      timers
	outboxes    map[MemberID]*outbox
	outboxOrder []*outbox
	peers       map[MemberID]string // where the transport was told that they are
	expelled    []MemberID
	strangers   []MemberID // peers of the transport that have no seat as far as is known here
}

// arrival is what the transport tells: a packet, or news of a connection.
type arrival struct {
	news    news
	refused bool
	from    MemberID
	bytes   int
	packet  wire.Packet
}

type news uint8

const (
	newsPacket news = iota
	newsConnected
	newsBroken
)

func newLoop(h *Host) *loop {
	return &loop{host: h, replicas: map[GroupID]*replica{}, outboxes: map[MemberID]*outbox{}, peers: map[MemberID]string{}}
}

// bind lets posts wake the loop.
func (l *loop) bind(task actor.Task) {
	l.task = task
	l.control.Bind(task)
	l.arrivals.Bind(task)
	l.persisted.Bind(task)
	l.fetched.Bind(task)
	l.applied.Bind(task)
	l.reads.Bind(task)
	l.proposals.Bind(task)
}

func (l *loop) turn(now actor.Instant) actor.Instant {
	l.now = now
	l.retryOutboxes()
	for _, act := range l.control.Take() {
		act()
	}
	l.takeArrivals()
	l.takePersisted()
	l.takeFetched()
	l.takeApplied()
	l.takeReads()
	l.takeProposals()
	l.touchDue()
	for i := 0; i < len(l.touched); i++ {
		r := l.touched[i]
		r.touched = false
		r.settle()
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	retry := l.flush()
	return min(l.timers.next(), retry)
}

// touch lets a replica carry out its output when the turn ends.
func (l *loop) touch(r *replica) {
	if !r.touched {
		r.touched = true
		l.touched = append(l.touched, r)
	}
}

func (l *loop) touchDue() {
	for l.timers.next() <= l.now {
		r := l.timers.heap[0]
		l.timers.remove(r)
		l.touch(r)
	}
}

func (l *loop) takeArrivals() {
	bytes := 0
	for _, a := range l.arrivals.Take() {
		bytes += a.bytes
		switch a.news {
		case newsPacket:
			l.takePacket(a.from, &a.packet)
		case newsConnected:
			l.connected(a.from)
		case newsBroken:
			l.broken(a.from, a.refused)
		}
	}
	if bytes > 0 {
		l.host.inboxBytes.Add(-int64(bytes))
	}
}

func (l *loop) takePacket(from MemberID, p *wire.Packet) {
	switch {
	case p.Proposals != nil:
		if r := l.replicas[p.Proposals.Group]; r != nil {
			r.accept(from, p.Proposals)
			l.touch(r)
		}
	case p.Results != nil:
		if r := l.replicas[p.Results.Group]; r != nil && from == r.leadership.Leader {
			r.results(p.Results.Items)
			l.touch(r)
		}
	case p.Loss != nil:
		if r := l.replicas[p.Loss.Group]; r != nil {
			r.lossesAsked(p.Loss)
			l.touch(r)
		}
	case p.Found != nil:
		if r := l.replicas[p.Found.Group]; r != nil {
			r.lossesAnswered(p.Found)
			l.touch(r)
		}
	case p.Request != nil:
		if r := l.replicas[p.Request.Group]; r != nil {
			r.stateRequested(p.Request)
			l.touch(r)
		}
	case p.Report != nil:
		w, report := l.host.snapshots, p.Report
		w.inbox.Post(func() { w.report(report) })
	case p.Order != nil:
		if r := l.replicas[p.Order.Group]; r != nil {
			r.takeOrder(p.Order)
		}
	case p.News != nil:
		w, news := l.host.snapshots, p.News
		w.inbox.Post(func() { w.takeNews(news) })
	default:
		if r := l.replicas[p.Envelope.Group]; r != nil {
			r.receive(p.Envelope)
			l.touch(r)
		}
	}
}

func (l *loop) connected(peer MemberID) {
	l.outbox(peer).connected = true
	for _, r := range l.order {
		r.note(event{what: "connected", peer: peer})
		r.guard(func() { r.raft.PeerConnected(r.now(), peer) })
		l.touch(r)
	}
	l.reachable(peer)
}

func (l *loop) broken(peer MemberID, refused bool) {
	o := l.outbox(peer)
	o.connected = false
	if refused {
		w := l.host.snapshots
		w.inbox.Post(func() { w.lost(peer) })
	}
	clear(o.results)
	o.results = o.results[:0]
	for _, r := range l.order {
		r.note(event{what: "broken", peer: peer})
		r.guard(func() { r.raft.PeerBroken(r.now(), peer, refused) })
		if r.leadership.Leader == peer {
			r.doubtForwarded(ErrConnectionBroke)
		}
		l.touch(r)
	}
}

func (l *loop) takePersisted() {
	for _, p := range l.persisted.Take() {
		r := p.replica
		r.note(event{what: "write durable", n: uint64(p.seq)})
		r.guard(func() { r.raft.Persisted(r.now(), p.seq) })
		l.touch(r)
	}
}

func (l *loop) takeFetched() {
	for _, f := range l.fetched.Take() {
		r := f.replica
		r.note(event{what: "entries fetched", peer: f.fetch.For, index: f.fetch.Low, n: uint64(len(f.entries))})
		r.guard(func() { r.raft.Fetched(r.now(), f.fetch, f.entries) })
		l.touch(r)
	}
}

func (l *loop) takeApplied() {
	for _, b := range l.applied.Take() {
		r := b.replica
		for i := range b.results {
			l.answerForwarded(r, b.results[i].to, b.results[i].result)
		}
		if b.lost != nil {
			r.loseState(b.lost)
		}
		if b.epoch == r.epoch {
			r.noteRestored(b.restored, b.covered)
			r.noteApplied(b.applied)
		}
		r.recycle(b)
		l.touch(r)
	}
}

func (l *loop) takeReads() {
	for _, q := range l.reads.Take() {
		r := q.replica
		if r.stopped != nil {
			r.group.reading.Add(-1)
			q.done(0, r.stopped)
			continue
		}
		if r.lost != nil {
			r.group.reading.Add(-1)
			q.done(0, r.lost.err)
			continue
		}
		r.arriving = append(r.arriving, q.done)
		l.touch(r)
	}
}

func (l *loop) takeProposals() {
	batch := l.proposals.Take()
	for i := range batch {
		p := &batch[i]
		r := p.replica
		if r.stopped != nil {
			r.refuse(p, r.stopped)
			continue
		}
		r.proposals = append(r.proposals, *p)
		l.touch(r)
	}
}

// Received implements transport.Receiver: frames are taken apart and checked where they arrive, on the connection's own
// goroutine, so that the loop does not spend its time on checksums.
func (h *Host) Received(from raft.MemberID, frame []byte) {
	var room [4]wire.Packet
	packets, err := wire.Decode(room[:0], frame)
	if err != nil {
		h.malformed(from, err)
		return
	}
	full := h.inboxBytes.Load() > int64(h.config.InboxBytes)
	for i := range packets {
		switch p := &packets[i]; {
		case full:
			h.drop(from, p)
		case p.Results == nil && p.From() != from, p.Chunk != nil:
			h.malformed(from, errForged)
		default:
			bytes := len(frame) / len(packets)
			h.inboxBytes.Add(int64(bytes))
			h.loop.arrivals.Post(arrival{from: from, bytes: bytes, packet: *p})
		}
	}
}

// drop loses a packet for want of room. The protocol asks again for its messages; forwarded proposals are refused, since nobody else would.
func (h *Host) drop(from MemberID, p *wire.Packet) {
	h.dropped.Add(1)
	if p.Proposals == nil {
		return
	}
	items := make([]wire.Result, len(p.Proposals.Items))
	for i := range items {
		items[i] = refusal(p.Proposals.Items[i].ID, errInboxFull)
	}
	var e wire.Encoder
	e.Results(wire.ForwardResults{Group: p.Proposals.Group, Items: items})
	h.config.Transport.Send(from, e.Frame())
}

// Connected implements transport.Receiver.
func (h *Host) Connected(peer raft.MemberID) {
	h.loop.arrivals.Post(arrival{news: newsConnected, from: peer})
}

// Broken implements transport.Receiver.
func (h *Host) Broken(peer raft.MemberID, refused bool) {
	h.loop.arrivals.Post(arrival{news: newsBroken, from: peer, refused: refused})
}

// timers knows when each replica wants a turn next.
type timers struct{ heap timerHeap }

func (t *timers) next() actor.Instant {
	if len(t.heap) == 0 {
		return actor.Never
	}
	return t.heap[0].due
}

func (t *timers) remove(r *replica) {
	if r.timer > 0 {
		heap.Remove(&t.heap, r.timer-1)
	}
}

// set takes over when a replica wants a turn.
func (t *timers) set(r *replica) {
	due := r.wantsTurn()
	switch {
	case due == actor.Never:
		t.remove(r)
	case r.timer > 0:
		r.due = due
		heap.Fix(&t.heap, r.timer-1)
	default:
		r.due = due
		heap.Push(&t.heap, r)
	}
}

// timerHeap is a heap of replicas; replica.timer is the place in it, counted from 1, 0 for none.
type timerHeap []*replica

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	r := x.(*replica)
	*h = append(*h, r)
	r.timer = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.timer = 0
	return r
}

// close answers everything that is still in the mailboxes. The actor is stopped by now: whoever calls it owns the loop.
func (l *loop) close() {
	for _, act := range l.control.Close() {
		act()
	}
	l.arrivals.Close()
	l.persisted.Close()
	l.fetched.Close()
	l.applied.Close()
	for _, q := range l.reads.Close() {
		q.replica.group.reading.Add(-1)
		q.done(0, ErrClosed)
	}
	left := l.proposals.Close()
	for i := range left {
		left[i].replica.refuse(&left[i], ErrClosed)
	}
	for _, r := range l.order {
		if r.stopped == nil {
			r.stop(ErrClosed)
		}
		r.handOver()
	}
}
