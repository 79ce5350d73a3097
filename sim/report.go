package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a campaign came to.
type Report struct {
	Runs       int           `json:"runs"`
	Pebble     int           `json:"runs_on_pebble"`
	Members    Counters      `json:"runs_by_members"`
	Simulated  time.Duration `json:"simulated_ns"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	Jobs       int           `json:"jobs"`
	Steps      uint64        `json:"steps"`
	Counters   Counters      `json:"counters"`
	Peaks      Counters      `json:"peaks"`
	Violations []Failure     `json:"violations"`
}

// Failure is a run in which an invariant did not hold.
type Failure struct {
	Seed      uint64     `json:"seed"`
	Plan      string     `json:"plan"`
	Violation *Violation `json:"violation"`
}

func newReport(jobs int) Report {
	return Report{Jobs: jobs, Members: Counters{}, Counters: Counters{}, Peaks: Counters{}, Violations: []Failure{}}
}

func (p *Report) add(r Result) {
	p.Runs++
	if r.Plan.Pebble {
		p.Pebble++
	}
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

// Write writes the report for people.
func (p *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value any) { fmt.Fprintf(w, "%v\t  %s\n", value, name) }
	row("runs", p.Runs)
	row("of them on Pebble", p.Pebble)
	row("simulated hours of clusters", fmt.Sprintf("%.2f", p.Simulated.Hours()))
	row(fmt.Sprintf("minutes of real time, %d jobs", p.Jobs), fmt.Sprintf("%.2f", p.Elapsed.Minutes()))
	row("times faster than real time, per job", fmt.Sprintf("%.0f", p.SpeedUp()))
	row("steps", p.Steps)
	for _, name := range slices.Sorted(maps.Keys(p.Counters)) {
		row(name, p.Counters[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Peaks)) {
		row("at most: "+name, p.Peaks[name])
	}
	fmt.Fprintf(w, "violations: %d\t\n", len(p.Violations))
	return w.Flush()
}
