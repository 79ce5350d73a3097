package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// plentiful is the report of a campaign that meets all floors.
func plentiful(runs int, without ...string) Report {
	p := newReport(1, without)
	p.Runs, p.Simulated = runs, time.Duration(runs)*3*time.Minute
	for _, i := range everyInvariant {
		p.Counters[judgedBy(i)] = 0
	}
	for _, f := range p.floors() {
		p.Counters[f.counter] = uint64(f.hourly*p.Simulated.Hours()) + 1
	}
	return p
}

var everyInvariant = []string{"election safety", "log matching"}

func TestFloors(t *testing.T) {
	p := plentiful(100)
	if missed := p.FloorsMissed(); missed != nil {
		t.Errorf("all are met, and missed are %q", missed)
	}
	for _, f := range p.floors() {
		poor := plentiful(100)
		poor.Counters[f.counter] = uint64(f.hourly*p.Simulated.Hours()) - 1
		if missed := poor.FloorsMissed(); len(missed) != 1 || !strings.HasPrefix(missed[0], f.counter+": ") {
			t.Errorf("too little of %s, and missed are %q", f.counter, missed)
		}
	}
	for what, c := range map[string]struct {
		change func(*Report)
		missed int
	}{
		"short runs":            {func(p *Report) { p.Simulated /= 2 }, 1},
		"undecided histories":   {func(p *Report) { p.Counters[undecided] = 2 }, 1},
		"one undecided history": {func(p *Report) { p.Counters[undecided] = 1 }, 0},
		"nothing at all, twice": {func(p *Report) { clear(p.Counters) }, len(fixedFloors) + len(faults)},
		"a violation":           {func(p *Report) { clear(p.Counters); p.Violations = make([]Failure, 1) }, 0},
		"too few to be judged":  {func(p *Report) { clear(p.Counters); p.Runs = JudgedFrom - 1 }, 0},
		"an idle invariant":     {func(p *Report) { p.Counters[judgedBy("log matching")] = 0 }, 1},
	} {
		poor := plentiful(100)
		c.change(&poor)
		if missed := poor.FloorsMissed(); len(missed) != c.missed {
			t.Errorf("%s: missed are %d: %q", what, len(missed), missed)
		}
	}
}

// TestFloorsOfWhatWasLeftOut: a fault that was left out on purpose has no floor, nor has what only all of them together bring about.
func TestFloorsOfWhatWasLeftOut(t *testing.T) {
	p := plentiful(100, "disk", "pauses")
	for _, f := range p.floors() {
		if f.counter == "pauses" || slices.Contains(faultNames("disk"), f.counter) || f.counter == "torn tails" {
			t.Errorf("%s has a floor", f.counter)
		}
	}
	p.Counters["kills"] = 0
	if missed := p.FloorsMissed(); len(missed) != 1 || !strings.HasPrefix(missed[0], "kills: 0.0 ") {
		t.Errorf("missed are %q", missed)
	}
}

// judgesAll wants each floor's counter to be one that a campaign really counts, and each invariant to have judged something.
func judgesAll(t *testing.T, p *Report) {
	t.Helper()
	judged := 0
	for name, n := range p.Counters {
		if isNoJudgement(name) {
			continue
		}
		judged++
		if n == 0 {
			t.Errorf("nothing was ever %s", name)
		}
	}
	if want := len(newRun(RunOptions{Seed: 1}).invariants()); judged != want {
		t.Errorf("%d invariants count what they judge, there are %d", judged, want)
	}
	var never []string
	for _, f := range fixedFloors {
		if p.Counters[f.counter] == 0 {
			never = append(never, f.counter)
		}
	}
	if never != nil {
		t.Error(fmt.Sprint("a floor of what nobody counts, or what never happens: ", never))
	}
}
