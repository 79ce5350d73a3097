package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// networkFaults are what links and connections do. docs/testing.md says how to add one.
var networkFaults = []fault{
	{"network", "broken connections", breakOne},
	{"network", "all connections broken", breakAll},
	{"network", "one-way cuts", cutOneWay},
	{"network", "isolated members", isolateOne},
	{"network", "splits", split},
	{"network", "bridges", bridge},
	{"network", "rings", ring},
	{"network", "clogged links", clogOne},
	{"network", "swizzled clogs", swizzle},
	{"network", "slow directions", slowDirection},
	{"network", "dead connections", deadConnection},
	{"network", "lost kinds of message", loseKind},
	{"network", "replayed messages", replayMessages},
}

// pair draws two hosts; it is not ok where there is only one.
func (r *run) pair(random *rand.Rand) (a, b balsa.MemberID, ok bool) {
	hosts := r.shuffled(random)
	if len(hosts) < 2 {
		return 0, 0, false
	}
	return hosts[0].ID, hosts[1].ID, true
}

func breakOne(r *run, random *rand.Rand) bool {
	a, b, ok := r.pair(random)
	if ok {
		r.network.Break(a, b)
	}
	return ok
}

func breakAll(r *run, random *rand.Rand) bool {
	for i, a := range r.cluster.Hosts {
		for _, b := range r.cluster.Hosts[:i] {
			r.network.Break(a.ID, b.ID)
		}
	}
	return true
}

// cut cuts the ways for which the condition holds, and heals them after a while.
func (r *run) cut(random *rand.Rand, when func(from, to int) bool) bool {
	hosts := r.cluster.Hosts
	var healed [][2]balsa.MemberID
	for i, a := range hosts {
		for j, b := range hosts {
			if i != j && when(i, j) {
				r.network.Cut(a.ID, b.ID)
				healed = append(healed, [2]balsa.MemberID{a.ID, b.ID})
			}
		}
	}
	expire := random.IntN(2) == 0
	for _, way := range healed {
		if expire {
			r.network.expire(way[0], way[1])
		}
	}
	r.later(r.forSome(random), func() {
		for _, way := range healed {
			r.network.HealBetween(way[0], way[1])
		}
	})
	return len(healed) > 0
}

func cutOneWay(r *run, random *rand.Rand) bool {
	from, to := random.IntN(len(r.cluster.Hosts)), random.IntN(len(r.cluster.Hosts))
	return r.cut(random, func(i, j int) bool { return i == from && j == to })
}

func isolateOne(r *run, random *rand.Rand) bool {
	alone := slices.Index(r.cluster.Hosts, r.leaderOrAny(random))
	return r.cut(random, func(i, j int) bool { return i == alone || j == alone })
}

// split makes two parts of the cluster that do not hear each other.
func split(r *run, random *rand.Rand) bool {
	part := make([]bool, len(r.cluster.Hosts))
	for i := range part {
		part[i] = random.IntN(2) == 0
	}
	return r.cut(random, func(i, j int) bool { return part[i] != part[j] })
}

// bridge makes two parts that only one member can talk with both of.
func bridge(r *run, random *rand.Rand) bool {
	middle, part := random.IntN(len(r.cluster.Hosts)), make([]bool, len(r.cluster.Hosts))
	for i := range part {
		part[i] = random.IntN(2) == 0
	}
	return r.cut(random, func(i, j int) bool { return i != middle && j != middle && part[i] != part[j] })
}

// ring lets each member talk with its two neighbours only.
func ring(r *run, random *rand.Rand) bool {
	n := len(r.cluster.Hosts)
	at := random.Perm(n)
	return n > 3 && r.cut(random, func(i, j int) bool {
		distance := (at[i] - at[j] + n) % n
		return distance != 1 && distance != n-1
	})
}

func clogOne(r *run, random *rand.Rand) bool {
	from, to, ok := r.pair(random)
	if !ok {
		return false
	}
	r.network.Clog(from, to)
	r.later(r.forSome(random), func() { r.network.Unclog(from, to) })
	return true
}

// swizzle clogs the links of some members one by one, and unclogs them in another order.
func swizzle(r *run, random *rand.Rand) bool {
	var links []link
	for _, h := range r.shuffled(random)[:1+random.IntN(len(r.cluster.Hosts))] {
		for _, peer := range r.cluster.Hosts {
			if peer != h {
				links = append(links, link{h.ID, peer.ID}, link{peer.ID, h.ID})
			}
		}
	}
	clogging := r.forSome(random)
	for _, l := range links {
		r.later(between(random, 0, clogging), func() { r.network.Clog(l.from, l.to) })
	}
	random.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
	for i, l := range links {
		r.later(clogging+time.Duration(i)*clogging/time.Duration(len(links)), func() { r.network.Unclog(l.from, l.to) })
	}
	return true
}

func slowDirection(r *run, random *rand.Rand) bool {
	from, to, ok := r.pair(random)
	if !ok {
		return false
	}
	l := r.network.link(from, to)
	l.extra = between(random, r.plan.ElectionTimeout/20, r.plan.ElectionTimeout*2)
	r.later(r.forSome(random), func() { l.extra = 0 })
	return true
}

// deadConnection is one that is open, and over which nothing comes in either direction, until somebody notices.
func deadConnection(r *run, random *rand.Rand) bool {
	a, b, ok := r.pair(random)
	if !ok {
		return false
	}
	r.network.Cut(a, b)
	r.network.Cut(b, a)
	r.network.expire(a, b)
	r.network.expire(b, a)
	r.later(r.forSome(random), func() { r.network.HealBetween(a, b) })
	return true
}

// loseKind loses all frames that hold one kind of message, from one member to another or between all.
func loseKind(r *run, random *rand.Rand) bool {
	lost := kindsOfMessage[random.IntN(len(kindsOfMessage))]
	hosts := r.shuffled(random)
	if random.IntN(2) == 0 {
		hosts = hosts[:min(2, len(hosts))]
	}
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				r.network.link(a.ID, b.ID).lost = lost
			}
		}
	}
	hosts = slices.Clone(hosts)
	r.later(r.forSome(random), func() {
		for i, a := range hosts {
			for _, b := range hosts[:i] {
				r.network.HealBetween(a.ID, b.ID)
			}
		}
	})
	return true
}

var kindsOfMessage = []func(wire.Packet) bool{
	isMessage[*raft.PreVoteRequest], isMessage[*raft.PreVoteResponse],
	isMessage[*raft.RequestVote], isMessage[*raft.VoteResponse],
	isMessage[*raft.AppendEntries], isMessage[*raft.AppendResponse], isMessage[*raft.TimeoutNow],
	isMessage[*raft.ReadIndexRequest], isMessage[*raft.ReadIndexResponse],
	func(p wire.Packet) bool { return p.Proposals != nil },
	func(p wire.Packet) bool { return p.Results != nil },
	func(p wire.Packet) bool { // heartbeats go, entries do not
		m, ok := p.Envelope.Message.(*raft.AppendEntries)
		return ok && len(m.Entries) > 0
	},
}

func isMessage[M raft.Message](p wire.Packet) bool {
	_, is := p.Envelope.Message.(M)
	return is
}

func replayMessages(r *run, random *rand.Rand) bool {
	any := false
	for range 1 + random.IntN(10) {
		any = r.network.Replay(random) || any
	}
	return any
}
