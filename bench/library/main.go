// Command library measures Balsa as a library against hashicorp/raft with its write-ahead log (raft-wal): three members in
// one process, which reach each other over TCP on loopback and keep their logs on a disk, with every sync. Each run is a
// process of its own, in alternation.
//
//	go run ./library                     one and 1,000 entries of 128 bytes in flight, three rounds of five seconds
//	go run ./library -in-flight 100 -rounds 5 -seconds 10
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/balsadb/balsa/bench/report"
)

// contenders by name.
var contenders = map[string]func(dir string) (contender, error){
	"hashicorp": newHashicorp,
	"balsa":     newBalsa,
}

// settings are what the flags say.
type settings struct {
	sides    []string
	inFlight []int
	payload  int
	rounds   int
	duration time.Duration
	dir      string
	json     string
	profile  string
	child    bool // this process is one run: of the only side, with the only number in flight
}

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if s.child {
			err = s.runHere(ctx)
		} else {
			err = s.measure(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "library:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*settings, error) {
	flags := flag.NewFlagSet("library", flag.ContinueOnError)
	s := &settings{}
	sides := flags.String("sides", "hashicorp,balsa", "which libraries, in this order in each round")
	inFlight := flags.String("in-flight", "1,1000", "how many entries are proposed and not yet answered at a time")
	flags.IntVar(&s.payload, "bytes", 128, "size of an entry")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each is run")
	seconds := flags.Float64("seconds", 5, "how long entries are proposed in one run")
	flags.StringVar(&s.dir, "dir", "", "where the logs are kept, on a disk; the system's temporary directory by default")
	flags.StringVar(&s.json, "json", "", "write all results to this file, too")
	flags.StringVar(&s.profile, "profile", "", "write a processor profile of each run to this file; the last one stays")
	flags.BoolVar(&s.child, "child", false, "be one run, and print its result as JSON (this is how the command starts itself)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	s.duration = time.Duration(*seconds * float64(time.Second))
	s.sides = strings.Split(*sides, ",")
	for _, side := range s.sides {
		if contenders[side] == nil {
			return nil, fmt.Errorf("no library is called %q: there are hashicorp and balsa", side)
		}
	}
	for text := range strings.SplitSeq(*inFlight, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100_000 {
			return nil, fmt.Errorf("-in-flight %q: give numbers from 1 to 100,000", text)
		}
		s.inFlight = append(s.inFlight, n)
	}
	if s.rounds < 1 || s.duration <= 0 || s.payload < 0 {
		return nil, errors.New("rounds and seconds must be above 0, and bytes not below")
	}
	return s, nil
}

// measure runs everything, each run in a process of its own, and prints it.
func (s *settings) measure(ctx context.Context) error {
	all := report.New(s.sides, s.duration, order...)
	fmt.Println(all.Machine)
	for _, n := range s.inFlight {
		scenario := fmt.Sprintf("%d in flight", n)
		for round := range s.rounds {
			for _, side := range s.sides {
				r, err := s.runChild(ctx, side, n)
				if err != nil {
					return fmt.Errorf("%s, %s, round %d: %w", scenario, side, round+1, err)
				}
				all.Add(scenario, side, r)
				fmt.Fprintf(os.Stderr, "%s, %s, round %d: %v\n", scenario, side, round+1, r)
			}
		}
		all.Print(os.Stdout, scenario, fmt.Sprintf("entries of %d bytes, three members in one process, %s", s.payload, scenario))
	}
	return all.Write(s.json)
}

func (s *settings) runChild(ctx context.Context, side string, inFlight int) (report.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(ctx, self, "-child", "-sides", side, "-in-flight", strconv.Itoa(inFlight),
		"-bytes", strconv.Itoa(s.payload), "-seconds", fmt.Sprint(s.duration.Seconds()), "-dir", s.dir, "-profile", s.profile)
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := child.Output()
	if err != nil {
		return nil, err
	}
	var r report.Result
	return r, json.Unmarshal(output, &r)
}
