package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// outgoing is a connection that we dialled. Frames leave by it; nothing but answers to pings comes back.
type outgoing struct {
	peer  *peer
	conn  net.Conn
	url   peerURL
	batch *batch
	since time.Time
	boot  uint64        // of the process at the other end
	tells bool          // it wants to know our progress
	pongs chan struct{} // an answer came
	ended chan struct{} // the peer closed, or said something odd: readErr, written before, says why

	readErr    error
	superseded atomic.Bool // another process of the peer was admitted

	lastPong atomic.Int64 // when the last answer came, in nanoseconds since the transport's start
	answered atomic.Int64 // when the ping that it answers was sent

	// The rest belongs to run.
	taken    []outFrame
	pingDue  bool
	used     time.Time // when a frame was written last
	ping     *time.Timer
	progress time.Time // of the last write so large that the peer must have taken some of it
	deadline time.Time // of writes, as last set
}

// largeWrite is more than what a dead connection's buffers swallow often.
const largeWrite = 64 << 10

// pongBuffer is what answers to pings are read through.
const pongBuffer = 256

var (
	errDead  = errors.New("no sign of life")
	errMoved = errors.New("the peer's URLs changed")

	errSuperseded = errors.New("another process of the peer took its place")
)

func newOutgoing(p *peer, conn net.Conn, url peerURL, inline int) *outgoing {
	now := time.Now()
	o := &outgoing{
		peer: p, conn: conn, url: url, batch: newBatch(inline), since: now,
		pongs: make(chan struct{}, 1), ended: make(chan struct{}),
		progress: now, used: now, pingDue: true, // the first ping goes out at once: status shows a round trip from the start
	}
	return o
}

// run writes what is queued until the connection ends, and returns why it did.
func (o *outgoing) run() error {
	p := o.peer
	p.transport.running.Go(o.read)
	defer func() { <-o.ended }()
	defer func() { _ = o.conn.Close() }()
	stop := context.AfterFunc(p.ctx, func() { _ = o.conn.Close() }) // a write that hangs does not outlast the peer
	defer stop()
	o.ping = time.NewTimer(p.transport.config.Timing.Ping)
	defer o.ping.Stop()
	for {
		o.taken = p.take(o.taken)
		if err := o.send(); err != nil {
			return o.cause(err)
		}
		select {
		case <-p.wake:
		case <-o.ping.C:
			if o.unused() {
				return errUnused
			}
			o.pingDue = true
		case <-o.pongs:
			p.alive(time.Duration(o.answered.Load()))
		case <-p.kick:
			if !p.who.hasURL(o.url.raw) {
				return errMoved
			}
			o.pingDue = p.inDoubt() || p.who.contested(o.boot) // find out at once whether this connection lives
		case <-o.ended:
			return o.readErr
		}
	}
}

// cause prefers what the reader saw to what the writer felt: a peer's reset says more than a closed connection.
func (o *outgoing) cause(err error) error {
	if p := o.peer; p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	select {
	case <-o.ended:
		if o.readErr != nil {
			return o.readErr
		}
	default:
	}
	return err
}

// send writes what was taken, and a ping where one is due.
func (o *outgoing) send() error {
	if o.pingDue {
		if err := o.checkAlive(); err != nil {
			return err
		}
		o.pingDue = false
		o.ping.Reset(o.peer.transport.config.Timing.Ping)
		o.batch.addPing(o.peer.transport.now())
		if o.tells { // also what was told before: the peer may not have noted it yet
			o.batch.addProgress(o.peer.transport.progress())
		}
	}
	var gathered load
	for i, f := range o.taken {
		o.batch.add(frameData, f.size, f.parts)
		gathered.add(f.size)
		o.taken[i] = outFrame{}
		if o.batch.size >= batchBytes {
			if err := o.flush(gathered); err != nil {
				return err
			}
			gathered = load{}
		}
	}
	return o.flush(gathered)
}

// flush writes the batch and gives the room of its frames back to the queue.
func (o *outgoing) flush(gathered load) error {
	if o.batch.size == 0 {
		return nil
	}
	defer o.batch.reset()
	c := &o.peer.counters
	c.sentFrames.Add(uint64(gathered.frames))
	c.sentBytes.Add(uint64(o.batch.size))
	if err := o.batch.write(o.conn, o.extendDeadline); err != nil {
		return err
	}
	if gathered.frames > 0 {
		o.used = time.Now()
	}
	if o.batch.size >= largeWrite {
		o.progress = time.Now()
	}
	o.peer.release(gathered)
	return nil
}

// extendDeadline gives the next write call its time. Deadlines are set anew only when a good part of them has passed.
func (o *outgoing) extendDeadline() error {
	dead := o.peer.transport.config.Timing.Dead
	now := time.Now()
	if o.deadline.Sub(now) > dead*3/4 {
		return nil
	}
	o.deadline = now.Add(dead)
	return o.conn.SetWriteDeadline(o.deadline)
}

// checkAlive fails where the connection is open but dead: neither was a ping answered for long, nor much taken from us.
func (o *outgoing) checkAlive() error {
	t := o.peer.transport
	pong := t.start.Add(time.Duration(o.lastPong.Load()))
	last := o.progress
	if pong.After(last) {
		last = pong
	}
	if silence := time.Since(last); silence > t.config.Timing.Dead {
		return fmt.Errorf("%w for %v", errDead, silence.Round(time.Millisecond))
	}
	return nil
}

// read takes answers to pings until the connection ends, which it learns at once.
func (o *outgoing) read() {
	defer close(o.ended)
	frames := newFrameReader(o.conn, pongBuffer, pingBytes)
	for {
		t, body, err := frames.next()
		if err == nil && t != framePong {
			err = fmt.Errorf("%w: a frame of type %d where only answers to pings come", errMalformed, t)
		}
		if err == nil {
			err = o.pong(time.Duration(binary.LittleEndian.Uint64(body)))
		}
		if err != nil {
			if errors.Is(err, errMalformed) {
				o.peer.transport.counters.malformed.Add(1)
			}
			if o.superseded.Load() {
				err = errSuperseded
			}
			o.readErr = err
			return
		}
	}
}

// pong notes the answer to a ping that was sent at an instant.
func (o *outgoing) pong(sent time.Duration) error {
	t := o.peer.transport
	now := t.now()
	if sent < 0 || sent > now {
		return fmt.Errorf("%w: an answer to a ping that was never sent", errMalformed)
	}
	o.lastPong.Store(int64(now))
	o.answered.Store(int64(sent))
	o.peer.counters.roundTrip.Store(int64(now - sent))
	if t.config.OnRoundTrip != nil && o.peer.lane == streamMessages { // a ping behind bulk says how much of that there is
		t.config.OnRoundTrip(o.peer.id, now-sent)
	}
	signal(o.pongs)
	return nil
}
