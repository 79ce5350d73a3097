package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/balsadb/balsa/sim"
)

// hunt is how long, and from where on, one mutant is looked for.
type hunt struct {
	program string
	first   uint64        // seed
	seeds   uint64        // at most
	limit   time.Duration // at most
}

// outcome is what came of the hunt for one mutant.
type outcome struct {
	Name    string  `json:"name"`
	File    string  `json:"file"`
	Why     string  `json:"why"`
	Caught  bool    `json:"caught"`
	Seeds   int     `json:"seeds"` // needed, or tried
	Seconds float64 `json:"seconds"`
	// Seed, Invariant and Error are those of the run that caught it. Where none did, Error may say why.
	Seed      uint64 `json:"seed,omitempty"`
	Invariant string `json:"invariant,omitempty"`
	Error     string `json:"error,omitempty"`
}

// mutant runs the campaign on a mutant until an invariant does not hold. It counts as caught where the same run holds without it.
func (h *hunt) mutant(ctx context.Context, m mutant) outcome {
	o := outcome{Name: m.name, File: m.file, Why: m.why}
	began := time.Now()
	report, err := h.campaign(ctx, m.name)
	o.Seconds = time.Since(began).Seconds()
	if err != nil {
		o.Error = err.Error()
		return o
	}
	o.Seeds = report.Runs
	if len(report.Violations) == 0 {
		return o
	}
	f := report.Violations[0]
	o.Seed, o.Invariant, o.Error = f.Seed, f.Violation.Invariant, f.Violation.Error
	if _, err := h.run(ctx, "", "--seed", fmt.Sprint(f.Seed)); err != nil {
		o.Error = fmt.Sprintf("it fails without the mutant too: %v", err)
		return o
	}
	o.Caught = true
	return o
}

// campaign runs the default campaign on a mutant.
func (h *hunt) campaign(ctx context.Context, name string) (report sim.Report, err error) {
	out, err := h.run(ctx, name, "--first", fmt.Sprint(h.first), "--seeds", fmt.Sprint(h.seeds),
		"--minutes", fmt.Sprint(h.limit.Minutes()), "--jobs", "1")
	if len(out) == 0 {
		return report, err
	}
	return report, json.Unmarshal(out, &report)
}

// graceful is how much longer than it was told to take a campaign may take: its last run is finished first.
const graceful = time.Minute

// run calls balsa sim, and returns what it says. An error says that it has found something, or crashed, or hung.
func (h *hunt) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, h.limit+graceful)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, slices.Concat([]string{"sim", "-o", "json"}, args)...)
	cmd.Env = append(os.Environ(), switchVariable+"="+name, "GOMAXPROCS=1")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it did not end: %w", ctx.Err())
	case err != nil && out.Len() == 0:
		return nil, errors.Join(err, errors.New(firstLine(said.String(), "panic")))
	}
	return out.Bytes(), err
}

// firstLine returns the first line that begins with a word, or else just the first one.
func firstLine(text, word string) string {
	first, _, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return first
}
