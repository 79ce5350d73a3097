package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Hours in which nothing happens are worth nothing. So a campaign is held to floors, fixed beforehand: how often things must happen in an
// hour of simulated time, how many hours its runs must have, and that each invariant had something to judge. They are a
// third of what the default campaign does, or less, so that chance alone does not miss them in a hundred runs.

// JudgedFrom is how many runs a campaign must have made to be held to the floors.
const JudgedFrom = 100

// floor is how often something must happen in a simulated hour.
type floor struct {
	counter string
	hourly  float64
	// undisturbed: it is held to though faults were left out.
	undisturbed bool
}

var fixedFloors = []floor{
	{"operations acknowledged", 5000, true},
	{"commands replayed", 3000, true},
	{"elections", 150, false},
	{"lives that ended", 300, false},
	{"torn tails", 2, false},
	{"snapshots installed", 5, false},
	{"log segments removed", 500, false},
	{"frames lost", 1000, false},
	{"frames duplicated", 300, false},
	{"large values", 80, false},
	{"compactions", 30, false},
	{"commands acknowledged", 800, true},
	{"wide reads", 300, true},
	{"events told", 4000, true},
	{"leases expired", 80, false},
}

const (
	faultFloor    = 4  // an hour, for each fault: in its hundreds, in a hundred hours
	judgedFloor   = 10 // an hour, for each invariant
	hoursOf100    = 3  // simulated, that a hundred runs must have
	undecidedMost = 1  // of a hundred histories may be too hard to check
)

// floors returns all that a campaign is held to. What was left out on purpose does not count, and where anything was, only the
// work that was done and the faults that remain do.
func (p *Report) floors() []floor {
	disturbed := len(p.Without) == 0
	all := slices.DeleteFunc(slices.Clone(fixedFloors), func(f floor) bool { return !disturbed && !f.undisturbed })
	for i := range faults {
		if !leavesOut(p.Without, &faults[i]) {
			all = append(all, floor{counter: faults[i].name, hourly: faultFloor})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Counters)) {
		if disturbed && !isNoJudgement(name) {
			all = append(all, floor{counter: name, hourly: judgedFloor})
		}
	}
	return all
}

func isNoJudgement(counter string) bool { return !strings.HasPrefix(counter, judgedPrefix) }

// Judged reports whether the campaign is held to the floors: it is large enough, and was not ended by a violation.
func (p *Report) Judged() bool { return p.Runs >= JudgedFrom && len(p.Violations) == 0 }

// FloorsMissed returns a sentence for each floor that a campaign is held to and did not reach.
func (p *Report) FloorsMissed() []string {
	if !p.Judged() {
		return nil
	}
	var missed []string
	if hours, least := p.Simulated.Hours(), hoursOf100*float64(p.Runs)/100; hours < least {
		missed = append(missed, fmt.Sprintf("%d runs are %.1f simulated hours, they must be %.1f", p.Runs, hours, least))
	}
	for _, f := range p.floors() {
		if rate := p.PerHour(f.counter); rate < f.hourly {
			missed = append(missed, fmt.Sprintf("%s: %.1f in a simulated hour, the floor is %.0f", f.counter, rate, f.hourly))
		}
	}
	if n := p.Counters[undecided]; n*100 > undecidedMost*uint64(p.Runs) {
		missed = append(missed, fmt.Sprintf("%s: %d of %d, and not more than %d in a hundred may be", undecided, n, p.Runs, undecidedMost))
	}
	return missed
}
