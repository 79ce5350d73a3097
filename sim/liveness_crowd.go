package sim

import "time"

// settleWithin is how many election timeouts watchers have until they know everything, and leases beyond their time.
const settleWithin = 100

// settle demands that leases which nobody keeps alive end, and that all who watch are told everything.
func (r *run) settle() {
	p := &r.plan.Crowd
	if p.Leases > 0 {
		lives := int(time.Duration(p.TTL) * time.Second / r.plan.ElectionTimeout)
		r.within(settleWithin+lives, "all leases", "have ended", r.seldom(r.leases.over))
	}
	if p.Streams > 0 {
		r.within(settleWithin, "all who watch", "know everything", r.seldom(func() bool { return r.watches.untold() == nil }))
	}
}

// seldom asks for a condition that is dear a few times in an election timeout.
func (r *run) seldom(condition func() bool) func() bool {
	next := r.world.now
	return func() bool {
		if r.world.now < next {
			return false
		}
		next = r.world.now.Add(r.plan.ElectionTimeout / 4)
		return condition()
	}
}
