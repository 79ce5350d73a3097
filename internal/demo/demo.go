package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/cluster"
)

// members is how many there are: the smallest number that goes on without one.
const members = 3

// Options say how the demonstration runs.
type Options struct {
	Binary  string   // the server's
	Command string   // how a person calls it: "balsa", "go run ./cmd/balsa"
	Dir     string   // where the data is kept; empty for a directory that goes with the demonstration
	Ports   PortWish // where the members listen
	Restart bool     // start members again at once when they end
	In      io.Reader
	Out     io.Writer
}

// demo is a running demonstration. Only run's loop touches it.
type demo struct {
	options  Options
	cluster  *cluster.Cluster
	events   chan cluster.Event
	launched map[*cluster.Member]time.Time // when the current process was started
	serving  map[*cluster.Member]bool
	leader   leadership
	former   leadership
	waiting  *death // the leader's, until there is a new one
}

type leadership struct {
	member *cluster.Member
	term   uint64
	since  time.Time
}

type death struct {
	member *cluster.Member
	at     time.Time
}

// Run runs the demonstration until ctx ends or somebody types quit. It returns once all members have ended.
func Run(ctx context.Context, options Options) (err error) {
	d := &demo{options: options, events: make(chan cluster.Event, 1024),
		launched: map[*cluster.Member]time.Time{}, serving: map[*cluster.Member]bool{}}
	dir, discard, err := openDir(options.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard()) }()
	ports, err := choosePorts(dir, options.Ports)
	if err != nil {
		return err
	}
	if err := d.start(ctx, dir, ports); err != nil {
		return err
	}
	d.introduce()
	d.loop(ctx)
	return d.stop()
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.options.Out, format+"\n", args...)
}

func (d *demo) start(ctx context.Context, dir string, ports []cluster.Ports) error {
	began := time.Now()
	fmt.Fprintf(d.options.Out, "Starting %d members in %s ... ", members, dir)
	c, err := cluster.Start(ctx, members, cluster.Options{
		Binary: d.options.Binary, Dir: dir, Ports: ports,
		Args:    []string{"--initial-cluster-token=balsa-demo"},
		OnEvent: func(e cluster.Event) { d.events <- e },
	})
	if err != nil {
		d.say("failed.")
		return fmt.Errorf("the members did not start: %w", err)
	}
	d.cluster = c
	d.say("they serve, %s later.", milliseconds(time.Since(began)))
	for _, m := range c.Members {
		d.serving[m] = true
	}
	d.drain()
	return nil
}

// drain takes in who leads from what has happened so far.
func (d *demo) drain() {
	for {
		select {
		case e := <-d.events:
			if e.Kind == cluster.Leads {
				d.lead(e)
			}
		default:
			return
		}
	}
}

func (d *demo) loop(ctx context.Context) {
	lines := readLines(ctx, d.options.In)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-d.events:
			d.tell(e)
		case line, open := <-lines:
			if !open {
				lines = nil // nobody types: go on
			} else if d.obey(strings.Fields(line)) {
				return
			}
		}
	}
}

// readLines returns a channel of what is typed, closed at its end.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

func (d *demo) stop() error {
	fmt.Fprint(d.options.Out, "Stopping ... ")
	err := d.cluster.Stop()
	if err != nil {
		d.say("not all well:")
		return err
	}
	if d.options.Dir != "" {
		d.say("all members have ended. What they hold is kept in %s.", d.options.Dir)
	} else {
		d.say("all members have ended.")
	}
	return nil
}

// openDir returns the directory to work in, and what to do with it in the end.
func openDir(kept string) (dir string, discard func() error, err error) {
	if kept != "" {
		return kept, func() error { return nil }, os.MkdirAll(kept, 0o700)
	}
	dir, err = os.MkdirTemp("", "balsa-demo-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", max(d, 0).Milliseconds()) }
