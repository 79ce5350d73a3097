package sim

import (
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa/store"
)

// crowdPlan is what the clients do that use more than single keys.
type crowdPlan struct {
	Wide   int           // clients that ask about many keys at once
	Think  time.Duration // mean time between an answer and the next question, of them and of those with leases
	Keys   int           // of theirs
	Leases int           // clients that keep leases
	TTL    int           // the longest, in seconds
	Tick   time.Duration // of the lease clock
	// Streams is how many clients watch, Bounds what is kept for them, Fragment the size of responses that are divided.
	Streams  int
	Bounds   store.WatchBounds
	Fragment int
}

func drawCrowd(seed uint64, electionTimeout time.Duration) crowdPlan {
	r := rand.New(rand.NewPCG(seed, 0x63726f7764))
	p := crowdPlan{Keys: 2 + r.IntN(14), Fragment: pick(r, 200, 2000, 1<<20)}
	if r.IntN(2) == 0 {
		p.Wide = 1 + r.IntN(3)
	}
	if r.IntN(2) == 0 {
		p.Streams = 1 + r.IntN(4)
	}
	if r.IntN(3) == 0 {
		p.Leases = 1 + r.IntN(3)
	}
	p.Think = time.Duration(max(1, p.Wide+p.Leases)) * pick[time.Duration](r, 800, 1600, 3200) * time.Millisecond
	p.TTL = 1 + r.IntN(6)
	p.Tick = electionTimeout / time.Duration(1+r.IntN(3))
	p.Bounds = store.WatchBounds{
		Inbox: pick(r, 500, 16<<20), Ring: pick[int64](r, 0, 500, 5000, 2<<20), Feed: pick[int64](r, 0, 300, 3000, 1<<20),
		Piece: pick[int64](r, 1, 500, 5000, 1<<20), PieceRecords: 1 + r.IntN(40),
	}
	return p
}

// skipsCrowd leaves out what a run is to be without.
func (r *run) skipsCrowd() {
	p := &r.plan.Crowd
	for name, count := range map[string]*int{"wide requests": &p.Wide, "watches": &p.Streams, "leases": &p.Leases} { //balsa:unordered each for itself
		if r.skipsLoad(name) {
			*count = 0
		}
	}
}
