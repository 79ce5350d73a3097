package sim

import (
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa"
)

// processFaults are what processes and machines do.
var processFaults = []fault{
	{"process", "power cuts", powerCutOne},
	{"process", "power cuts in mid-turn", powerCutInTurn},
	{"process", "power cuts of all", powerCutAll},
	{"process", "machines that vanish", vanish},
	{"process", "kills", kill},
	{"process", "friendly stops", friendlyStop},
	{"process", "restart storms", restartStorm},
	{"process", "pauses", pause},
	{"process", "leadership transfers", transfer},
	{"process", "strikes at new leaders", strike},
}

// start begins a host's next life, and tries again where its disk did not let it.
func (r *run) start(h *Host) {
	if r.world.failed != nil || h.Up() || h.gone {
		return
	}
	if h.first == nil {
		r.join(h)
		return
	}
	err := h.Start()
	if err == nil {
		if h.Up() && h.rotten != nil {
			h.rotten.found = true
		}
		if !h.Up() { // the power went off meanwhile
			r.world.After(r.world.Between(0, r.plan.ElectionTimeout), func() { r.start(h) })
		}
		return
	}
	if !h.disk.wasHurt(h.life) && !h.disk.full && !r.restoresRot(h, err) {
		r.fail("members start", err)
		return
	}
	r.counters["starts that the disk refused"]++
	r.world.After(r.world.Between(10*time.Millisecond, r.plan.ElectionTimeout), func() { r.start(h) })
}

func (r *run) startLater(h *Host, random *rand.Rand) {
	d := between(random, 0, r.plan.ElectionTimeout/4)
	if random.IntN(2) == 0 {
		d = r.forSome(random)
	}
	r.later(d, func() { r.start(h) })
}

func powerCutOne(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	if !h.Up() {
		return false
	}
	h.Crash()
	r.startLater(h, random)
	return true
}

// powerCutInTurn cuts the power between two disk operations that follow soon.
func powerCutInTurn(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	if !h.Up() {
		return false
	}
	h.life.opsLeft = random.IntN(12)
	l := h.life
	r.later(r.forSome(random), func() {
		l.opsLeft = -1
		r.start(h)
	})
	return true
}

// powerCutAll cuts the power of all at one disk operation.
func powerCutAll(r *run, random *rand.Rand) bool {
	c := r.cluster
	c.CutAt = c.Operations + 1 + uint64(random.IntN(30))
	r.later(r.forSome(random), func() {
		c.CutAt = 0
		for _, h := range r.shuffled(random) {
			r.startLater(h, random)
		}
	})
	return true
}

func vanish(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	if !h.Up() {
		return false
	}
	h.Vanish()
	r.startLater(h, random)
	return true
}

func kill(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	if !h.Up() {
		return false
	}
	h.Kill()
	r.startLater(h, random)
	return true
}

func friendlyStop(r *run, random *rand.Rand) bool {
	h := r.anyHost(random)
	if !h.Up() || h.life.paused || h.disk.hurt == h.life {
		return false
	}
	l := h.life
	if err := h.Stop(); err != nil && !h.disk.full && !h.disk.wasHurt(l) { // the stop writes, and may be what meets the error
		r.fail("members stop", err)
		return false
	}
	r.startLater(h, random)
	return true
}

// restartStorm ends and starts one host, or all, again and again; sometimes while it is starting.
func restartStorm(r *run, random *rand.Rand) bool {
	hosts := []*Host{r.leaderOrAny(random)}
	if random.IntN(4) == 0 {
		hosts = r.cluster.Hosts
	}
	for _, h := range hosts {
		at := time.Duration(0)
		for range 2 + random.IntN(6) {
			at += between(random, 0, r.plan.ElectionTimeout/2)
			power, ops := random.IntN(2) == 0, random.IntN(60)
			r.later(at, func() {
				if !h.Up() {
					r.start(h)
					return
				}
				if power {
					h.life.opsLeft = ops
				} else {
					h.Kill()
				}
			})
		}
		r.later(at+r.plan.ElectionTimeout, func() {
			if h.Up() {
				h.life.opsLeft = -1
			}
			r.start(h)
		})
	}
	return true
}

func pause(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	if !h.Up() || h.life.paused {
		return false
	}
	h.Pause()
	r.later(max(10*time.Millisecond, min(r.forSome(random), time.Minute)), h.Resume)
	return true
}

func transfer(r *run, random *rand.Rand) bool {
	leader := r.cluster.Leader()
	if leader == nil {
		return false
	}
	to := balsa.MemberID(0) // whoever is furthest
	if at := random.IntN(len(r.cluster.Hosts) + 1); at > 0 {
		to = r.cluster.Hosts[at-1].ID
	}
	leader.Group.TransferAsync(to, func(err error) {
		if err == nil {
			r.counters["transfers that came about"]++
		}
	})
	return true
}

// strike waits for the next elections, and takes each new leader away before it has got far: with its first entries on no other disk,
// on some, or on a majority, and the entries of its predecessors just as well (the paper's figure 8).
func strike(r *run, random *rand.Rand) bool {
	r.strikes = 1 + random.IntN(6)
	r.strikeWithin = time.Duration(1+random.IntN(6)) * r.plan.Slowest
	return true
}

// struck is told of each new leader.
func (r *run) struck(h *Host) {
	if r.strikes == 0 || r.healing {
		return
	}
	r.strikes--
	l := h.life
	r.later(r.world.Between(0, r.strikeWithin), func() {
		if l.over {
			return
		}
		r.counters["new leaders struck"]++
		switch r.world.IntN(3) {
		case 0:
			h.Crash()
			r.later(r.world.Between(r.plan.ElectionTimeout/10, 2*r.plan.ElectionTimeout), func() { r.start(h) })
		case 1:
			h.Pause()
			r.later(r.world.Between(r.plan.ElectionTimeout, 3*r.plan.ElectionTimeout), h.Resume)
		case 2:
			r.network.Isolate(h.ID)
			r.later(r.world.Between(r.plan.ElectionTimeout, 3*r.plan.ElectionTimeout), func() {
				for _, peer := range r.cluster.Hosts {
					if peer != h {
						r.network.HealBetween(h.ID, peer.ID)
					}
				}
			})
		}
	})
}
