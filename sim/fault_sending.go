package sim

import (
	"math/rand/v2"

	"github.com/balsadb/balsa/raft"
)

// sendingFaults hit snapshots on their way, at any of their pieces.
var sendingFaults = []fault{{"process", "snapshots cut off", cutOff}}

// interception waits for pieces of snapshots, and strikes at one of them.
type interception struct {
	left   int // pieces until then
	random *rand.Rand
}

// cutOff has a member need a snapshot, where none does, and strikes some pieces into that or the next one that is sent: the connection
// breaks, the sender, the receiver or the leader dies, or another leads. Sometimes it strikes again, some pieces later.
func cutOff(r *run, random *rand.Rand) bool {
	r.intercepts = nil
	for range 1 + random.IntN(3) {
		r.intercepts = append(r.intercepts, &interception{random.IntN(12), random})
	}
	r.network.onBulk = r.intercept
	if h := r.anyHost(random); h.Up() && random.IntN(2) == 0 {
		h.Kill() // what is written while it is away it will need
		r.later(between(random, 2*r.plan.ElectionTimeout, 20*r.plan.ElectionTimeout), func() { r.start(h) })
	}
	return true
}

// intercept is told of each piece that is on its way.
func (r *run) intercept(from, to raft.MemberID) {
	if r.healing || len(r.intercepts) == 0 {
		return
	}
	next := r.intercepts[0]
	if next.left--; next.left >= 0 {
		return
	}
	r.intercepts = r.intercepts[1:]
	r.counters["snapshots that were cut off"]++
	sender, receiver := r.cluster.host(from), r.cluster.host(to)
	victims := []*Host{sender, receiver, receiver, r.cluster.Leader()}
	switch what := next.random.IntN(6); what {
	case 4:
		r.network.Break(from, to)
	case 5:
		if leader := r.cluster.Leader(); leader != nil {
			leader.Group.TransferAsync(0, func(error) {})
		}
	default:
		r.strikeDown(victims[what], next.random)
	}
}

// strikeDown ends a host's life, with or without its power, and begins the next one soon.
func (r *run) strikeDown(h *Host, random *rand.Rand) {
	if h == nil || !h.Up() {
		return
	}
	if random.IntN(2) == 0 {
		h.Crash()
	} else {
		h.Kill()
	}
	r.startLater(h, random)
}
