package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// fault is one thing that can go wrong. What it needs to know it draws from a source of its own, so that leaving one fault out
// of a run does not change the others.
type fault struct {
	class string // network, process, disk, clock, members or load
	name  string // of its counter
	// inject lets it happen, and sees to it that it ends. It reports false where it cannot happen now.
	inject func(*run, *rand.Rand) bool
}

// faults are all that there are. Their order is part of what a seed means.
var faults = slices.Concat(
	networkFaults,
	processFaults,
	diskFaultList,
	clockFaults,
	lateFaults,
	sendingFaults,
	memberFaults,
)

// conditions hold for a whole run, rather than happen in it. They can be left out like faults.
var conditions = []fault{
	{class: "network", name: "lost frames"}, {class: "network", name: "duplicated messages"},
	{class: "load", name: "large values"}, {class: "load", name: "compaction"},
	{class: "load", name: "wide requests"}, {class: "load", name: "watches"}, {class: "load", name: "leases"},
}

// FaultNames returns all that can be left out of a run, as "class/name".
func FaultNames() []string {
	var names []string
	for _, f := range slices.Concat(faults, conditions) {
		names = append(names, f.class+"/"+f.name)
	}
	return names
}

// KnowsFault reports whether there is a class or a fault of this name.
func KnowsFault(name string) bool {
	for _, f := range slices.Concat(faults, conditions) {
		if leavesOut([]string{name}, &f) {
			return true
		}
	}
	return false
}

// Injected is a fault that happened in a run.
type Injected struct {
	Number int           `json:"number"` // counts all faults of the run, those that were left out included
	Name   string        `json:"name"`
	At     time.Duration `json:"at_ns"` // since the run's beginning
}

// disturb injects faults until the safety phase is over.
func (r *run) disturb() {
	end := r.world.now.Add(r.plan.Length)
	for number := 0; ; number++ {
		if len(r.plan.Faults) == 0 {
			return
		}
		random := rand.New(rand.NewPCG(r.world.seed, uint64(number)+1))
		gap := between(random, r.plan.FaultEvery/10, r.plan.FaultEvery*19/10)
		r.disturbed += gap
		at := r.begun.Add(r.disturbed)
		if at >= end {
			return
		}
		f := &faults[r.plan.Faults[random.IntN(len(r.plan.Faults))]]
		if r.skips(number, f) {
			continue
		}
		r.world.at(at, func() {
			if !r.healing {
				r.inject(number, f, random)
			}
		})
	}
}

func (r *run) inject(number int, f *fault, random *rand.Rand) {
	if !f.inject(r, random) {
		return
	}
	r.counters[f.name]++
	r.injected = append(r.injected, Injected{number, f.class + "/" + f.name, time.Duration(r.world.now - r.begun)})
	r.world.note(Event{Actor: "fault", What: f.name, N: uint64(number)})
}

// skips reports whether a fault is left out of this run.
func (r *run) skips(number int, f *fault) bool {
	o := &r.options
	return o.Faults > 0 && number >= o.Faults || slices.Contains(o.Drop, number) || leavesOut(o.Without, f)
}

// leavesOut reports whether one of the names is a fault's, its class's, or "all".
func leavesOut(without []string, f *fault) bool {
	return slices.ContainsFunc(without, func(name string) bool {
		return name == "all" || name == f.class || name == f.name || name == f.class+"/"+f.name
	})
}

// faultClasses returns the classes of all that can be left out, in the order in which they appear.
func faultClasses() []string {
	var classes []string
	for _, f := range slices.Concat(faults, conditions) {
		if !slices.Contains(classes, f.class) {
			classes = append(classes, f.class)
		}
	}
	return classes
}

// faultNames returns the names of a class's faults.
func faultNames(class string) []string {
	var names []string
	for i := range faults {
		if faults[i].class == class {
			names = append(names, faults[i].name)
		}
	}
	return names
}

// later runs fn unless everything is being healed by then.
func (r *run) later(d time.Duration, fn func()) {
	r.world.After(d, func() {
		if !r.healing {
			fn()
		}
	})
}

// anyHost returns one of the hosts.
func (r *run) anyHost(random *rand.Rand) *Host {
	return r.cluster.Hosts[random.IntN(len(r.cluster.Hosts))]
}

// leaderOrAny prefers the leader, since that is where faults hurt.
func (r *run) leaderOrAny(random *rand.Rand) *Host {
	if l := r.cluster.Leader(); l != nil && random.IntN(2) == 0 {
		return l
	}
	return r.anyHost(random)
}

// shuffled returns the hosts in a random order.
func (r *run) shuffled(random *rand.Rand) []*Host {
	hosts := slices.Clone(r.cluster.Hosts)
	random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	return hosts
}

// forSome returns how long a fault lasts: mostly around an election timeout, sometimes many.
func (r *run) forSome(random *rand.Rand) time.Duration {
	t := r.plan.ElectionTimeout
	switch random.IntN(4) {
	case 0:
		return between(random, t/10, t)
	case 3:
		return between(random, 4*t, 20*t)
	}
	return between(random, t, 4*t)
}
