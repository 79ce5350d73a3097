package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"
)

// run keeps a connection to the peer, for as long as it is one and the lane wants it.
func (p *peer) run() {
	defer p.finish()
	defer p.cancel()
	if p.former != nil {
		<-p.former.ended
		p.former = nil
	}
	close(p.ready)
	var pace pace
	for p.wanted() {
		url := p.who.url(pace.attempt)
		link, err := p.connect(url)
		if err != nil {
			p.failed(url, err)
			pace.wait(p.ctx, p.kick, p.longestPause(err))
			continue
		}
		pace.attempt, p.twice = 0, 0
		p.log.Info("connected to peer", "url", url.raw)
		p.connected(link)
		if err = link.run(); err == errUnused {
			p.rested()
			continue
		}
		p.disconnected(err)
		if p.ctx.Err() == nil {
			p.log.Warn("connection to peer broke", "url", url.raw, "error", err)
		}
	}
}

// finish tells the receiver of a removed peer's end. On Close it has been silenced before.
func (p *peer) finish() {
	p.mu.Lock()
	in := p.incoming
	p.mu.Unlock()
	if in != nil {
		<-in.done
	}
	p.farewell()
	if p.bulk != nil {
		<-p.bulk.ended
	}
	close(p.ended)
	p.transport.forget(p)
}

// connect dials, and proves who we are to whom.
func (p *peer) connect(url peerURL) (*outgoing, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.transport.config.Timing.Dial)
	defer cancel()
	conn, err := p.transport.config.dial(ctx, "tcp", url.address)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			p.tellRefused()
		}
		return nil, err
	}
	link, err := p.introduce(ctx, conn, url)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	p.who.prefer(url.raw)
	return link, nil
}

// introduce speaks TLS, where the URL says so, and makes the handshake.
func (p *peer) introduce(ctx context.Context, raw net.Conn, url peerURL) (*outgoing, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, inline := raw, inlineTCP
	if url.tls {
		secure := tls.Client(raw, p.clientTLS(url))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with %s: %w", url.raw, err)
		}
		conn, inline = secure, inlineTLS
	}
	peer, err := p.handshake(conn)
	if err != nil {
		return nil, fmt.Errorf("handshake with %s: %w", url.raw, err)
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	link := newOutgoing(p, conn, url, inline)
	link.boot, link.tells = peer.boot, p.lane == streamMessages && Features(peer.supported)&FeatureProgress != 0
	return link, nil
}

func (p *peer) clientTLS(url peerURL) *tls.Config {
	config := p.transport.config.ClientTLS.Clone()
	if config.ServerName == "" {
		config.ServerName = url.host
	}
	config.DynamicRecordSizingDisabled = true // frames are batches already: fewer records, fewer system calls
	return config
}

// handshake says hello and judges the answer.
func (p *peer) handshake(conn net.Conn) (peer card, err error) {
	t := p.transport
	h := hello{card: t.card(), to: p.id, stream: p.lane, ping: t.config.Timing.Ping}
	if t.config.URLs != nil && p.lane == streamMessages {
		if urls := strings.Join(t.config.URLs(), ","); len(urls) <= maxQuestion-presenceSize {
			h.rest = []byte(urls)
		}
	}
	if _, err := conn.Write(h.encode()); err != nil {
		return card{}, err
	}
	a, err := readAnswer(conn)
	if err != nil {
		if errors.Is(err, errMalformed) {
			t.counters.malformed.Add(1)
		}
		return card{}, err
	}
	if a.reason != accepted {
		return card{}, &RefusedError{Reason: a.reason, Text: a.text, ByPeer: true}
	}
	refusal, err := p.judge(a)
	if refusal != nil {
		return card{}, refusal
	}
	return a.card, err
}

// judge refuses a peer that accepted us, where it is not whom we meant, or what we can speak with.
func (p *peer) judge(a answer) (*RefusedError, error) {
	t := p.transport
	if _, refusal := t.speaks().agree(a.dialect); refusal != nil {
		return refusal, nil
	}
	switch {
	case a.version < t.speaks().lowest || a.version > t.dialect.highest:
		return refuse(ReasonVersion, "it chose protocol version %d, this member speaks %d to %d", a.version, t.speaks().lowest, t.dialect.highest), nil
	case a.Cluster != t.config.Self.Cluster:
		return refuse(ReasonCluster, "it belongs to cluster %x, this member to %x", a.Cluster, t.config.Self.Cluster), nil
	case a.Member != p.id:
		return refuse(ReasonWrongMember, "it is %s, not %s: check its advertised peer URLs", memberName(a.Member), memberName(p.id)), nil
	}
	return t.admit(p, &a.card)
}

// failed says once why there is no connection, and again only when the reason has changed.
func (p *peer) failed(url peerURL, err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.counters.failedDials.Add(1)
	kind, level := "unreachable", slog.LevelWarn
	var refusal *RefusedError
	var dial *net.OpError
	if errors.As(err, &refusal) {
		kind, level = refusal.Reason.String(), slog.LevelError
		p.transport.counters.refused.Add(1)
		p.tellExpelled(refusal)
		p.tellDisowned(refusal)
	} else if !errors.As(err, &dial) || dial.Op != "dial" {
		kind = "no handshake"
	}
	p.mu.Lock()
	p.trouble = err.Error()
	said := p.said == kind
	p.said = kind
	if p.lane == streamBulk {
		p.drop()
	}
	p.mu.Unlock()
	if !said {
		p.log.Log(p.ctx, level, "cannot connect to peer; will keep trying", "url", url.raw, "error", err)
	}
}

// pace spaces attempts to connect: at once after a break, then ever more seldom, and never in step with others.
type pace struct{ attempt int }

const (
	// firstPause is short since a process that is just dying may accept and reset before it refuses.
	firstPause = 2 * time.Millisecond
	maxPause   = 2 * time.Second
)

// longestPause bounds the pauses after an attempt that failed. Who is refused since its former process counts as connected yet is let in as soon
// as that one has not answered a ping.
func (p *peer) longestPause(err error) time.Duration {
	if refusal := (*RefusedError)(nil); errors.As(err, &refusal) && refusal.Reason == ReasonTwice {
		return min(p.transport.config.Timing.Ping/4, maxPause)
	}
	return maxPause
}

// pause returns how long to wait after an attempt that failed: a random share, between half and all, of a bound that doubles.
func (p *pace) pause(longest time.Duration) time.Duration {
	bound := min(firstPause<<min(p.attempt, 20), longest)
	return bound/2 + rand.N(bound/2+1)
}

// wait waits until the next attempt is due, or is worth making since something happened.
func (p *pace) wait(ctx context.Context, kick <-chan struct{}, longest time.Duration) {
	timer := time.NewTimer(p.pause(longest))
	defer timer.Stop()
	p.attempt++
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-kick:
	}
}
