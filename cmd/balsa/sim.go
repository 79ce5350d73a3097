package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/sim"
)

// simOptions are the flags of balsa sim.
type simOptions struct {
	seeds, first, seed uint64
	minutes            float64
	jobs, operations   int
	faults             int
	without            []string
	drop               []int
	trace, output      string
	listFaults         bool

	twice, fingerprints, backwards bool
	with                           string
}

func simCommand() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Attack simulated clusters of this very code, each from a seed",
		Long: "Runs whole clusters of the code that serves, in virtual time, on a network, disks and clocks that a seed makes misbehave, and checks\n" +
			"after every step what must hold. A seed gives the same run again, on the same commit; --twice proves it. The exit code is 1 where\n" +
			"something did not hold, and 3 where all held but a campaign of a hundred runs or more did less than it must (the floors), so that\n" +
			"its silence means little. docs/testing.md explains what is checked, and how to read a trace.",
		Example: "  balsa sim --minutes 10                      a campaign with fresh seeds\n" +
			"  balsa sim --first 1 --seeds 100             these seeds\n" +
			"  balsa sim --seeds 100 --twice               does each seed give the same run twice, in two processes?\n" +
			"  balsa sim --seed 7 --trace run.jsonl        one run, with all that happened in it",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			single := cmd.Flags().Changed("seed")
			if err := o.check(single, cmd.Flags().Changed("first")); err != nil {
				return usage(cmd, err)
			}
			switch {
			case o.listFaults:
				_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(sim.FaultNames(), "\n"))
				return err
			case single:
				return simulateOne(cmd.OutOrStdout(), o)
			case !cmd.Flags().Changed("first"):
				o.first = uint64(time.Now().UnixNano()) / 1000 % 1e12
			}
			switch {
			case o.twice:
				return simulateTwice(cmd, o)
			case o.fingerprints:
				return printFingerprints(cmd, o)
			}
			return simulateMany(cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&o.seeds, "seeds", 0, "how many runs (default: as many as there is time for)")
	flags.Float64Var(&o.minutes, "minutes", 0, "for how many minutes; 1 where --seeds is not given")
	flags.Uint64Var(&o.first, "first", 0, "the first seed (default: from the clock)")
	flags.IntVar(&o.jobs, "jobs", 0, "runs at once (default: one a processor)")
	flags.Uint64Var(&o.seed, "seed", 0, "make this one run")
	flags.StringVar(&o.trace, "trace", "", "of the one run: write every event to this `file`, as JSON lines (- for stdout)")
	flags.StringSliceVar(&o.without, "without", nil, "leave out `faults`: classes (disk), single ones (pauses), or all")
	flags.IntVar(&o.faults, "faults", 0, "of the one run: no more than so many faults")
	flags.IntSliceVar(&o.drop, "drop", nil, "of the one run: leave out these faults, by their `numbers`")
	flags.IntVar(&o.operations, "operations", 0, "of the one run: ask no more than so many things")
	flags.BoolVar(&o.twice, "twice", false, "run each seed twice, the second time in another process and in the opposite order, and compare the traces")
	flags.StringVar(&o.with, "with", "", "with --twice: the second time is this `program`'s, another build of the same commit")
	flags.BoolVar(&o.fingerprints, "fingerprints", false, "print a line for each seed and nothing else: seed, trace hash, steps")
	flags.BoolVar(&o.backwards, "backwards", false, "with --fingerprints: begin with the last seed")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	flags.BoolVar(&o.listFaults, "list-faults", false, "print the faults that there are")
	return cmd
}

// check says what is wrong with the command line.
func (o *simOptions) check(single, first bool) error {
	switch {
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("-o %s: it must be text or json", o.output)
	case !single && (o.trace != "" || len(o.drop) > 0 || o.faults > 0 || o.operations > 0):
		return errors.New("--trace, --drop, --faults and --operations are for one run: name its --seed")
	case (o.twice || o.fingerprints) && (single || o.seeds == 0 || o.minutes > 0 || o.output != "text"):
		return errors.New("--twice and --fingerprints are for a number of seeds: give --seeds, and no --minutes and no -o")
	case o.twice && o.fingerprints, o.with != "" && !o.twice, o.backwards && !o.fingerprints:
		return errors.New("--with belongs to --twice, --backwards to --fingerprints, and those two exclude each other")
	case single && (first || o.seeds > 0 || o.minutes > 0 || o.jobs > 0):
		return errors.New("--seed is for one run, --first, --seeds, --minutes and --jobs are for a campaign")
	}
	for _, name := range o.without {
		if !sim.KnowsFault(name) {
			return fmt.Errorf("--without %s: there is no such class or fault; --list-faults has their names", name)
		}
	}
	return nil
}

// runCampaign makes the runs, and shows how far it is. What is under way when the user interrupts it is finished first.
func runCampaign(cmd *cobra.Command, campaign sim.Campaign) sim.Report {
	preferHugePages()
	debug.SetGCPercent(400) // runs are short, and what they leave is small: a third more of them for some tens of megabytes
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	progress := simProgress{out: cmd.ErrOrStderr(), terminal: isTerminal(os.Stderr)}
	campaign.Progress = progress.show
	report := campaign.Run(ctx)
	progress.end()
	return report
}

// simulateMany runs a campaign.
func simulateMany(cmd *cobra.Command, o simOptions) error {
	if o.seeds == 0 && o.minutes == 0 {
		o.minutes = 1
	}
	report := runCampaign(cmd, sim.Campaign{
		First: o.first, Seeds: o.seeds, Limit: time.Duration(o.minutes * float64(time.Minute)), Jobs: o.jobs, Without: o.without,
	})
	if err := writeSimReport(cmd.OutOrStdout(), o, &report); err != nil {
		return err
	}
	for _, f := range report.Violations {
		if err := explainViolation(cmd.OutOrStdout(), sim.RunOptions{Seed: f.Seed, Without: o.without}, o); err != nil {
			return err
		}
	}
	if len(report.Violations) > 0 {
		return exitCode(exitError)
	}
	if missed := report.FloorsMissed(); len(missed) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "balsa sim: nothing broke, but the campaign did less than it must, so that this means little: %s\n", strings.Join(missed, "; "))
		return exitCode(exitFloor)
	}
	return nil
}

func writeSimReport(out io.Writer, o simOptions, report *sim.Report) error {
	if o.output == "json" {
		return writeJSON(out, report)
	}
	return report.Write(out)
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// simulateOne makes one run.
func simulateOne(out io.Writer, o simOptions) error {
	options := sim.RunOptions{Seed: o.seed, Without: o.without, Faults: o.faults, Drop: o.drop, Operations: o.operations}
	closeTrace := func() error { return nil }
	if o.trace != "" {
		file, err := os.Stdout, error(nil)
		if o.trace != "-" {
			if file, err = os.Create(o.trace); err != nil {
				return err
			}
		}
		trace := sim.NewTraceWriter(file)
		options.OnTrace = trace.Write
		closeTrace = func() error { return errors.Join(trace.Close(), file.Close()) }
	}
	result := sim.Run(options)
	if err := closeTrace(); err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	if o.trace == "-" {
		out = os.Stderr
	}
	if err := writeSimResult(out, o, &result); err != nil {
		return err
	}
	if result.Violation != nil {
		return exitCode(exitError)
	}
	return nil
}
