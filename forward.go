package balsa

import (
	"errors"
	"fmt"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// Forwarding: a member that does not lead sends proposals to the leader, all of a turn together, and is sent the results
// back once the leader has applied them. It answers when it has applied as far itself.
//
// A proposal that was sent is never sent again: where the connection breaks or the leader changes before the result is
// there, the outcome is unknown (E54). Only what the leader says it never appended (E55) is held and tried with the next one.

// forwardedProposal is a proposal whose result the leader owes.
type forwardedProposal struct {
	proposal
	settled bool // its result came, or its time is over
}

// forwards is what was sent to the current leader. Ids are consecutive and start at a random number, so that no answer to
// an earlier life of this host is mistaken for one to this; an id below first was given up.
type forwards struct {
	first uint64
	items []forwardedProposal
	head  int
}

func (f *forwards) next() uint64 { return f.first + uint64(len(f.items)-f.head) }

// find returns the proposal of an id, nil where it is not waited for any more.
func (f *forwards) find(id uint64) *forwardedProposal {
	if i := id - f.first; i < uint64(len(f.items)-f.head) {
		if p := &f.items[f.head+int(i)]; !p.settled {
			return p
		}
	}
	return nil
}

// trim drops what is settled from the front.
func (f *forwards) trim() {
	for f.head < len(f.items) && f.items[f.head].settled {
		f.items[f.head] = forwardedProposal{}
		f.head++
		f.first++
	}
	if f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
}

// forwardChunk bounds the bytes of one packet of forwarded proposals, so that one frame is never too large.
const forwardChunk = 1 << 20

// forward sends proposals to the leader.
func (r *replica) forward(batch []proposal) {
	for len(batch) > 0 {
		n, bytes := 0, 0
		for n < len(batch) && (n == 0 || bytes+len(batch[n].entry) <= forwardChunk) {
			bytes += len(batch[n].entry)
			n++
		}
		r.forwardSome(batch[:n])
		batch = batch[n:]
	}
}

func (r *replica) forwardSome(batch []proposal) {
	leader := r.leadership.Leader
	first := r.forwarded.next()
	items := make([]wire.Proposal, 0, len(batch))
	for i := range batch {
		p := batch[i]
		if p.from != 0 { // one hop only
			r.refuse(&p, &NotLeaderError{Leader: leader})
			continue
		}
		p.id = first + uint64(len(items))
		remaining := wire.NoDeadline
		if p.deadline != actor.Never {
			remaining = time.Duration(p.deadline - r.loop.now)
			r.expireBy(p.deadline)
		}
		items = append(items, wire.Proposal{ID: p.id, Remaining: remaining, Entry: p.entry})
		r.forwarded.items = append(r.forwarded.items, forwardedProposal{proposal: p})
	}
	if len(items) == 0 {
		return
	}
	r.note(event{what: "commands forwarded", peer: leader, n: uint64(len(items))})
	r.loop.propose(leader, r, wire.ForwardProposals{Group: r.config.ID, From: r.loop.host.config.Member, Items: items})
}

// unsent takes back proposals that the transport did not take: nothing of them left this host.
func (r *replica) unsent(items []wire.Proposal) {
	for i := range items {
		if p := r.forwarded.find(items[i].ID); p != nil {
			p.settled = true
			r.hold([]proposal{p.proposal})
		}
	}
	r.forwarded.trim()
}

// doubtForwarded gives up on everything that was sent and not answered.
func (r *replica) doubtForwarded(reason error) {
	f := &r.forwarded
	next := f.next()
	for i := range f.items[f.head:] {
		if p := &f.items[f.head+i]; !p.settled {
			r.answerForward(p, Result{}, unknown(reason))
		}
	}
	clear(f.items)
	*f = forwards{first: next, items: f.items[:0]}
}

func (f *forwards) expire(r *replica) {
	for i := range f.items[f.head:] {
		p := &f.items[f.head+i]
		switch {
		case p.settled:
		case p.deadline <= r.loop.now:
			r.answerForward(p, Result{}, unknown(ErrExpired))
		default:
			r.expireBy(p.deadline)
		}
	}
	f.trim()
}

// answerForward answers a forwarded proposal.
func (r *replica) answerForward(p *forwardedProposal, result Result, err error) {
	if err != nil {
		r.group.refused(1)
	}
	r.group.release(1, len(p.entry))
	p.done(result, err)
	p.settled, p.proposal = true, proposal{}
}

// results takes what the leader says became of forwarded proposals.
func (r *replica) results(items []wire.Result) {
	for i := range items {
		item := &items[i]
		p := r.forwarded.find(item.ID)
		if p == nil {
			continue
		}
		switch item.Code {
		case wire.CodeApplied:
			result := Result{Index: item.Index, Term: item.Term, Value: item.Value}
			if r.lost != nil {
				r.lost.atLeast = max(r.lost.atLeast, item.Index)
				r.recoverTo = max(r.recoverTo, item.Index)
			}
			r.batch().waits = append(r.batch().waits, appliedWait{index: item.Index, done: p.done, result: result, bytes: len(p.entry)})
			p.settled, p.proposal = true, proposal{}
		case wire.CodeChangeRefused:
			r.answerForward(p, Result{}, changeRefused(item))
		case wire.CodeNotLeader:
			p.settled = true
			p.proposal.id = 0
			r.hold([]proposal{p.proposal})
		default:
			r.answerForward(p, Result{}, resultError(item))
		}
	}
	r.forwarded.trim()
}

// accept takes proposals that another member forwarded to this one.
func (r *replica) accept(from MemberID, p *wire.ForwardProposals) {
	for i := range p.Items {
		item := &p.Items[i]
		bytes := int64(len(item.Entry))
		deadline := actor.Never
		if item.Remaining != wire.NoDeadline {
			deadline = r.loop.now.Add(item.Remaining)
		}
		waiting := r.group.forwardedBytes.Add(bytes)
		taken := proposal{replica: r, entry: item.Entry, deadline: deadline, from: from, id: item.ID}
		switch {
		case item.Entry.Kind() != raft.EntryNormal && item.Entry.Kind() != raft.EntryConfiguration:
			r.refuse(&taken, fmt.Errorf("%w: an entry of kind %v cannot be proposed", ErrTooLarge, item.Entry.Kind()))
		case waiting > int64(r.config.Limits.ForwardedBytes):
			r.refuse(&taken, fmt.Errorf("%w: the leader has forwarded commands of %d bytes waiting", ErrOverloaded, waiting-bytes))
		default:
			r.proposals = append(r.proposals, taken)
		}
	}
}

// refusal is the answer to a forwarded proposal that was not appended.
func refusal(id uint64, err error) wire.Result {
	if result, ok := changeRefusal(id, err); ok {
		return result
	}
	result := wire.Result{ID: id, Text: err.Error(), Code: wire.CodeUnknown}
	var notLeader *NotLeaderError
	switch {
	case errors.As(err, &notLeader), errors.Is(err, ErrNoLeader):
		result.Code = wire.CodeNotLeader
	case errors.Is(err, ErrOverloaded):
		result.Code = wire.CodeOverloaded
	case errors.Is(err, ErrTooLarge):
		result.Code = wire.CodeTooLarge
	case errors.Is(err, ErrTransferring):
		result.Code = wire.CodeTransferring
	case errors.Is(err, ErrFenced):
		result.Code = wire.CodeFenced
	case errors.Is(err, ErrClosed):
		result.Code = wire.CodeClosed
	}
	return result
}

// doubt is the answer to a forwarded proposal that was appended, and whose fate the leader will not learn.
func doubt(id uint64, reason error) wire.Result {
	return wire.Result{ID: id, Code: wire.CodeUnknown, Text: reason.Error()}
}

// resultError turns a leader's answer into what the caller gets.
func resultError(item *wire.Result) error {
	switch item.Code {
	case wire.CodeOverloaded:
		return fromLeader(ErrOverloaded, item.Text)
	case wire.CodeTooLarge:
		return fromLeader(ErrTooLarge, item.Text)
	case wire.CodeTransferring:
		return fromLeader(ErrTransferring, item.Text)
	case wire.CodeFenced, wire.CodeClosed:
		return fromLeader(ErrNoLeader, item.Text)
	}
	return unknown(fmt.Errorf("the leader says: %s", item.Text))
}

func fromLeader(kind error, text string) error {
	return fmt.Errorf("%w (the leader says: %s)", kind, text)
}
