package balsa

import (
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// outbox gathers what one turn of the loop has to say to one peer, so that it leaves as one frame.
type outbox struct {
	peer      MemberID
	connected bool
	encoder   wire.Encoder
	// results of proposals that the peer forwarded, kept until the transport takes them.
	results []groupResult
	// chunks are the forwarded proposals in the frame being built: taken back where the transport does not take it.
	chunks []forwardedChunk
	// retry is when to try again after the transport took nothing though there is a connection: its queue was full.
	retry actor.Instant
}

type groupResult struct {
	group  GroupID
	result wire.Result
}

type forwardedChunk struct {
	replica *replica
	items   []wire.Proposal
}

// frameBytes is the size from which a frame is sent before the turn ends.
const frameBytes = 4 << 20

// retryInterval is how long a peer whose queue is full is left alone.
const retryInterval = 10 * time.Millisecond

// outbox returns the peer's outbox, which is sent when the turn ends.
func (l *loop) outbox(peer MemberID) *outbox {
	o := l.outboxes[peer]
	if o == nil {
		o = &outbox{peer: peer, retry: actor.Never}
		l.outboxes[peer] = o
		l.outboxOrder = append(l.outboxOrder, o)
	}
	return o
}

// message adds a message of the protocol.
func (l *loop) message(env raft.Envelope) {
	o := l.outbox(env.To)
	o.encoder.Message(env)
	l.sendIfLarge(o)
}

// propose adds proposals for a leader.
func (l *loop) propose(to MemberID, r *replica, p wire.ForwardProposals) {
	o := l.outbox(to)
	o.encoder.Proposals(p)
	o.chunks = append(o.chunks, forwardedChunk{r, p.Items})
	l.sendIfLarge(o)
}

// answerForwarded sends a result back to who forwarded the proposal.
func (l *loop) answerForwarded(r *replica, to MemberID, result wire.Result) {
	o := l.outbox(to)
	o.results = append(o.results, groupResult{r.config.ID, result})
}

func (l *loop) sendIfLarge(o *outbox) {
	if o.encoder.Size() >= frameBytes {
		l.send(o)
	}
}

// flush sends everything that the turn has gathered, and returns when it wants to try again.
func (l *loop) flush() (retry actor.Instant) {
	retry = actor.Never
	for _, o := range l.outboxOrder {
		o.encodeResults()
		sent := l.send(o)
		if sent || !o.connected { // on a new connection nobody waits for old results
			clear(o.results)
			o.results = o.results[:0]
		}
		retry = min(retry, o.retry)
	}
	return retry
}

// encodeResults adds the results, those of one group in a packet.
func (o *outbox) encodeResults() {
	for rest := o.results; len(rest) > 0; {
		n, bytes := 0, 0
		for n < len(rest) && rest[n].group == rest[0].group && (n == 0 || bytes < forwardChunk) {
			bytes += len(rest[n].result.Value)
			n++
		}
		items := make([]wire.Result, n)
		for i := range items {
			items[i] = rest[i].result
		}
		o.encoder.Results(wire.ForwardResults{Group: rest[0].group, Items: items})
		rest = rest[n:]
	}
}

// send hands the frame to the transport. What that does not take is lost: the protocol copes with it, and forwarded
// proposals are taken back, since nothing of them has left this host.
func (l *loop) send(o *outbox) bool {
	parts := o.encoder.Frame()
	if parts == nil {
		return true
	}
	sent := l.host.config.Transport.Send(o.peer, parts)
	for _, c := range o.chunks {
		if !sent {
			c.replica.unsent(c.items)
			l.timers.set(c.replica)
		}
	}
	clear(o.chunks)
	o.chunks = o.chunks[:0]
	o.retry = actor.Never
	if !sent && o.connected {
		o.retry = l.now.Add(retryInterval)
	}
	return sent
}

// retryOutboxes tries again with the peers whose queues were full.
func (l *loop) retryOutboxes() {
	for _, o := range l.outboxOrder {
		if o.retry <= l.now {
			o.retry = actor.Never
			l.reachable(o.peer)
		}
	}
}

// reachable sends what was held back for want of a way to the leader.
func (l *loop) reachable(peer MemberID) {
	for _, r := range l.order {
		if r.leadership.Leader == peer && len(r.held) > 0 {
			r.releaseHeld()
			l.touch(r)
		}
	}
}
