// Package report prints what was measured: medians of all rounds, with the least and the most, and how the two sides compare.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Figure is the name of a figure, with its unit. Figures are printed in the order in which they are named in a Report.
type Figure string

// Result is what one run gave.
type Result map[Figure]float64

func (r Result) String() string {
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", f, r[f]))
	}
	return strings.Join(parts, "; ")
}

// Report is all that was measured, as it is written to a file.
type Report struct {
	Machine string    `json:"machine"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // of one run
	Sides   []string  `json:"sides"`   // the second's ratio to the first is printed
	Runs    []Run     `json:"runs"`
	Lines   []Line    `json:"lines"`

	order []Figure
}

// Run is one run.
type Run struct {
	Scenario string `json:"scenario"`
	Side     string `json:"side"`
	Figures  Result `json:"figures"`
}

// Line is one figure of one scenario over all rounds.
type Line struct {
	Scenario string            `json:"scenario"`
	Figure   Figure            `json:"figure"`
	Of       map[string]Spread `json:"of"`
	// Ratio is that of the second side to the first, of each round: what they were given to work with changes from one round to
	// the next where a machine is shared, and hits both sides of a round alike.
	Ratio *Spread `json:"ratio,omitempty"`
}

// Spread is what the rounds gave.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// New makes an empty report that compares sides.
func New(sides []string, duration time.Duration, order ...Figure) *Report {
	return &Report{Machine: machine(), Began: time.Now(), Seconds: duration.Seconds(), Sides: sides, order: order}
}

func machine() string {
	var name unix.Utsname
	kernel := "an unknown kernel"
	if unix.Uname(&name) == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return fmt.Sprintf("%d processors, %s, built with %s; clients and servers on this machine", runtime.NumCPU(), kernel, runtime.Version())
}

// Add adds a run.
func (r *Report) Add(scenario, side string, figures Result) {
	r.Runs = append(r.Runs, Run{scenario, side, figures})
}

// Print prints a scenario as a table: medians with the least and the most of the rounds, and the same of the rounds' ratios.
func (r *Report) Print(w io.Writer, scenario, title string) {
	fmt.Fprintf(w, "\n%s\n%-32s", title, "")
	for _, side := range r.Sides {
		fmt.Fprintf(w, " %26s", side)
	}
	if len(r.Sides) == 2 {
		fmt.Fprintf(w, " %22s", r.Sides[1]+"/"+r.Sides[0])
	}
	fmt.Fprintln(w)
	for _, figure := range r.order {
		l := Line{Scenario: scenario, Figure: figure, Of: r.spreads(scenario, figure)}
		if len(l.Of) > 0 {
			r.printLine(w, &l)
			r.Lines = append(r.Lines, l)
		}
	}
}

func (r *Report) printLine(w io.Writer, l *Line) {
	fmt.Fprintf(w, "  %-30s", l.Figure)
	for _, side := range r.Sides {
		s := l.Of[side]
		fmt.Fprintf(w, " %26s", fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Least), number(s.Most)))
	}
	if l.Ratio = r.ratio(l.Scenario, l.Figure); l.Ratio != nil {
		fmt.Fprintf(w, " %22s", fmt.Sprintf("%s× (%s–%s)", number(l.Ratio.Median), number(l.Ratio.Least), number(l.Ratio.Most)))
	}
	fmt.Fprintln(w)
}

func (r *Report) spreads(scenario string, f Figure) map[string]Spread {
	all := map[string]Spread{}
	for _, side := range r.Sides {
		if v := r.values(scenario, side, f); len(v) > 0 {
			all[side] = spread(v)
		}
	}
	return all
}

// values are a figure of a side's runs, in the order of the rounds.
func (r *Report) values(scenario, side string, f Figure) (values []float64) {
	for _, run := range r.Runs {
		if v, ok := run.Figures[f]; ok && run.Scenario == scenario && run.Side == side {
			values = append(values, v)
		}
	}
	return values
}

// ratio compares two sides round by round; nil where there is nothing to compare.
func (r *Report) ratio(scenario string, f Figure) *Spread {
	if len(r.Sides) != 2 {
		return nil
	}
	first, second := r.values(scenario, r.Sides[0], f), r.values(scenario, r.Sides[1], f)
	var ratios []float64
	for i := range min(len(first), len(second)) {
		if first[i] > 0 {
			ratios = append(ratios, second[i]/first[i])
		}
	}
	if len(ratios) == 0 {
		return nil
	}
	s := spread(ratios)
	return &s
}

func spread(values []float64) Spread {
	return Spread{Median(values), slices.Min(values), slices.Max(values)}
}

// Median of what need not be sorted.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// number writes three digits that mean something, and thousands with commas.
func number(v float64) string {
	switch {
	case v >= 1000:
		return commas(fmt.Sprintf("%.0f", v))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.4f", v), "0"), ".")
}

func commas(digits string) string {
	if len(digits) <= 3 {
		return digits
	}
	return commas(digits[:len(digits)-3]) + "," + digits[len(digits)-3:]
}

// Write writes the whole report as JSON; no path is no report.
func (r *Report) Write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
