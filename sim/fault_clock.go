package sim

import (
	"math/rand/v2"
	"time"
)

// clockFaults are what the machines' clocks do.
var clockFaults = []fault{
	{"clock", "clock drifts", clockDrift},
	{"clock", "clock jumps forward", clockForward},
	{"clock", "clock jumps back", clockBack},
	{"clock", "frozen clocks", clockFreeze},
}

// clockDrift makes a clock up to a fifth too fast or too slow for a while: far more than any quartz.
func clockDrift(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.SetClock(0, exactRate*4/5+random.Int64N(exactRate*2/5))
	r.later(4*r.forSome(random), func() { h.SetClock(0, exactRate) })
	return true
}

func clockForward(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.SetClock(between(random, r.plan.ElectionTimeout/10, r.plan.ElectionTimeout*10), h.clock.rate)
	return true
}

// clockBack is what no monotonic clock may do, and virtual machines have done.
func clockBack(r *run, random *rand.Rand) bool {
	h := r.anyHost(random)
	h.SetClock(-between(random, r.plan.ElectionTimeout/10, r.plan.ElectionTimeout*2), h.clock.rate)
	return true
}

func clockFreeze(r *run, random *rand.Rand) bool {
	h := r.anyHost(random)
	h.SetClock(0, 0)
	r.later(min(r.forSome(random), 20*time.Second), func() { h.SetClock(0, exactRate) })
	return true
}
