package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/balsadb/balsa/sim"
)

// simProgress is the line that says how far a campaign is. On a terminal it is one line that changes.
type simProgress struct {
	out      io.Writer
	terminal bool
	shown    bool
	lines    int
}

func (p *simProgress) show(r sim.Report) {
	p.lines++
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", r.Line())
		p.shown = true
	case p.lines%30 == 1: // a log of a build server: a line every half minute
		fmt.Fprintln(p.out, r.Line())
	}
}

func (p *simProgress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// simResult is a single run's result as JSON.
type simResult struct {
	Seed      uint64         `json:"seed"`
	Commit    string         `json:"commit"`
	Plan      string         `json:"plan"`
	Hash      string         `json:"trace_hash"`
	Steps     uint64         `json:"steps"`
	Simulated int64          `json:"simulated_ns"`
	Counters  sim.Counters   `json:"counters"`
	Faults    []sim.Injected `json:"faults"`
	Violation *sim.Violation `json:"violation"`
}

func writeSimResult(out io.Writer, o simOptions, r *sim.Result) error {
	hash := fmt.Sprintf("%016x", r.Hash)
	if o.output == "json" {
		return writeJSON(out, simResult{
			Seed: r.Options.Seed, Commit: commit(), Plan: r.Plan.String(), Hash: hash, Steps: r.Steps,
			Simulated: int64(r.Simulated), Counters: r.Counters, Faults: r.Faults, Violation: r.Violation,
		})
	}
	fmt.Fprintf(out, "seed %d on commit %s\n%v\n", r.Options.Seed, commit(), r.Plan)
	for _, f := range r.Faults {
		fmt.Fprintf(out, "  fault %d after %v: %s\n", f.Number, f.At, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
		fmt.Fprintf(out, "%12d  %s\n", r.Counters[name], name)
	}
	fmt.Fprintf(out, "%d steps, %v of virtual time, trace hash %s\n", r.Steps, r.Simulated, hash)
	if r.Violation == nil {
		_, err := fmt.Fprintln(out, "violations: 0")
		return err
	}
	_, err := fmt.Fprintf(out, "VIOLATION: %v\nagain: %s\n", r.Violation, simCommandLine(r.Options))
	return err
}

// explainViolation prints all that one needs to go after a violation: seed, commit, the command that makes the run again, and
// the shortest schedule of faults that a short search found.
func explainViolation(out io.Writer, failed sim.RunOptions, o simOptions) error {
	if o.output == "json" {
		return nil
	}
	fmt.Fprintf(out, "\nVIOLATION with seed %d on commit %s\n", failed.Seed, commit())
	fmt.Fprintf(out, "again:    %s\n", simCommandLine(failed))
	short := sim.Shorten(failed)
	fmt.Fprintf(out, "shorter:  %s\n", simCommandLine(short.Options))
	fmt.Fprintf(out, "%v\n", short.Plan)
	for _, f := range short.Faults {
		fmt.Fprintf(out, "  fault %d after %v: %s\n", f.Number, f.At, f.Name)
	}
	_, err := fmt.Fprintf(out, "%v\n", short.Violation)
	return err
}

// simCommandLine is the command that makes a run again.
func simCommandLine(o sim.RunOptions) string {
	line := fmt.Sprintf("balsa sim --seed %d", o.Seed)
	if len(o.Without) > 0 {
		line += fmt.Sprintf(" --without '%s'", strings.Join(o.Without, ","))
	}
	if o.Faults > 0 {
		line += fmt.Sprintf(" --faults %d", o.Faults)
	}
	if len(o.Drop) > 0 {
		line += " --drop " + strings.Trim(strings.ReplaceAll(fmt.Sprint(o.Drop), " ", ","), "[]")
	}
	if o.Operations > 0 {
		line += fmt.Sprintf(" --operations %d", o.Operations)
	}
	return line
}
