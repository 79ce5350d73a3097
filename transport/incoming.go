package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/balsadb/balsa/raft"
)

// incoming is a connection that the peer dialled. Its frames come in by it; we only answer its pings.
type incoming struct {
	peer   *peer
	conn   net.Conn
	since  time.Time
	silent time.Duration // how long it may be silent
	done   chan struct{} // closed after the last frame was handed over
	fault  atomic.Pointer[error]
	who    card
	heard  atomic.Int64 // when it was last heard, in nanoseconds since the transport's start
}

// maxUnproven bounds connections that have not made their handshake yet; more are closed at once.
const maxUnproven = 256

// accept takes connections until the listener is closed.
func (t *TCP) accept(l net.Listener) {
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			t.receive(conn)
			continue
		}
		if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of file descriptors, as a rule: others will be closed, so that trying again is right.
		if t.refused.first("accept: " + err.Error()) {
			t.config.Logger.Error("cannot accept connections of peers; will keep trying", "address", l.Addr().String(), "error", err)
		}
		if !wait(t.ctx, pause) {
			return
		}
		pause = min(2*pause, time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// receive serves one connection on a goroutine of its own.
func (t *TCP) receive(raw net.Conn) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		_ = raw.Close()
		return
	}
	t.conns[raw] = struct{}{}
	t.running.Go(func() { t.serve(raw) })
	t.mu.Unlock()
}

func (t *TCP) serve(raw net.Conn) {
	defer func() {
		_ = raw.Close()
		t.mu.Lock()
		delete(t.conns, raw)
		t.mu.Unlock()
	}()
	in := t.greet(raw)
	if in == nil || !in.peer.attach(in) {
		return
	}
	log := in.peer.log.With("from", raw.RemoteAddr().String())
	log.Info("peer connected")
	err := in.run()
	if fault := in.fault.Load(); fault != nil {
		err = *fault
	}
	if errors.Is(err, errMalformed) {
		t.counters.malformed.Add(1)
	}
	if err == io.EOF && in.peer.lane == streamBulk {
		err = nil // the peer has nothing to send
	} else if t.ctx.Err() == nil && in.peer.ctx.Err() == nil {
		log.Warn("connection of peer ended", "error", err)
	}
	_ = raw.Close()
	in.peer.detach(in, err)
}

// greet makes the handshake, and returns nil where that came to nothing.
func (t *TCP) greet(raw net.Conn) *incoming {
	defer t.counters.unproven.Add(-1)
	if t.counters.unproven.Add(1) > maxUnproven {
		t.counters.strangers.Add(1)
		return nil
	}
	_ = raw.SetDeadline(time.Now().Add(t.config.Timing.Dial))
	conn := raw
	if t.config.ServerTLS != nil {
		secure := tls.Server(raw, t.config.ServerTLS)
		if err := secure.HandshakeContext(t.ctx); err != nil {
			t.stranger(raw, fmt.Errorf("TLS: %w", err))
			return nil
		}
		conn = secure
	}
	h, err := readHello(conn)
	if err != nil {
		t.stranger(raw, err)
		return nil
	}
	if h.stream == streamInquiry {
		t.answerInquiry(raw, conn, h)
		return nil
	}
	p, version, refusal := t.judge(h)
	reply := answer{card: t.card(), version: version}
	if refusal != nil {
		reply.reason, reply.text = refusal.Reason, refusal.Text
		t.refuse(raw, h, refusal)
	}
	_, err = conn.Write(reply.encode())
	if err != nil || refusal != nil {
		_ = conn.Close() // TLS says goodbye, so that the reason is read before the end
		return nil
	}
	_ = raw.SetDeadline(time.Time{})
	return &incoming{
		peer: p, conn: conn, since: time.Now(), done: make(chan struct{}), who: h.card,
		silent: max(t.config.Timing.Dead, min(3*h.ping, time.Minute)),
	}
}

func (t *TCP) card() card {
	return card{dialect: t.speaks(), Identity: t.config.Self, boot: t.boot, progress: t.progress()}
}

// progress is how far the receiver says that its log is.
func (t *TCP) progress() Progress {
	if r, ok := t.receiver.(interface{ Progress() Progress }); ok {
		return r.Progress()
	}
	return 0
}

// judge decides about a hello. The order of the reasons is from the general to the particular.
func (t *TCP) judge(h hello) (*peer, uint16, *RefusedError) {
	version, refusal := t.speaks().agree(h.dialect)
	if refusal != nil {
		return nil, 0, refusal
	}
	self := t.config.Self
	switch {
	case slices.Contains(t.config.Former, h.Cluster):
		return nil, 0, refuse(ReasonRecovered, "your cluster %x lost its majority, and cluster %x was recovered from one survivor, without you: "+
			"nothing that your data directory has is in use any more; move it away, and let this member join the new cluster with an empty one", h.Cluster, self.Cluster)
	case h.Cluster != self.Cluster:
		return nil, 0, refuse(ReasonCluster, "you belong to cluster %x, this member to %x: check initial cluster and token; all members of a restored cluster are restored from one backup, with the same options", h.Cluster, self.Cluster)
	case h.Member == self.Member:
		return nil, 0, refuse(ReasonSameMember, "this is %s too: no two members may have the same id", memberName(self.Member))
	case h.to != self.Member:
		return nil, 0, refuse(ReasonWrongMember, "this is %s, not %s: check the advertised peer URLs of both", memberName(self.Member), memberName(h.to))
	case h.stream != streamMessages && h.stream != streamBulk:
		return nil, 0, refuse(ReasonStream, "streams of kind %d are not known to this member", h.stream)
	}
	p := t.peer(h.Member)
	if p == nil && t.hasExpelled(h.Member) {
		return nil, 0, refuse(ReasonRemoved, "%s was removed from the cluster: stop it for good, and add a new member in its place if you need one", memberName(h.Member))
	}
	if p == nil {
		t.tellStranger(h)
		return nil, 0, refuse(ReasonUnknownMember, "%s is not a member of this cluster, as far as %s knows", memberName(h.Member), memberName(self.Member))
	}
	refusal, err := t.admit(p, &h.card)
	if err != nil {
		t.config.Logger.Error("a peer is not listened to", "peer", memberName(h.Member), "error", err)
		return nil, 0, refuse(ReasonStream, "%s cannot take you in at the moment: %v", memberName(self.Member), err)
	}
	if refusal != nil || h.stream == streamMessages {
		return p, version, refusal
	}
	return p.bulk, version, nil
}

// admit decides whether the peer's process that shows this card is to be listened to.
func (t *TCP) admit(p *peer, c *card) (*RefusedError, error) {
	if p.isRival(c.boot) {
		return refuse(ReasonTwice, "another process is connected as %s with the same data directory or a copy of it: of two, only one may run; "+
			"stop this one, and if it was to be a member of its own, start it with an empty directory and a name of its own", memberName(c.Member)), nil
	}
	p.who.mu.Lock()
	p.who.features, p.who.level = Features(c.supported), raft.Level(c.highest)
	p.who.mu.Unlock()
	refusal, err := Admit(t.config.Register, c.Identity, c.boot, c.progress)
	if refusal == nil && err == nil && p.lane == streamMessages {
		p.supersede(c.boot)
		p.bulk.supersede(c.boot)
	}
	return refusal, err
}

// supersede ends connections with a former process of the member: another one was admitted, so that nobody is there any more, though no end
// was seen where a host was lost with its process.
func (p *peer) supersede(boot uint64) {
	p.mu.Lock()
	link, in := p.link, p.incoming
	p.mu.Unlock()
	if boot == 0 {
		return
	}
	if link != nil && link.boot != 0 && link.boot != boot {
		link.superseded.Store(true)
		_ = link.conn.Close()
	}
	if in != nil && in.who.boot != 0 && in.who.boot != boot {
		in.fault.CompareAndSwap(nil, &errSuperseded)
		_ = in.conn.Close()
	}
}

// isRival reports whether another process of the same member holds connections, and lives.
func (p *peer) isRival(boot uint64) bool {
	if p.lane == streamBulk || boot == 0 {
		return false
	}
	p.mu.Lock()
	link, in := p.link, p.incoming
	p.mu.Unlock()
	other, heard := false, time.Duration(0)
	if link != nil && link.boot != 0 && link.boot != boot {
		other, heard = true, time.Duration(link.lastPong.Load())
	}
	if in != nil && in.who.boot != 0 && in.who.boot != boot {
		other, heard = true, max(heard, time.Duration(in.heard.Load()))
	}
	if !other {
		return false
	}
	t := p.transport
	succeeds := p.who.contest(boot, t.now(), heard, t.config.Timing.Ping)
	signal(p.kick) // the connection that we have is asked for a sign of life
	return !succeeds
}

// refuse counts a refusal and says it once per peer and reason.
func (t *TCP) refuse(raw net.Conn, h hello, refusal *RefusedError) {
	t.counters.refused.Add(1)
	if t.refused.first(fmt.Sprintf("%x %d", h.Member, refusal.Reason)) {
		t.config.Logger.Error("refused a peer's connection; further ones like it are only counted",
			"peer", memberName(h.Member), "from", raw.RemoteAddr().String(), "reason", refusal.Reason.String(), "told", refusal.Text)
	}
}

// stranger counts a connection that made no handshake, and says so once per host.
func (t *TCP) stranger(raw net.Conn, err error) {
	if t.ctx.Err() != nil || err == io.EOF {
		return // closed, or somebody who looked whether the port is open
	}
	t.counters.strangers.Add(1)
	var noTLS tls.RecordHeaderError
	if errors.Is(err, errMalformed) || errors.As(err, &noTLS) {
		t.counters.malformed.Add(1)
	}
	host, _, splitErr := net.SplitHostPort(raw.RemoteAddr().String())
	if splitErr != nil {
		host = raw.RemoteAddr().String()
	}
	if t.refused.first("stranger " + host) {
		t.config.Logger.Warn("a connection to the peer port made no handshake; further ones of this host are only counted",
			"from", raw.RemoteAddr().String(), "error", err)
	}
}

// run hands frames over and answers pings until the connection ends, and returns why it did.
func (in *incoming) run() error {
	p := in.peer
	frames := newFrameReader(&patientReader{conn: in.conn, patience: in.silent}, readBuffer, p.transport.config.Limits.FrameBytes)
	for {
		t, body, err := frames.next()
		if err != nil {
			return err
		}
		in.heard.Store(int64(p.transport.now()))
		switch t {
		case frameProgress:
			NoteProgress(p.transport.config.Register, in.who.Identity, Progress(binary.LittleEndian.Uint64(body)))
		case frameData:
			p.counters.receivedFrames.Add(1)
			p.counters.receivedBytes.Add(uint64(frameHeader + len(body)))
			p.deliver(body)
		case framePing:
			if err := in.pong(body); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a frame of type %d where data and pings come", errMalformed, t)
		}
	}
}

func (in *incoming) pong(body []byte) error {
	var frame [frameHeader + pingBytes]byte
	copy(frame[frameHeader:], body)
	putHeader(frame[:], framePong, pingBytes, body)
	if err := in.conn.SetWriteDeadline(time.Now().Add(in.silent)); err != nil {
		return err
	}
	_, err := in.conn.Write(frame[:])
	return err
}

// reject ends the connection for a reason of the receiver's.
func (in *incoming) reject(why error) {
	err := fmt.Errorf("%w: %w", errMalformed, why)
	in.fault.CompareAndSwap(nil, &err)
	_ = in.conn.Close()
}

// patientReader fails a read that brings nothing for too long. The deadline is set anew only when a good part of it has passed.
type patientReader struct {
	conn     net.Conn
	patience time.Duration
	deadline time.Time
}

func (r *patientReader) Read(b []byte) (int, error) {
	if now := time.Now(); r.deadline.Sub(now) < r.patience*3/4 {
		r.deadline = now.Add(r.patience)
		if err := r.conn.SetReadDeadline(r.deadline); err != nil {
			return 0, err
		}
	}
	return r.conn.Read(b)
}
