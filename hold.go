package balsa

import (
	"fmt"

	"github.com/balsadb/balsa/internal/actor"
)

// Proposals that arrive while no leader is known are held back rather than refused: during a failover a client
// then sees a slow answer instead of an error. Nothing that is held was appended, or sent to anybody.

// held is a proposal that waits for a leader.
type held struct {
	proposal
	until actor.Instant
}

// hold keeps proposals until a leader is known, two election timeouts at most.
func (r *replica) hold(batch []proposal) {
	until := r.loop.now.Add(2 * r.config.ElectionTimeout)
	for i := range batch {
		p := batch[i]
		if p.from != 0 { // one hop only: whoever forwarded it holds it
			r.refuse(&p, ErrNoLeader)
			continue
		}
		r.held = append(r.held, held{p, min(until, p.deadline)})
		r.expireBy(min(until, p.deadline))
	}
}

// release makes what was held part of this turn's proposals, now that a leader is known.
func (r *replica) releaseHeld() {
	for i := range r.held {
		r.proposals = append(r.proposals, r.held[i].proposal)
	}
	clear(r.held)
	r.held = r.held[:0]
}

// expireBy makes sure that expire runs at the given instant.
func (r *replica) expireBy(when actor.Instant) { r.expiry = min(r.expiry, when) }

// expire answers all whose time is over, and finds out when that is the case next.
func (r *replica) expire() {
	if r.loop.now < r.expiry {
		return
	}
	r.expiry = actor.Never
	r.expireHeld()
	waiting := r.waiting.all()
	for i := range waiting {
		w := &waiting[i]
		if w.done != nil && w.deadline <= r.loop.now {
			w.answer(Result{}, unknown(ErrExpired), r.group)
		} else if w.done != nil {
			r.expireBy(w.deadline)
		}
	}
	r.forwarded.expire(r)
	r.expireTransfers()
	r.expireChanges()
	r.expireExpulsions()
}

func (r *replica) expireHeld() {
	kept := r.held[:0]
	for i := range r.held {
		h := r.held[i]
		switch {
		case h.deadline <= r.loop.now:
			r.refuse(&h.proposal, fmt.Errorf("%w, and it was never appended: %w", ErrExpired, ErrNoLeader))
		case h.until <= r.loop.now:
			r.refuse(&h.proposal, ErrNoLeader)
		default:
			kept = append(kept, h)
			r.expireBy(h.until)
		}
	}
	clear(r.held[len(kept):])
	r.held = kept
}

// dropExpired answers the proposals of this turn that came too late.
func (r *replica) dropExpired() {
	kept := r.proposals[:0]
	for i := range r.proposals {
		p := &r.proposals[i]
		if p.deadline <= r.loop.now {
			r.refuse(p, fmt.Errorf("%w, and it was never appended", ErrExpired))
			continue
		}
		kept = append(kept, *p)
	}
	clear(r.proposals[len(kept):])
	r.proposals = kept
}
