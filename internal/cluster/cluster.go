package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what to start. Binary and Dir are required.
type Options struct {
	Binary string
	// Dir holds each member's data directory and log. Members find what is there, so that a cluster can be started again.
	Dir string
	// Ports are where the members listen on 127.0.0.1; nil for free ones. See FreePorts and Ports.Release.
	Ports []Ports
	// Args are added to each member's command line, Env to its environment.
	Args, Env []string
	// AdvertisePeer returns the address (host:port) under which the others reach a member that listens on address: that
	// of a proxy, say. Nil for address itself.
	AdvertisePeer func(member int, address string) string
	// OnEvent is told what happens, one event at a time. It must not block, nor call the cluster's methods.
	OnEvent func(Event)
}

// Event is something that a member's process did.
type Event struct {
	Kind   EventKind
	Member *Member
	At     time.Time
	Term   uint64 // of Leads
	Exit   string // of Exited: how it ended, such as "signal: killed"
	Said   string // of Exited: the last line of its log
}

// EventKind says what happened.
type EventKind uint8

const (
	// Serves: the member answers clients.
	Serves EventKind = iota
	// Leads: the member became the leader of a term.
	Leads
	// Exited: the process is gone, and its log is complete.
	Exited
)

// Cluster is a running cluster.
type Cluster struct {
	Members []*Member
	options Options
	// lifeline is inherited by each member; it ends when hold is closed, which the system does when this process dies.
	lifeline, hold *os.File
	mu             sync.Mutex // one event at a time
}

// Start starts n members and returns once all of them serve. When it fails none is left running.
func Start(ctx context.Context, n int, options Options) (*Cluster, error) {
	c, err := New(n, options)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range c.Members {
		errs = append(errs, m.start())
	}
	for _, m := range c.Members {
		errs = append(errs, m.serves(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		c.KillAll()
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// New lays a cluster out without starting its members: Restart starts each.
func New(n int, options Options) (*Cluster, error) {
	ports := options.Ports
	if ports == nil {
		var err error
		if ports, err = FreePorts(n); err != nil {
			return nil, err
		}
	}
	if len(ports) != n {
		return nil, fmt.Errorf("cluster of %d members with ports for %d", n, len(ports))
	}
	lifeline, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options, lifeline: lifeline, hold: hold}
	var initial []string
	for i, p := range ports {
		m := &Member{
			cluster: c, Number: i + 1, Name: fmt.Sprintf("m%d", i+1),
			Endpoint: fmt.Sprintf("127.0.0.1:%d", p.Client), Peer: fmt.Sprintf("127.0.0.1:%d", p.Peer), ports: p,
		}
		m.Dir, m.Log = filepath.Join(options.Dir, m.Name), filepath.Join(options.Dir, m.Name+".log")
		m.AdvertisedPeer = m.Peer
		if options.AdvertisePeer != nil {
			m.AdvertisedPeer = options.AdvertisePeer(i, m.Peer)
		}
		initial = append(initial, m.Name+"=http://"+m.AdvertisedPeer)
		c.Members = append(c.Members, m)
	}
	for _, m := range c.Members {
		m.args = append([]string{"serve",
			"--name=" + m.Name, "--data-dir=" + m.Dir,
			"--listen-client-urls=http://" + m.Endpoint, "--advertise-client-urls=http://" + m.Endpoint,
			"--listen-peer-urls=http://" + m.Peer, "--initial-advertise-peer-urls=http://" + m.AdvertisedPeer,
			"--initial-cluster=" + strings.Join(initial, ","),
		}, options.Args...)
	}
	return c, nil
}

// Endpoints returns the members' client addresses.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.Members {
		all = append(all, m.Endpoint)
	}
	return all
}

// Stop ends all members (SIGTERM, and SIGKILL for those that are still there after 10 s) and gives the ports back. Members
// that ended with an error of their own meanwhile are reported.
func (c *Cluster) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	errs := make([]error, len(c.Members))
	var group sync.WaitGroup
	for i, m := range c.Members {
		group.Go(func() { errs[i] = m.Terminate(ctx) })
	}
	group.Wait()
	for _, m := range c.Members {
		m.ports.Release()
	}
	return errors.Join(append(errs, c.hold.Close(), c.lifeline.Close())...)
}

// KillAll kills all members (SIGKILL) and returns once they are gone.
func (c *Cluster) KillAll() {
	for _, m := range c.Members {
		m.signal(syscall.SIGKILL)
	}
	for _, m := range c.Members {
		m.Kill()
	}
}

func (c *Cluster) emit(e Event) {
	if c.options.OnEvent == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.options.OnEvent(e)
}
