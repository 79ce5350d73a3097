package transport

import (
	"errors"
	"time"

	"github.com/balsadb/balsa/raft"
)

// The bulk lane is a peer of its own beside the one for messages: it has its own queue and its own connections, made and
// proven in the same way. It differs in three things. It is connected while it is used: the first frame dials, and a minute
// without any hangs up. A dial that fails drops what waits, for nobody knows how long the next one would take. And nothing
// about the other host's life is read from it, so that Connected and Broken are told of messages alone.

// bulkRest is how long a connection for bulk goes unused before it is closed.
const bulkRest = time.Minute

var errUnused = errors.New("unused")

// bulkReceiver tells a receiver what comes over the bulk lane, and nothing of that lane's connections.
type bulkReceiver struct{ Receiver }

func (r bulkReceiver) Received(from raft.MemberID, frame []byte) { r.ReceivedBulk(from, frame) }
func (bulkReceiver) Connected(raft.MemberID)                     {}
func (bulkReceiver) Broken(raft.MemberID, bool)                  {}

// SendBulk implements Transport. There is no bulk without a connection for messages.
func (t *TCP) SendBulk(to raft.MemberID, parts [][]byte) bool {
	p := t.peer(to)
	return p != nil && p.linked() && p.bulk.enqueue(parts)
}

// RejectBulk is Reject for what came over the bulk lane. The receiver may call it from ReceivedBulk.
func (t *TCP) RejectBulk(peer raft.MemberID, why error) {
	if p := t.peer(peer); p != nil {
		p.bulk.reject(why)
	}
}

func (p *peer) linked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link != nil
}

// wanted waits until the lane is to be connected: the one for messages always is, the one for bulk when a frame
// waits. It reports false when the peer is one no longer.
func (p *peer) wanted() bool {
	for p.ctx.Err() == nil {
		p.mu.Lock()
		wanted := p.lane == streamMessages || len(p.queue) > 0
		p.mu.Unlock()
		if wanted {
			return true
		}
		select {
		case <-p.wake:
		case <-p.ctx.Done():
		}
	}
	return false
}

// unused reports whether a connection was there for nothing lately.
func (o *outgoing) unused() bool {
	return o.peer.lane == streamBulk && time.Since(o.used) >= bulkRest
}
