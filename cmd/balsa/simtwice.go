package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/sim"
)

// simulateTwice runs each seed twice and compares what the runs came to: the second time in another process, in the opposite order, so
// that what one run leaves behind for the next would show, and what a process draws when it starts.
func simulateTwice(cmd *cobra.Command, o simOptions) error {
	first, violations, err := fingerprintsHere(cmd, o, false)
	if err != nil {
		return err
	}
	program := o.with
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program, to run it once more: %w", err)
		}
	}
	second, err := fingerprintsThere(cmd.Context(), program, o)
	if err != nil {
		return err
	}
	return compareRuns(cmd.OutOrStdout(), first, second, o.without, violations)
}

// compareRuns says which seeds did not give the same run twice.
func compareRuns(out io.Writer, first, second []sim.Fingerprint, without []string, violations int) error {
	told := sim.Differences(first, second)
	for _, line := range told {
		fmt.Fprintln(out, line)
	}
	if len(told) > 0 {
		seed := first[0].Seed
		_, _ = fmt.Sscanf(told[0], "seed %d", &seed)
		again := simCommandLine(sim.RunOptions{Seed: seed, Without: without})
		fmt.Fprintf(out, "Something that the seed does not decide has a part in the run. Where it begins: %s --trace a.jsonl, the same with b.jsonl, diff a.jsonl b.jsonl\n", again)
	}
	if violations > 0 {
		fmt.Fprintf(out, "violations: %d; the same command without --twice tells of them\n", violations)
	}
	if _, err := fmt.Fprintf(out, "%d seeds run twice, %d gave another trace\n", len(first), len(told)); err != nil {
		return err
	}
	if len(told) > 0 || violations > 0 {
		return exitCode(exitError)
	}
	return nil
}

// fingerprintsHere runs the seeds in this process, and returns their fingerprints in the order of seeds.
func fingerprintsHere(cmd *cobra.Command, o simOptions, backwards bool) (all []sim.Fingerprint, violations int, err error) {
	report := runCampaign(cmd, sim.Campaign{
		First: o.first, Seeds: o.seeds, Jobs: o.jobs, Without: o.without, Backwards: backwards, Failures: int(o.seeds),
		Each: func(r sim.Result) { all = append(all, r.Fingerprint()) },
	})
	if report.Runs < int(o.seeds) {
		return nil, 0, errors.New("it was interrupted")
	}
	sim.SortFingerprints(all)
	return all, len(report.Violations), nil
}

// fingerprintsThere has another process run the seeds.
func fingerprintsThere(ctx context.Context, program string, o simOptions) (all []sim.Fingerprint, err error) {
	args := []string{"sim", "--fingerprints", "--backwards", "--first", strconv.FormatUint(o.first, 10), "--seeds", strconv.FormatUint(o.seeds, 10),
		"--jobs", strconv.Itoa(o.jobs)}
	if len(o.without) > 0 {
		args = append(args, "--without", strings.Join(o.without, ","))
	}
	child := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, os.Stderr
	ended := child.Run() // it ends with an error where something did not hold
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		f, err := sim.ParseFingerprint(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", program, err)
		}
		all = append(all, f)
	}
	if len(all) < int(o.seeds) {
		return nil, fmt.Errorf("%s %s made %d of %d runs: %w", program, strings.Join(args, " "), len(all), o.seeds, errors.Join(ended, lines.Err()))
	}
	return all, nil
}

// printFingerprints prints a line for each seed: the seed, the hash of its trace, and its steps.
func printFingerprints(cmd *cobra.Command, o simOptions) error {
	all, violations, err := fingerprintsHere(cmd, o, o.backwards)
	if err != nil {
		return err
	}
	for _, f := range all {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), f); err != nil {
			return err
		}
	}
	if violations > 0 {
		return exitCode(exitError)
	}
	return nil
}
