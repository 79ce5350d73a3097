package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a campaign came to.
type Report struct {
	Runs       int           `json:"runs"`
	Engines    Counters      `json:"runs_by_engine"`
	Members    Counters      `json:"runs_by_members"`
	Simulated  time.Duration `json:"simulated_ns"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	Jobs       int           `json:"jobs"`
	Steps      uint64        `json:"steps"`
	Counters   Counters      `json:"counters"`
	Peaks      Counters      `json:"peaks"`
	Without    []string      `json:"without,omitempty"`
	Violations []Failure     `json:"violations"`
}

// Failure is a run in which an invariant did not hold.
type Failure struct {
	Seed      uint64     `json:"seed"`
	Plan      string     `json:"plan"`
	Violation *Violation `json:"violation"`
}

func newReport(jobs int, without []string) Report {
	return Report{Jobs: jobs, Without: without, Members: Counters{}, Engines: Counters{}, Counters: Counters{}, Peaks: Counters{}, Violations: []Failure{}}
}

func (p *Report) add(r Result) {
	p.Runs++
	p.Engines[r.Plan.Engine]++
	p.Members[fmt.Sprint(r.Plan.Members)]++
	p.Simulated += r.Simulated
	p.Steps += r.Steps
	p.Counters.add(r.Counters)
	p.Peaks.raise(r.Peaks)
	if r.Violation != nil {
		p.Violations = append(p.Violations, Failure{r.Options.Seed, r.Plan.String(), r.Violation})
	}
}

// SpeedUp returns how much virtual time of a cluster passed in the real time of one job.
func (p *Report) SpeedUp() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return p.Simulated.Seconds() / p.Elapsed.Seconds() / float64(p.Jobs)
}

// PerHour returns a counter per simulated hour.
func (p *Report) PerHour(name string) float64 {
	if p.Simulated <= 0 {
		return 0
	}
	return float64(p.Counters[name]) / p.Simulated.Hours()
}

// Line says in one line how far a campaign is.
func (p *Report) Line() string {
	return fmt.Sprintf("%d runs, %.1f simulated hours, %.0f× per job, %d operations acknowledged, %d elections, violations: %d",
		p.Runs, p.Simulated.Hours(), p.SpeedUp(), p.Counters["operations acknowledged"], p.Counters["elections"], len(p.Violations))
}

// sections are how the counters are told to people. What is in none of them comes last.
var sections = []struct {
	title string
	names []string
}{
	{"work", []string{
		"operations asked", "operations acknowledged", "acknowledged: get", "acknowledged: put", "acknowledged: delete", "acknowledged: swap",
		"operations refused", "unknown outcomes", "answers that clients did not wait for", "large values", "compactions",
		"reads of old revisions", "reads of compacted revisions, refused", "commands replayed",
	}},
	{"protocol", []string{
		"elections", "terms campaigned in", "pre-votes asked for", "offices given up", "transfers that came about",
		"snapshots needed", "snapshots sent", "snapshots installed",
	}},
	{"lives", []string{
		"lives that ended", "starts: new", "starts: clean end", "starts: torn tail", "torn tails", "torn bytes cut",
		"starts that the disk refused", "members fenced by their disk",
	}},
	{"disks", []string{
		"log syncs", "log segments filled", "log segments removed", "audits of disks", "syncs that stalled",
		"operations that the disk failed", "disk operations refused for want of space",
	}},
	{"frames", []string{
		"frames sent", "frames delivered", "frames lost", "frames duplicated", "frames replayed", "frames refused by full queues",
		"packets dropped for want of room", "bulk frames", "connections broken",
	}},
}

// Write writes the report for people.
func (p *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value any) { fmt.Fprintf(w, "%v\t  %s\n", value, name) }
	fmt.Fprintf(w, "\t  RUNS\n")
	row("runs, each with a seed of its own", p.Runs)
	for _, members := range slices.Sorted(maps.Keys(p.Members)) {
		row(members+" members", p.Members[members])
	}
	for _, engine := range slices.Sorted(maps.Keys(p.Engines)) {
		row("engine: "+engine, p.Engines[engine])
	}
	row("simulated hours of clusters", fmt.Sprintf("%.2f", p.Simulated.Hours()))
	row(fmt.Sprintf("minutes of real time with %d jobs", p.Jobs), fmt.Sprintf("%.2f", p.Elapsed.Minutes()))
	row("times as fast as real time, per job", fmt.Sprintf("%.0f", p.SpeedUp()))
	row("steps", p.Steps)
	told := map[string]bool{}
	section := func(title string, names []string) {
		fmt.Fprintf(w, "\t  %s\n", strings.ToUpper(title))
		for _, name := range names {
			told[name] = true
			row(name, p.Counters[name])
		}
	}
	for _, s := range sections {
		section(s.title, s.names)
	}
	for _, class := range [...]string{"network", "process", "disk", "clock"} {
		section("faults: "+class, faultNames(class))
	}
	section("judged: how often the invariants had something to compare", slices.DeleteFunc(slices.Sorted(maps.Keys(p.Counters)), isNoJudgement))
	section("other", slices.DeleteFunc(slices.Sorted(maps.Keys(p.Counters)), func(name string) bool { return told[name] }))
	fmt.Fprintf(w, "\t  THE LARGEST\n")
	for _, name := range slices.Sorted(maps.Keys(p.Peaks)) {
		row(name, p.Peaks[name])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	floors := fmt.Sprintf("floors: not judged, %d runs are too few (%d are needed)", p.Runs, JudgedFrom)
	if p.Judged() {
		missed := p.FloorsMissed()
		for _, sentence := range missed {
			fmt.Fprintf(out, "floor not met: %s\n", sentence)
		}
		floors = fmt.Sprintf("floors: %d of %d not met", len(missed), len(p.floors()))
	}
	fmt.Fprintln(out, floors)
	_, err := fmt.Fprintf(out, "violations: %d\n", len(p.Violations))
	return err
}
