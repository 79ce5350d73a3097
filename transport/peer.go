package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/balsadb/balsa/raft"
)

// peer is another host, on one lane: a queue of frames for it, the connection that we dialled, over which they leave, and the
// one that it dialled, over which its frames come in. The peer for messages has the one for bulk.
//
// Two locks, neither held while anything waits for the network: mu guards the fields, tell is held while the receiver is called,
// so that what it is told about one peer has an order. tell may be held when mu is taken, never the other way round.
type peer struct {
	transport *TCP
	id        raft.MemberID
	who       *acquaintance
	lane      streamKind
	bulk      *peer // the same host on the bulk lane; that one has none
	limits    Limits
	log       *slog.Logger
	receiver  Receiver
	ctx       context.Context // ends when the peer is removed or the transport closed
	cancel    context.CancelFunc
	wake      chan struct{} // frames are in the queue
	kick      chan struct{} // something about the peer changed: its URLs, or a connection that it made or lost
	former    *peer         // had the same id and was removed; nothing is told about this one before that one's end
	ready     chan struct{} // closed when former has ended
	ended     chan struct{} // closed when nothing is told about this one any more
	counters  peerCounters
	twice     time.Duration // run's: since when the peer says that there is another process of this host; 0 where it does not

	mu       sync.Mutex
	link     *outgoing
	incoming *incoming
	queue    []outFrame
	waiting  load // in the queue or being written
	removed  bool
	trouble  string // the last error, for status
	said     string // the kind of trouble that was logged last

	tell    sync.Mutex
	told    bool          // Connected was the last thing told
	owed    bool          // a connection ended, and Broken was not told yet
	doubted time.Duration // when a connection ended last: the other one needs an answer to a later ping to count as alive
	silent  bool          // nothing is told any more
	late    *time.Timer
}

// outFrame is a frame in a queue.
type outFrame struct {
	parts [][]byte
	size  int
}

func newPeer(t *TCP, id raft.MemberID, urls []peerURL) *peer {
	who, log := &acquaintance{urls: urls}, t.config.Logger.With("peer", memberName(id))
	p := newLane(t.ctx, t, id, who, streamMessages, log)
	p.bulk = newLane(p.ctx, t, id, who, streamBulk, log.With("lane", "bulk"))
	return p
}

func newLane(ctx context.Context, t *TCP, id raft.MemberID, who *acquaintance, lane streamKind, log *slog.Logger) *peer {
	p := &peer{
		transport: t, id: id, who: who, lane: lane, limits: t.config.Limits.of(lane), log: log,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue takes a frame for the sender, or drops it.
func (p *peer) enqueue(parts [][]byte) bool {
	size := sizeOf(parts)
	p.mu.Lock()
	if (p.link == nil && p.lane == streamMessages) || !p.limits.admits(p.waiting, size) {
		p.mu.Unlock()
		p.counters.dropped.Add(1)
		return false
	}
	p.queue = append(p.queue, outFrame{parts, size})
	p.waiting.add(size)
	first := len(p.queue) == 1
	p.mu.Unlock()
	if first {
		signal(p.wake)
	}
	return true
}

// take exchanges the queue for an empty slice. What was taken still counts as waiting, until release.
func (p *peer) take(empty []outFrame) []outFrame {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := p.queue
	p.queue = empty[:0]
	return full
}

func (p *peer) release(l load) {
	p.mu.Lock()
	p.waiting.remove(l)
	p.mu.Unlock()
}

func (p *peer) setURLs(urls []peerURL) {
	p.who.setURLs(urls)
	signal(p.kick)
	signal(p.bulk.kick)
}

// connected makes a link the one that frames leave by.
func (p *peer) connected(l *outgoing) {
	p.mu.Lock()
	p.link, p.trouble, p.said = l, "", ""
	p.mu.Unlock()
	p.alive(p.transport.now())
}

// disconnected ends a link. What was queued for it is lost: nothing is sent again over the next one (E54).
func (p *peer) disconnected(err error) {
	p.counters.breaks.Add(1)
	p.mu.Lock()
	p.link, p.trouble = nil, err.Error()
	p.drop()
	p.mu.Unlock()
	p.owe()
}

// drop loses what waits. The caller holds mu.
func (p *peer) drop() {
	p.counters.dropped.Add(uint64(p.waiting.frames))
	p.queue, p.waiting = nil, load{}
}

// rested ends a link that nothing used. A frame that came in that moment leaves by the next one.
func (p *peer) rested() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = nil
}

// attach makes a connection the one that frames come in by. The newer takes the place of the older, whose last frame
// was handed over, and whose end was told, when attach returns. It reports false where the peer was removed meanwhile.
func (p *peer) attach(in *incoming) bool {
	<-p.ready
	p.mu.Lock()
	former := p.incoming
	if !p.removed {
		p.incoming = in
	}
	removed := p.removed
	p.mu.Unlock()
	if removed {
		return false
	}
	if former != nil {
		_ = former.conn.Close()
		<-former.done
	}
	p.tellBroken(false)
	signal(p.kick) // who can reach us can perhaps be reached
	return true
}

// detach ends an incoming connection: what the peer sent last may be lost. Without an error that is no trouble.
func (p *peer) detach(in *incoming, err error) {
	p.owe() // before it is let go: a redial that is refused meanwhile is told once, for both ends
	p.mu.Lock()
	if p.incoming == in {
		p.incoming = nil
	}
	if err != nil {
		p.trouble = err.Error()
	}
	p.mu.Unlock()
	close(in.done)
	signal(p.kick)
}

func (p *peer) remove() {
	if p.bulk != nil {
		p.bulk.remove()
	}
	p.mu.Lock()
	p.removed = true
	in := p.incoming
	p.mu.Unlock()
	p.cancel()
	if in != nil {
		_ = in.conn.Close()
	}
}

func (p *peer) reject(why error) {
	p.mu.Lock()
	in := p.incoming
	p.mu.Unlock()
	if in != nil {
		in.reject(why)
	}
}

// deliver hands a frame to the receiver.
func (p *peer) deliver(frame []byte) {
	p.tell.Lock()
	defer p.tell.Unlock()
	if !p.silent {
		p.receiver.Received(p.id, frame)
	}
}

// owe notes that a connection ended. Broken is told as soon as it is known whether the peer refuses, at the latest
// after the time that an immediate redial is given.
func (p *peer) owe() {
	p.tell.Lock()
	defer p.tell.Unlock()
	p.doubted = p.transport.now()
	if p.owed || p.silent {
		return
	}
	p.owed = true
	p.late = time.AfterFunc(p.transport.config.Timing.Redial, func() { p.tellBroken(false) })
}

// inDoubt reports whether a connection ended since the receiver was told that frames can be sent.
func (p *peer) inDoubt() bool {
	p.tell.Lock()
	defer p.tell.Unlock()
	return p.owed || !p.told
}

// tellBroken tells what is owed, if anything is.
func (p *peer) tellBroken(refused bool) {
	p.tell.Lock()
	defer p.tell.Unlock()
	if p.ctx.Err() == nil {
		p.pay(refused)
	}
}

// tellRefused says that the peer's host refused a dial. Its process is gone then, unless it holds a connection with us: it has
// just made one and listens elsewhere, or has died and we are about to see that end too, after which there is another dial.
func (p *peer) tellRefused() {
	p.mu.Lock()
	holds := p.incoming != nil
	p.mu.Unlock()
	if !holds {
		p.tellBroken(true)
	}
}

func (p *peer) pay(refused bool) {
	if !p.owed || p.silent {
		return
	}
	p.owed, p.told = false, false
	p.late.Stop()
	p.receiver.Broken(p.id, refused)
}

// alive says that the link to the peer was known to work at an instant. If that was after the last break, the receiver is
// told of that break, and that frames can be sent.
func (p *peer) alive(at time.Duration) {
	p.tell.Lock()
	defer p.tell.Unlock()
	if at < p.doubted || p.silent || p.ctx.Err() != nil {
		return
	}
	p.pay(false)
	if !p.told {
		p.told = true
		p.receiver.Connected(p.id)
	}
}

// farewell tells the end of a removed peer's connections, and nothing more of it.
func (p *peer) farewell() {
	p.tell.Lock()
	p.pay(false)
	p.tell.Unlock()
	p.silence()
}

// silence ends what the receiver is told; when it returns, no call is running.
func (p *peer) silence() {
	p.tell.Lock()
	defer p.tell.Unlock()
	p.silent = true
	if p.late != nil {
		p.late.Stop()
	}
}
