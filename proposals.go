package balsa

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// Result is what became of a command: it is at Index of the log, in Term, and was applied on this member.
type Result struct {
	Index Index
	Term  Term
	// Value is what the state machine left in Command.Result.
	Value []byte
}

// proposal is a command on its way to the log.
type proposal struct {
	replica  *replica
	entry    raft.Entry
	done     func(Result, error) // nil where another member forwarded it
	deadline actor.Instant       // Never where there is none
	from     MemberID            // who forwarded it, and under which number; 0 where it was proposed here
	id       uint64
}

// waiter is what is left of a proposal once it was appended: who is to be told.
type waiter struct {
	index    Index
	term     Term
	done     func(Result, error) // nil where it was forwarded, or was answered already
	deadline actor.Instant
	from     MemberID
	id       uint64
	bytes    int
}

// Propose replicates a command and returns what the state machine made of it, on whichever member it is called: members
// that do not lead send it to the leader and answer once they have applied it themselves, so that a caller sees its
// own writes in the state of the member it talks to. See the errors of this package for what may be tried again.
//
// A context that ends does not withdraw the command. Once it may have been appended the error is ErrOutcomeUnknown,
// which wraps the context's.
func (g *Group) Propose(ctx context.Context, payload []byte) (Result, error) {
	if len(payload)+raft.EntryHeaderSize > g.limits.Protocol.EntryBytes {
		return Result{}, g.tooLarge(len(payload))
	}
	return g.ProposeSealed(ctx, raft.SealedEntry(raft.EntryNormal, payload))
}

// ProposeSealed is Propose for a command that the caller encoded in place, see raft.NewEntry; the entry belongs to the group from now on.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) ProposeSealed(ctx context.Context, entry raft.Entry) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("not proposed: %w", err)
	}
	var timeout time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), 1)
	}
	c := calls.Get().(*call)
	g.ProposeEntry(entry, timeout, c.done)
	select {
	case <-c.answered:
		result, err := c.result, c.err
		c.result, c.err = Result{}, nil
		calls.Put(c)
		return result, err
	case <-ctx.Done():
		return Result{}, unknown(ctx.Err()) // c is left to whoever answers it
	}
}

// call is one caller's wait for a proposal.
type call struct {
	answered chan struct{}
	result   Result
	err      error
	done     func(Result, error)
}

//balsa:edge whose call it is that somebody waits with does not show
var calls = sync.Pool{New: func() any { return newCall() }}

func newCall() *call {
	c := &call{answered: make(chan struct{}, 1)}
	c.done = func(r Result, err error) {
		c.result, c.err = r, err
		c.answered <- struct{}{}
	}
	return c
}

// ProposeEntry is Propose for callers that do not want to wait: done is called exactly once, often from one of the
// host's actors, and must not block. The entry must be sealed, and belongs to the group from now on.
//
// After timeout (0: never) the command is answered with ErrExpired, alone where it was never appended, else as the reason
// of ErrOutcomeUnknown. That is looked after in passing, so that the answer may come somewhat later.
func (g *Group) ProposeEntry(entry raft.Entry, timeout time.Duration, done func(Result, error)) {
	if len(entry) > g.limits.Protocol.EntryBytes {
		g.refused(1)
		done(Result{}, g.tooLarge(len(entry)-raft.EntryHeaderSize))
		return
	}
	err := g.checkLevel(entry)
	if err == nil {
		err = g.admit(len(entry))
	}
	if err != nil {
		g.refused(1)
		done(Result{}, err)
		return
	}
	deadline := actor.Never
	if timeout > 0 {
		deadline = g.host.scheduler.Now().Add(timeout)
	}
	if !g.host.loop.proposals.Post(proposal{replica: g.replica, entry: entry, done: done, deadline: deadline}) {
		g.release(1, len(entry))
		g.refused(1)
		done(Result{}, ErrClosed)
	}
}

func (g *Group) tooLarge(payload int) error {
	return fmt.Errorf("%w: a payload of %d bytes, the limit is %d", ErrTooLarge, payload, g.limits.Protocol.EntryBytes-raft.EntryHeaderSize)
}

// admit counts a proposal in, or refuses it where a bound is reached.
func (g *Group) admit(bytes int) error {
	if n := g.pending.Add(1); n > int64(g.limits.PendingProposals) {
		g.pending.Add(-1)
		return fmt.Errorf("%w: %d commands are waiting for their answers on this member", ErrOverloaded, n-1)
	}
	if n := g.pendingBytes.Add(int64(bytes)); n > int64(g.limits.PendingBytes) {
		g.release(1, bytes)
		return fmt.Errorf("%w: commands of %d bytes are waiting for their answers on this member", ErrOverloaded, n-int64(bytes))
	}
	return nil
}

// release counts answered proposals out.
func (g *Group) release(count, bytes int) {
	g.pending.Add(-int64(count))
	g.pendingBytes.Add(-int64(bytes))
}

func (g *Group) refused(count int) { g.failed.Add(uint64(count)) }

// propose hands all that this turn brought to the protocol, as one batch, or sends it to the leader, or holds it
// back until there is one.
func (r *replica) propose() {
	if len(r.proposals) == 0 {
		return
	}
	r.dropExpired()
	batch := r.proposals
	r.proposals = r.spare[:0]
	r.spare = batch
	switch {
	case r.leadership.Role == raft.Leader && r.lost != nil:
		r.refuseAll(batch)
	case r.leadership.Role == raft.Leader:
		r.append(r.changeMembers(batch))
	case r.leadership.Leader != 0:
		r.forward(batch)
	default:
		r.hold(batch)
	}
	clear(batch)
}

// append proposes to the protocol of this member, which leads.
func (r *replica) append(batch []proposal) {
	entries := r.entries[:0]
	for i := range batch {
		entries = append(entries, batch[i].entry)
	}
	r.entries = entries
	for len(entries) > 0 {
		proposed, err := r.raft.Propose(r.now(), entries)
		r.note(event{what: "commands appended", term: proposed.Term, index: proposed.First, n: uint64(proposed.Accepted)})
		for i := range batch[:proposed.Accepted] {
			r.await(&batch[i], Position{Index: proposed.First + Index(i), Term: proposed.Term})
		}
		batch, entries = batch[proposed.Accepted:], entries[proposed.Accepted:]
		if err == nil {
			continue
		}
		if errors.As(err, new(*raft.NotLeaderError)) {
			r.hold(batch)
			break
		}
		refused := len(batch)
		if errors.Is(err, ErrTooLarge) {
			refused = 1 // the others may fit
		}
		for i := range batch[:refused] {
			r.refuse(&batch[i], err)
		}
		batch, entries = batch[refused:], entries[refused:]
	}
	clear(r.entries)
}

// await remembers who waits for the entry that was appended at a position.
func (r *replica) await(p *proposal, at Position) {
	r.waiting.push(waiter{
		index: at.Index, term: at.Term, done: p.done, deadline: p.deadline, from: p.from, id: p.id, bytes: len(p.entry),
	})
	r.expireBy(p.deadline)
}

// refuse answers a proposal that was not appended and will not be (E55).
func (r *replica) refuse(p *proposal, err error) {
	r.group.refused(1)
	if p.from != 0 {
		r.group.forwardedBytes.Add(-int64(len(p.entry)))
		r.loop.answerForwarded(r, p.from, refusal(p.id, err))
		return
	}
	r.group.release(1, len(p.entry))
	p.done(Result{}, err)
}

// giveUp answers an appended proposal whose fate this member will not learn (E47).
func (r *replica) giveUp(w *waiter, reason error) {
	if w.from != 0 {
		r.group.refused(1)
		r.group.forwardedBytes.Add(-int64(w.bytes))
		r.loop.answerForwarded(r, w.from, doubt(w.id, reason))
		return
	}
	r.group.release(1, w.bytes)
	w.answer(Result{}, unknown(reason), r.group)
}

// answer tells who proposed here, unless that was told already that its time is over.
func (w *waiter) answer(result Result, err error, g *Group) {
	if w.done == nil {
		return
	}
	if err != nil {
		g.refused(1)
	}
	w.done(result, err)
	w.done = nil
}

// giveUpWaiting answers everything that was appended and is not committed yet.
func (r *replica) giveUpWaiting(reason error) {
	all := r.waiting.all()
	for i := range all {
		r.giveUp(&all[i], reason)
	}
	r.waiting.reset()
}

// waiters is a queue in index order.
type waiters struct {
	items []waiter
	head  int
}

func (q *waiters) push(w waiter) { q.items = append(q.items, w) }

func (q *waiters) all() []waiter { return q.items[q.head:] }

func (q *waiters) reset() {
	clear(q.items)
	q.items, q.head = q.items[:0], 0
}

// take moves the waiters up to index to the end of dst.
func (q *waiters) take(dst []waiter, index Index) []waiter {
	from := q.head
	for q.head < len(q.items) && q.items[q.head].index <= index {
		q.head++
	}
	dst = append(dst, q.items[from:q.head]...)
	clear(q.items[from:q.head])
	if q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return dst
}
