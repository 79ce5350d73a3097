package balsa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trio is three hosts on goroutines and the real clock.
type trio struct {
	t       testing.TB
	hosts   [3]*Host
	groups  [3]*Group
	journal [3]*journal
	// start opens host i with its group, on whatever it left behind.
	start func(i int)
}

// newTrio starts three hosts that open makes, with journals where machine is nil.
func newTrio(t testing.TB, machine func(i int) StateMachine, open func(i int) (*Host, error)) *trio {
	c := &trio{t: t}
	c.start = func(i int) {
		t.Helper()
		host, err := open(i)
		if err != nil {
			t.Fatal(err)
		}
		c.hosts[i] = host
		config := GroupConfig{ID: 1, Members: []raft.Member{{ID: 1, Life: 1}, {ID: 2, Life: 1}, {ID: 3, Life: 1}}}
		if machine != nil {
			config.StateMachine = machine(i)
		} else {
			c.journal[i] = &journal{}
			config.StateMachine = c.journal[i]
		}
		c.groups[i], err = host.StartGroup(config)
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		c.start(i)
	}
	t.Cleanup(func() {
		for _, h := range c.hosts {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

func newMemoryTrio(t testing.TB) (*trio, *transport.Memory) {
	network := transport.NewMemory(transport.Limits{})
	var disks [3]*vfs.Mem
	return newTrio(t, nil, func(i int) (*Host, error) {
		if disks[i] == nil {
			disks[i] = vfs.NewMem()
		} else {
			disks[i] = disks[i].PowerCut(nil)
		}
		return OpenHost(HostConfig{Member: MemberID(i + 1), FS: disks[i], Transport: network.Join(MemberID(i + 1)), SegmentSize: 1 << 20})
	}), network
}

func newTCPTrio(t testing.TB, machine func(i int) StateMachine) *trio {
	var dirs [3]string
	var listeners [3]net.Listener
	members := map[MemberID]string{}
	for i := range 3 {
		dirs[i] = t.TempDir()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = listener
		members[MemberID(i+1)] = listener.Addr().String()
	}
	return newTrio(t, machine, func(i int) (*Host, error) {
		listener := listeners[i]
		listeners[i] = nil // a restart listens by itself
		return Open(Options{Dir: dirs[i], Member: MemberID(i + 1), Members: members, Listener: listener})
	})
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // against a hang only
	t.Cleanup(cancel)
	return ctx
}

// propose proposes until it is known to be applied: while leaders change outcomes may be unknown.
func (c *trio) propose(i int, command string) Result {
	c.t.Helper()
	ctx := within(c.t)
	for {
		result, err := c.groups[i].Propose(ctx, []byte(command))
		if err == nil {
			return result
		}
		if ctx.Err() != nil {
			c.t.Fatal(err)
		}
	}
}

// leader returns who leads, according to the member that is asked.
func (c *trio) leader(asked int) int {
	c.t.Helper()
	if _, err := c.groups[asked].ReadBarrier(within(c.t)); err != nil {
		c.t.Fatal(err)
	}
	return int(c.groups[asked].Leadership().Leader) - 1
}

// converge waits until all members have applied as much as the first.
func (c *trio) converge() {
	c.t.Helper()
	index := c.propose(0, "last").Index
	for _, g := range c.groups {
		if err := g.WaitApplied(within(c.t), index); err != nil {
			c.t.Fatal(err)
		}
	}
}

func testTrio(t *testing.T, c *trio) {
	ctx := within(t)
	for i := range 30 {
		command := fmt.Sprint("command ", i)
		result := c.propose(i%3, command)
		index, err := c.groups[(i+1)%3].ReadBarrier(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if index < result.Index {
			t.Fatalf("a barrier after the answer of index %d gave %d", result.Index, index)
		}
		if !slices.Contains(c.journal[(i+1)%3].all(), command) {
			t.Fatalf("member %d does not have %q after a read barrier", (i+1)%3+1, command)
		}
	}
	// The leader's process ends, and comes back.
	old := c.leader(0)
	if err := c.hosts[old].Close(); err != nil {
		t.Fatal(err)
	}
	c.propose((old+1)%3, "without the old leader")
	c.start(old)
	c.propose(old, "with it again")
	c.converge()
	for i := 1; i < 3; i++ {
		if a, b := c.journal[0].all(), c.journal[i].all(); !slices.Equal(a, b) {
			t.Errorf("member 1 has %q, member %d has %q", a, i+1, b)
		}
	}
}

func TestThreeHostsInMemory(t *testing.T) {
	c, _ := newMemoryTrio(t)
	testTrio(t, c)
}

func TestThreeHostsOverTCPAndRealFiles(t *testing.T) { testTrio(t, newTCPTrio(t, nil)) }

func TestShutdownHandsLeadershipOver(t *testing.T) {
	c, _ := newMemoryTrio(t)
	c.propose(0, "x")
	old := c.leader(0)
	if err := c.hosts[old].Shutdown(within(t)); err != nil {
		t.Fatal(err)
	}
	a, b := c.groups[(old+1)%3].Leadership(), c.groups[(old+2)%3].Leadership()
	if a.Role != raft.Leader && b.Role != raft.Leader {
		t.Errorf("when the old leader had closed nobody else led: %+v, %+v", a, b)
	}
	c.propose((old+1)%3, "y")
}

func TestManyAtOnceOnAllMembers(t *testing.T) {
	c, _ := newMemoryTrio(t)
	var running sync.WaitGroup
	var answered, unknown atomic.Int64
	for worker := range 60 {
		running.Go(func() {
			for i := range 20 {
				if i%4 == 3 {
					if _, err := c.groups[worker%3].ReadBarrier(within(t)); err != nil {
						t.Error(err)
					}
					continue
				}
				_, err := c.groups[worker%3].Propose(within(t), fmt.Appendf(nil, "%d/%d", worker, i))
				switch {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, ErrOutcomeUnknown): // on a busy machine leaders may change
					unknown.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	c.converge()
	for i := range 3 {
		commands := slices.DeleteFunc(c.journal[i].all(), func(command string) bool { return command == "last" })
		if n := int64(len(commands)); n < answered.Load() || n > answered.Load()+unknown.Load() {
			t.Errorf("member %d applied %d commands; %d were answered, %d are unknown", i+1, n, answered.Load(), unknown.Load())
		}
		if n := c.groups[i].Counters().Pending; n != 0 {
			t.Errorf("member %d counts %d pending proposals", i+1, n)
		}
	}
}

func TestCancelledContextDoesNotWithdraw(t *testing.T) {
	network := transport.NewMemory(transport.Limits{})
	host, err := OpenHost(HostConfig{Member: 1, FS: vfs.NewMem(), Transport: network.Join(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	machine := &journal{gate: make(chan struct{})}
	group, err := host.StartGroup(GroupConfig{ID: 1, Members: []raft.Member{{ID: 1}}, StateMachine: machine})
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := group.Propose(cancelled, []byte("x")); !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a context that had ended before gave %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan error)
	go func() {
		_, err := group.Propose(ctx, []byte("gated"))
		answered <- err
	}()
	machine.gate <- struct{}{} // it is appended, and is being applied
	cancel()
	if err := <-answered; !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended while the command was on its way gave %v", err)
	}
	machine.gate <- struct{}{}
	if _, err := group.Propose(within(t), []byte("after")); err != nil {
		t.Fatal(err)
	}
	if got := machine.all(); !slices.Equal(got, []string{"gated", "after"}) {
		t.Errorf("applied %q", got)
	}
}

func TestGroupCloseLeavesTheOthersAlone(t *testing.T) {
	network := transport.NewMemory(transport.Limits{})
	host, err := OpenHost(HostConfig{Member: 1, FS: vfs.NewMem(), Transport: network.Join(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var groups []*Group
	for id := GroupID(1); id <= 3; id++ {
		g, err := host.StartGroup(GroupConfig{ID: id, Members: []raft.Member{{ID: 1}}, StateMachine: &journal{}})
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	for _, g := range groups {
		if _, err := g.Propose(within(t), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := groups[1].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := groups[1].Propose(within(t), []byte("y")); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed group answered %v", err)
	}
	if _, err := groups[1].ReadBarrier(within(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed group answered a read with %v", err)
	}
	if err := groups[1].Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	for _, g := range []*Group{groups[0], groups[2]} {
		if _, err := g.Propose(within(t), []byte("y")); err != nil {
			t.Error(err)
		}
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	network := transport.NewMemory(transport.Limits{})
	if _, err := OpenHost(HostConfig{FS: vfs.NewMem(), Transport: network.Join(1)}); err == nil {
		t.Error("a host without an id was opened")
	}
	disk := vfs.NewMem()
	host, err := OpenHost(HostConfig{Member: 1, Cluster: 7, FS: disk, Transport: network.Join(1)})
	if err != nil {
		t.Fatal(err)
	}
	members := []raft.Member{{ID: 1}}
	for name, config := range map[string]GroupConfig{
		"no id":            {Members: members, StateMachine: &journal{}},
		"no state machine": {ID: 1, Members: members},
		"not a member":     {ID: 1, Members: []raft.Member{{ID: 2}}, StateMachine: &journal{}},
		"slow heartbeats":  {ID: 1, Members: members, StateMachine: &journal{}, ElectionTimeout: time.Second, HeartbeatInterval: time.Second},
	} {
		if _, err := host.StartGroup(config); err == nil {
			t.Errorf("%s: the group was started", name)
		}
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := host.StartGroup(GroupConfig{ID: 1, Members: members, StateMachine: &journal{}}); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed host started a group, or said %v", err)
	}
	if _, err := OpenHost(HostConfig{Member: 2, Cluster: 7, FS: disk, Transport: network.Join(2)}); err == nil {
		t.Error("another member's log was opened")
	}
}

// The runtime is for embedders: it brings none of the server's dependencies.
func TestTheLibraryImportsNoServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, path := range strings.Fields(string(out)) {
		dotted := strings.Contains(strings.Split(path, "/")[0], ".")
		allowed := strings.HasPrefix(path, "github.com/balsadb/balsa") || strings.HasPrefix(path, "golang.org/x/sys/")
		if dotted && !allowed {
			t.Errorf("the library imports %s", path)
		}
		for _, above := range []string{"store", "server", "engine", "cmd", "web"} {
			if path == "github.com/balsadb/balsa/"+above || strings.HasPrefix(path, "github.com/balsadb/balsa/"+above+"/") {
				t.Errorf("the library imports %s, which is a floor above", path)
			}
		}
	}
}
