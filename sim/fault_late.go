package sim

import (
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa/internal/history"
)

// lateFaults are what makes a leader that was deposed long ago believe that it still leads.
var lateFaults = []fault{{"network", "late answers", lateAnswers}}

// lateAnswers makes the ways to the leader slower and slower, never so fast that it hears nobody for an election timeout, and then
// cuts those from it: the others elect another one, while it goes on to hear what they said before. Slow and cut links that are
// drawn one by one hardly ever meet so, and a read that trusts a late answer shows nowhere else (E39).
func lateAnswers(r *run, random *rand.Rand) bool {
	leader := r.cluster.Leader()
	if leader == nil {
		return false
	}
	const steps = 5
	t := r.plan.ElectionTimeout
	slower := between(random, t/2, t*4/5)
	toLeader := func(extra time.Duration) {
		for _, h := range r.cluster.Hosts {
			if h != leader {
				r.network.link(h.ID, leader.ID).extra = extra
			}
		}
	}
	for i := range time.Duration(steps) {
		r.later(i*t, func() { toLeader((i + 1) * slower) })
	}
	r.later(steps*t, func() {
		for _, h := range r.cluster.Hosts {
			if h != leader {
				r.network.Cut(leader.ID, h.ID)
			}
		}
	})
	// Meanwhile it is asked, for clients that wait for others do not.
	life := leader.life
	for at := (steps - 1) * t; at < 2*steps*t; at += t / 4 {
		r.later(at, func() {
			if leader.Up() && leader.life == life && !life.paused {
				r.read(leader, "key0", func(history.Answer, error) {})
			}
		})
	}
	r.later(steps*t+r.forSome(random)+t, func() {
		for _, h := range r.cluster.Hosts {
			if h != leader {
				r.network.HealBetween(h.ID, leader.ID)
			}
		}
	})
	return true
}
