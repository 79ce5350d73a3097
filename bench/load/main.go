// Command load measures etcd and Balsa side by side: three members of each as real processes on this machine, the same
// clients against both, in alternation. See the README one directory up for what is counted and how.
//
//	go run ./load                                all scenarios, three rounds of five seconds: some fifteen minutes
//	go run ./load -list                          what there is
//	go run ./load -run put-100 -rounds 5 -seconds 10
//	go run ./load -servers balsa -run put-100 -profile /tmp/profiles
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// settings are what the flags say.
type settings struct {
	kinds      []servers.Kind
	binaries   map[servers.Kind]string
	scenarios  []scenario
	rounds     int
	duration   time.Duration
	operations int64 // at most, in one run
	perConn    int   // clients that share a connection
	keys       int   // of the scenarios memory and count
	kills      int   // of the failover scenario, in one run
	streams    int   // of watchers, and of keep-alives
	crowd      int   // watchers of the crowd scenario
	leases     int   // that are kept alive
	bytes      int64 // of the snapshot scenario's state
	dir        string
	json       string
	profiles   string

	// measuring is called when what is measured of watchers or leases begins, and what it returns at the end.
	measuring func(context.Context, *servers.Servers) (end func())
}

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil && s == nil {
		list()
		return
	}
	if err == nil {
		// Where this process is killed the servers end too: they hold a pipe whose other end is here.
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = s.measure(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// parse returns nil settings where only the list was asked for.
func parse(args []string) (*settings, error) {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	s := &settings{binaries: map[servers.Kind]string{}}
	kinds := flags.String("servers", "etcd,balsa", "which servers, in this order in each round")
	run := flags.String("run", "", "which scenarios, by name and separated by commas; all by default")
	listing := flags.Bool("list", false, "list the scenarios")
	etcd := flags.String("etcd", "", "etcd's binary; built from its published module by default")
	balsa := flags.String("balsa", "", "Balsa's binary; built from this tree by default")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each scenario runs on each server")
	seconds := flags.Float64("seconds", 5, "how long clients send requests in one run")
	flags.Int64Var(&s.operations, "operations", 2_000_000, "how many requests one run may have")
	flags.IntVar(&s.perConn, "clients-per-connection", 10, "how many clients share a connection to each endpoint")
	flags.IntVar(&s.keys, "keys", 200_000, "how many keys the scenarios memory and count put")
	flags.IntVar(&s.kills, "kills", 3, "how often the failover scenario kills a leader in one run")
	flags.IntVar(&s.streams, "streams", 10, "how many streams watchers and keep-alives are spread over, each on a connection of its own, to the members in turn")
	flags.IntVar(&s.crowd, "crowd", 100_000, "how many watchers the crowd scenario opens, on 100 streams to one member")
	flags.IntVar(&s.leases, "leases", 10_000, "how many leases the scenarios of leases keep alive")
	flags.Int64Var(&s.bytes, "bytes", 2<<30, "how many bytes the state of the snapshot scenario has")
	flags.StringVar(&s.dir, "dir", "", "where the servers keep their data, on a disk; the system's temporary directory by default")
	flags.StringVar(&s.json, "json", "", "write all results to this file, too")
	flags.StringVar(&s.profiles, "profile", "", "write processor profiles of the leader and a follower into this directory, from one more run of each scenario")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *listing {
		return nil, nil
	}
	s.duration = time.Duration(*seconds * float64(time.Second))
	s.binaries[servers.Etcd], s.binaries[servers.Balsa] = *etcd, *balsa
	for kind := range strings.SplitSeq(*kinds, ",") {
		s.kinds = append(s.kinds, servers.Kind(kind))
	}
	return s, s.choose(*run)
}

// choose takes the scenarios that are named.
func (s *settings) choose(names string) error {
	s.scenarios = scenarios
	if names == "" {
		return s.check()
	}
	s.scenarios = nil
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("there is no scenario %q: see -list", name)
		}
		s.scenarios = append(s.scenarios, scenarios[i])
	}
	return s.check()
}

func (s *settings) check() error {
	if s.rounds < 1 || s.duration <= 0 || s.operations < 1 || s.perConn < 1 || s.keys < 1 || s.kills < 1 || s.streams < 1 || s.crowd < 1 || s.leases < s.streams || s.bytes < 1 {
		return errors.New("rounds, seconds, operations, clients per connection, keys, kills, streams, bytes and the crowd must be above 0, and leases no fewer than streams")
	}
	for _, kind := range s.kinds {
		if kind != servers.Etcd && kind != servers.Balsa {
			return fmt.Errorf("no server is called %q: there are %s and %s", kind, servers.Etcd, servers.Balsa)
		}
	}
	return nil
}

func list() {
	for _, s := range scenarios {
		fmt.Printf("%-22s %s\n", s.name, s.title)
	}
}

// measure runs everything and prints it.
func (s *settings) measure(ctx context.Context) error {
	for _, kind := range s.kinds {
		if s.binaries[kind] != "" {
			continue
		}
		binary, err := servers.Build(ctx, kind)
		if err != nil {
			return err
		}
		s.binaries[kind] = binary
	}
	var sides []string
	for _, kind := range s.kinds {
		sides = append(sides, string(kind))
	}
	all := report.New(sides, s.duration, order...)
	fmt.Println(all.Machine)
	for _, scenario := range s.scenarios {
		for round := range s.rounds {
			for _, kind := range s.kinds {
				r, err := s.runOnce(ctx, scenario, kind, "")
				if err != nil {
					return fmt.Errorf("%s, round %d, %s: %w", scenario.name, round+1, kind, err)
				}
				all.Add(scenario.name, string(kind), r)
				fmt.Fprintf(os.Stderr, "%s, round %d, %s: %v\n", scenario.name, round+1, kind, r)
			}
		}
		all.Print(os.Stdout, scenario.name, scenario.title)
	}
	if err := all.Write(s.json); err != nil {
		return err
	}
	return s.profile(ctx)
}
