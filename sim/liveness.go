package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// Liveness: in the second phase of a run nothing more breaks. First a majority is healed and the rest left as broken as it is: there
// must be a leader soon, and what is proposed must be committed. Then the rest is healed, and all must become equal.
//
// The bounds are in election timeouts of virtual time: in rounds of the protocol, that is, and never in real time.

const (
	leaderWithin   = 40  // election timeouts until somebody leads and is known to the healed members
	commitWithin   = 40  // until a command that is proposed then is acknowledged
	convergeWithin = 200 // until all members have applied it
	undisturbedFor = 5   // that a leader stays where all is well
)

func (r *run) livenessPhase() {
	if r.world.failed != nil {
		return
	}
	random := rand.New(rand.NewPCG(r.world.seed, 0x6c697665))
	majority := r.healable(random)
	r.cluster.CutAt = 0
	for _, h := range r.cluster.Hosts {
		if !slices.Contains(majority, h) {
			r.breakForGood(h, random)
		}
	}
	r.heal(majority)
	r.progress("a healed majority", majority)
	r.heal(r.cluster.Hosts)
	r.progress("the healed cluster", r.cluster.Hosts)
	r.undisturbed()
	r.settleMembers()
	r.progress("the settled cluster", r.cluster.Hosts)
	r.settle()
	if r.world.failed == nil {
		r.rest()
	}
}

// breakForGood leaves a member in one of the states in which it disturbs most.
func (r *run) breakForGood(h *Host, random *rand.Rand) {
	switch random.IntN(4) {
	case 0:
		h.Crash()
	case 1:
		h.Pause()
	case 2:
		r.network.Isolate(h.ID)
	case 3: // it is heard, and hears nothing: it keeps campaigning
		for _, peer := range r.cluster.Hosts {
			r.network.Cut(peer.ID, h.ID)
		}
	}
}

// heal makes some members well, and the links between them.
func (r *run) heal(hosts []*Host) {
	for i, h := range hosts {
		h.disk.failIn, h.disk.full, h.disk.stalled = 0, false, 0
		h.SetClock(0, exactRate)
		if h.life != nil {
			h.life.opsLeft = -1
		}
		h.Resume()
		for _, other := range hosts[:i] {
			r.network.HealBetween(h.ID, other.ID)
		}
		r.start(h)
	}
}

// progress demands a leader, a commit, and that all of the hosts apply it.
func (r *run) progress(who string, hosts []*Host) {
	leads := func() bool {
		leader := r.cluster.Leader()
		if leader == nil || !slices.Contains(hosts, leader) {
			return false
		}
		for _, h := range r.taking(hosts) {
			if !h.Up() || h.Group.Leadership().Leader != leader.ID {
				return false
			}
		}
		return true
	}
	// A change that was asked for before may lead to members of whom too many are broken still.
	if !r.possible(hosts) {
		r.counters["majorities that changed while the rest was broken"]++
		return
	}
	r.within(leaderWithin, who, "has a leader", func() bool { return leads() || !r.possible(hosts) })
	var index balsa.Index
	commits := r.proposing(hosts, &index)
	r.within(commitWithin, who, "commits", func() bool { return commits() || !r.possible(hosts) })
	r.within(convergeWithin, who, "has applied all", func() bool {
		for _, h := range r.taking(hosts) {
			if !h.Up() || h.Group.Applied() < index {
				return !r.possible(hosts)
			}
		}
		return true
	})
}

// undisturbed demands that the leader of a healed cluster stays, whoever else there is: learners, and members that were removed and do not know it
// yet (E35).
func (r *run) undisturbed() {
	if r.world.failed == nil {
		r.world.Run(2 * r.plan.ElectionTimeout) // for what was asked for before
	}
	leader := r.cluster.Leader()
	if r.world.failed != nil || leader == nil {
		return
	}
	before := leader.Group.Leadership()
	r.world.Run(undisturbedFor * r.plan.ElectionTimeout)
	if r.world.failed != nil {
		return
	}
	m := leader.life.protocol.Membership()
	seat := m.Seat(leader.ID)
	if now := leader.Group.Leadership(); now != before && seat != nil && seat.Role == raft.Voter {
		r.fail("liveness", fmt.Errorf("member %d led the healed cluster in term %d, and is now %v of term %d: %s", leader.ID, before.Term, now.Role, now.Term, r.describe()))
	}
}

// within steps until the condition holds, for so many election timeouts at most.
func (r *run) within(timeouts int, who, what string, condition func() bool) {
	if r.world.failed != nil {
		return
	}
	begun := r.world.now
	err := r.world.RunUntil(time.Duration(timeouts)*r.plan.ElectionTimeout, condition)
	if err != nil && r.world.failed == nil {
		r.fail("liveness", fmt.Errorf("it is not so that %s %s within %d election timeouts: %s", who, what, timeouts, r.describe()))
	}
	r.raise("election timeouts until "+who+" "+what, uint64((r.world.now-begun)/actor.Instant(r.plan.ElectionTimeout)))
}

// proposing asks one of the hosts after the other, until a command is acknowledged.
func (r *run) proposing(hosts []*Host, index *balsa.Index) func() bool {
	attempt, asking := 0, false
	return func() bool {
		if *index > 0 || asking {
			return *index > 0
		}
		h := hosts[attempt%len(hosts)]
		attempt++
		if !h.Up() {
			return false
		}
		asking = true
		life := h.life
		entry := must(store.EncodePut(&pb.PutRequest{Key: []byte("healed"), Value: fmt.Append(nil, r.world.steps)}))
		r.command(h, "a put of the run's own", entry, false, func(result balsa.Result, err error) {
			asking = false
			if err == nil {
				*index = result.Index
			}
		})
		r.world.After(2*r.patience(), func() { // its life may be over
			if life.over {
				asking = false
			}
		})
		return false
	}
}

// rest waits until nobody has anything to do but to send heartbeats, and demands that all are equal then.
func (r *run) rest() {
	r.within(convergeWithin, "the whole cluster", "is at rest", func() bool {
		first := r.cluster.Hosts[0].Group
		for _, h := range r.cluster.Hosts {
			c := h.Group.Counters()
			if c.Applied != first.Applied() || c.Pending > 0 || c.Reading > 0 || c.Applied < h.life.protocol.Status().Last {
				return false
			}
		}
		return true
	})
	if r.world.failed == nil {
		if err := r.cluster.CheckDigests(); err != nil {
			r.fail("equal digests at equal indexes", err)
		}
	}
}

// describeSeats lists members for an error.
func describeSeats(c *raft.Configuration) string {
	text := ""
	if c.Joint {
		text = "joint"
	}
	for i := range c.Seats {
		s := &c.Seats[i]
		text += fmt.Sprintf(" %d %v", s.ID, s.Role)
		if s.Former {
			text += " (former)"
		}
		if s.Promote {
			text += " (to be promoted)"
		}
	}
	return text
}

// describe says how the members are, for an error.
func (r *run) describe() string {
	text := ""
	for _, h := range r.cluster.Hosts {
		if !h.Up() {
			text += fmt.Sprintf("member %d is down (joined: %v); ", h.ID, h.first != nil)
			continue
		}
		s := h.life.protocol.Status()
		m := h.life.protocol.Membership()
		text += fmt.Sprintf("member %d is %v of term %d, leader %d, commit %d, last %d, stable %d, applied %d, configuration %d: %s; ",
			h.ID, s.Role, s.Term, s.Leader, s.Commit, s.Last, s.Stable, s.Applied, m.Index, describeSeats(&m.Configuration))
	}
	if err := r.watches.untold(); err != nil {
		text += err.Error()
	}
	return text
}
