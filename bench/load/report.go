package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/balsadb/balsa/bench/servers"
)

// report is all that was measured, as it is written to a file.
type report struct {
	Machine string    `json:"machine"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Runs    []run     `json:"runs"`
	Lines   []line    `json:"lines"`
}

// run is one run.
type run struct {
	Scenario string       `json:"scenario"`
	Server   servers.Kind `json:"server"`
	Figures  result       `json:"figures"`
}

// line is one figure of one scenario over all rounds.
type line struct {
	Scenario string                  `json:"scenario"`
	Figure   figure                  `json:"figure"`
	Of       map[servers.Kind]spread `json:"of"`
	Ratio    float64                 `json:"ratio,omitempty"` // Balsa's median over etcd's, where both were measured
}

// spread is what the rounds gave.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func newReport(s *settings) *report {
	return &report{Machine: machine(), Began: time.Now(), Seconds: s.duration.Seconds()}
}

func machine() string {
	var name unix.Utsname
	kernel := "an unknown kernel"
	if unix.Uname(&name) == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return fmt.Sprintf("%d processors, %s, built with %s; clients and servers on this machine", runtime.NumCPU(), kernel, runtime.Version())
}

func (r *report) add(sc scenario, kind servers.Kind, figures result) {
	r.Runs = append(r.Runs, run{sc.name, kind, figures})
}

// order is how figures are listed.
var order = []figure{
	throughput, p50, p99, serverCPU, clientCPU, logSyncs, stateSyncs, deviceFlushes,
	failoverTime, resident, diskBytes, loadTime,
}

// print prints a scenario as a table: medians with the least and the most of the rounds, and the ratio.
func (r *report) print(w io.Writer, sc scenario, kinds []servers.Kind) {
	fmt.Fprintf(w, "\n%s\n%-32s", sc.title, "")
	for _, kind := range kinds {
		fmt.Fprintf(w, " %26s", kind)
	}
	fmt.Fprintf(w, " %12s\n", "balsa/etcd")
	for _, f := range order {
		l := line{Scenario: sc.name, Figure: f, Of: r.spreads(sc, f)}
		if len(l.Of) == 0 {
			continue
		}
		fmt.Fprintf(w, "  %-30s", f)
		for _, kind := range kinds {
			s := l.Of[kind]
			fmt.Fprintf(w, " %26s", fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Least), number(s.Most)))
		}
		if etcd, balsa := l.Of[servers.Etcd].Median, l.Of[servers.Balsa].Median; etcd > 0 && len(l.Of) == 2 {
			l.Ratio = balsa / etcd
			fmt.Fprintf(w, " %11s×", number(l.Ratio))
		}
		fmt.Fprintln(w)
		r.Lines = append(r.Lines, l)
	}
}

func (r *report) spreads(sc scenario, f figure) map[servers.Kind]spread {
	values := map[servers.Kind][]float64{}
	for _, run := range r.Runs {
		if v, ok := run.Figures[f]; ok && run.Scenario == sc.name {
			values[run.Server] = append(values[run.Server], v)
		}
	}
	all := map[servers.Kind]spread{}
	for kind, v := range values {
		slices.Sort(v)
		all[kind] = spread{median(v), v[0], v[len(v)-1]}
	}
	return all
}

// median of what is sorted.
func median(sorted []float64) float64 {
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

// write writes the whole report as JSON; no path is no report.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
