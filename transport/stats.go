package transport

import (
	"sync/atomic"
	"time"

	"github.com/balsadb/balsa/raft"
)

// counters count what happened to no peer in particular.
type counters struct {
	malformed atomic.Uint64
	refused   atomic.Uint64
	strangers atomic.Uint64
	unproven  atomic.Int64 // connections that have not made their handshake yet
}

// peerCounters count what happened between us and one peer, over all connections.
type peerCounters struct {
	sentFrames, sentBytes         atomic.Uint64
	receivedFrames, receivedBytes atomic.Uint64
	dropped                       atomic.Uint64
	failedDials                   atomic.Uint64
	breaks                        atomic.Uint64
	roundTrip                     atomic.Int64
}

// Stats is a snapshot of what a transport did since it was made.
type Stats struct {
	// Malformed counts connections that ended because of bytes that no peer would send.
	Malformed uint64
	// Refused counts handshakes that were refused, by us or by peers.
	Refused uint64
	// Strangers counts connections to us that ended before a handshake: cut, timed out, no TLS, malformed, or too many at once.
	Strangers uint64
	Peers     []PeerStats // in the order of their ids
}

// PeerStats is what happened between this host and one peer.
type PeerStats struct {
	Peer raft.MemberID
	// ConnectedSince and ReceivingSince are when the present connections to and from the peer were made; zero where there is none.
	ConnectedSince, ReceivingSince time.Time
	// URL is where the peer was last tried or reached.
	URL                           string
	SentFrames, SentBytes         uint64 // bytes as they were on the connection, before TLS
	ReceivedFrames, ReceivedBytes uint64
	// Dropped counts frames that were refused by Send, and those that were lost in the queue when a connection broke.
	Dropped                   uint64
	QueuedFrames, QueuedBytes int
	Breaks, FailedDials       uint64
	// RoundTrip is the last one measured; 0 before the first.
	RoundTrip time.Duration
	// Trouble is the last error with this peer; empty since the last time that all was well.
	Trouble string
	// Bulk is the same of the bulk lane; its own Bulk is nil.
	Bulk *PeerStats
}

// Stats returns what happened so far.
func (t *TCP) Stats() Stats {
	c := &t.counters
	s := Stats{Malformed: c.malformed.Load(), Refused: c.refused.Load(), Strangers: c.strangers.Load()}
	for _, p := range t.members() {
		messages, bulk := p.stats(), p.bulk.stats()
		messages.Bulk = &bulk
		s.Peers = append(s.Peers, messages)
	}
	return s
}

func (p *peer) stats() PeerStats {
	c := &p.counters
	s := PeerStats{
		Peer:       p.id,
		SentFrames: c.sentFrames.Load(), SentBytes: c.sentBytes.Load(),
		ReceivedFrames: c.receivedFrames.Load(), ReceivedBytes: c.receivedBytes.Load(),
		Dropped: c.dropped.Load(), Breaks: c.breaks.Load(), FailedDials: c.failedDials.Load(),
		RoundTrip: time.Duration(c.roundTrip.Load()),
	}
	s.URL = p.who.url(0).raw
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Trouble = p.trouble
	s.QueuedFrames, s.QueuedBytes = p.waiting.frames, p.waiting.bytes
	if p.link != nil {
		s.ConnectedSince, s.URL = p.link.since, p.link.url.raw
	}
	if p.incoming != nil {
		s.ReceivingSince = p.incoming.since
	}
	return s
}
