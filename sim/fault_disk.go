package sim

import "math/rand/v2"

// diskFaultList are what disks do besides forgetting what was not synced: each power cut does that.
var diskFaultList = []fault{
	{"disk", "disk errors", diskError},
	{"disk", "full disks", diskFull},
	{"disk", "stalled disks", diskStall},
}

// diskError lets one of the next operations fail. The member is fenced then, and an operator starts it again.
func diskError(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.failIn, h.disk.partial = 1+random.IntN(20), random.IntN(2) == 0
	return h.Up()
}

func diskFull(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.full = true
	r.later(r.forSome(random), func() { h.disk.full = false })
	return true
}

func diskStall(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.stalled = r.world.now.Add(r.forSome(random))
	return true
}
