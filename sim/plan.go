package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa"
)

// Plan is what a run is made of: everything that is drawn before it begins. Each run draws other options ("swarm"), since
// what all runs have in common hides what it makes impossible.
type Plan struct {
	Members         int
	Engine          string // memory, pebble, or none: the state machine lives in memory only, and restarts from snapshots
	ElectionTimeout time.Duration
	Fastest         time.Duration // of a frame's way
	Slowest         time.Duration
	QueueBytes      int // of a link
	LossOneIn       int
	DuplicateOneIn  int
	SegmentSize     int64
	Limits          balsa.GroupLimits
	// Reconfigured: each life of a member has limits and segments of its own.
	Reconfigured bool
	// Reluctant: some members wait longer than others before they campaign.
	Reluctant bool
	// Length is how long the safety phase lasts, FaultEvery the mean time between two faults.
	Length     time.Duration
	FaultEvery time.Duration
	// Faults are the faults that may happen, by their numbers in the list of all.
	Faults  []int
	Clients clientPlan
	Crowd   crowdPlan
	Sending sendingPlan
}

// clientPlan is what the clients do.
type clientPlan struct {
	Count    int
	Keys     int
	Hot      bool          // half of the operations are about one key
	Think    time.Duration // mean time between an answer and the next question
	LargeOne int           // one in so many values is large; 0 for none
	Large    int           // bytes
	Compact  time.Duration // mean time between two compactions; 0 for none
	OldReads int           // one in so many reads asks for an old revision
}

// pick returns one of its arguments.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// NewPlan draws a run's options.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 0x706c616e))
	p := Plan{
		Members:         pick(r, 3, 3, 3, 4, 5, 5, 6, 7),
		Engine:          pick(r, "memory", "memory", "memory", "pebble", "pebble", "none"),
		ElectionTimeout: pick[time.Duration](r, 100, 200, 500, 1000, 1000, 1000) * time.Millisecond,
		Fastest:         20 * time.Microsecond,
		QueueBytes:      pick(r, 32<<20, 1<<20, 64<<10),
		LossOneIn:       pick(r, 0, 0, 5000, 500),
		DuplicateOneIn:  pick(r, 0, 0, 1000, 50),
		SegmentSize:     drawSegmentSize(r),
	}
	p.Slowest = min(pick(r, 200*time.Microsecond, time.Millisecond, 10*time.Millisecond), p.ElectionTimeout/30)
	p.Length = time.Duration(130+r.IntN(360)) * p.ElectionTimeout
	p.FaultEvery = time.Duration(1+r.IntN(8)) * p.ElectionTimeout
	p.Reconfigured = r.IntN(3) == 0
	p.Limits = p.drawLimits(r)
	p.Faults = drawFaults(r, p.drawMembers(seed))
	p.Clients = drawClients(r, p.ElectionTimeout)
	p.Crowd = drawCrowd(seed, p.ElectionTimeout)
	p.Sending = drawSending(seed, p.ElectionTimeout)
	return p
}

func drawSegmentSize(r *rand.Rand) int64 { return pick[int64](r, 4<<10, 8<<10, 32<<10, 96<<10) }

func (p *Plan) drawLimits(r *rand.Rand) balsa.GroupLimits {
	l := balsa.GroupLimits{FlushBytes: pick(r, 1, 2000, 20_000), KeepLogBytes: pick[int64](r, 1, 1, 20_000, 1<<20)}
	if r.IntN(4) == 0 {
		l.ApplyCommands = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		l.Protocol.InflightMessages = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		l.Protocol.MessageBytes = pick(r, 200, 2000)
	}
	if r.IntN(4) == 0 {
		l.Protocol.CacheBytes = pick(r, 1, 1000) // so that followers are served from the log's files
	}
	if p.Engine == "pebble" {
		l.FlushBytes += 20_000              // nothing is compacted, so that each flush stays a file to be looked into
		l.Protocol.ApplyingBytes = 64 << 10 // so that the memtable is never full before our own flush (see pebble.Options)
	}
	return l
}

// drawMembers decides whether members come and go in the run, of which there may be one or two at first then.
func (p *Plan) drawMembers(seed uint64) bool {
	r := rand.New(rand.NewPCG(seed, 0x6d656d62657273))
	p.Reluctant = r.IntN(4) == 0
	if r.IntN(3) > 0 {
		return false
	}
	p.Members = pick(r, 1, 2, 3, 3, 3, 4, 5)
	return true
}

// drawFaults switches each kind of fault on or off, in some runs few, in others most.
func drawFaults(r *rand.Rand, members bool) []int {
	odds := pick(r, 2, 5, 8)
	var on []int
	for i := range faults {
		if r.IntN(10) < odds && (members || faults[i].class != "members") {
			on = append(on, i)
		}
	}
	return on
}

func drawClients(r *rand.Rand, electionTimeout time.Duration) clientPlan {
	c := clientPlan{
		Count: 1 + r.IntN(6), Keys: 1 + r.IntN(12), Hot: r.IntN(3) == 0,
		OldReads: pick(r, 0, 4, 20),
	}
	c.Think = time.Duration(c.Count) * pick[time.Duration](r, 100, 200, 400, 800) * time.Millisecond
	if r.IntN(2) == 0 {
		c.LargeOne, c.Large = 10+r.IntN(20), pick(r, 2000, 20_000)
	}
	if r.IntN(2) == 0 {
		c.Compact = time.Duration(5+r.IntN(30)) * electionTimeout
	}
	return c
}

func (p Plan) String() string {
	return fmt.Sprintf("%d members, engine: %s, election timeout %v, frames take %v to %v, %d clients on %d keys, %v with a fault every %v",
		p.Members, p.Engine, p.ElectionTimeout, p.Fastest, p.Slowest, p.Clients.Count, p.Clients.Keys, p.Length, p.FaultEvery)
}
