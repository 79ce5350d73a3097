package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/balsadb/balsa/internal/cluster"
)

// insideVariable says that this process has a network of its own.
const insideVariable = "BALSA_TEST_INSIDE"

// TestPartitions gives each member a network of its own, with a wire to the others and to the clients, and pulls those out. Unlike
// a proxy that closes connections a wire that is out says nothing: what is sent is lost, and connections look well. What the
// clients were told is judged, and what watchers were told compared.
//
// It runs as root, in namespaces that go with it, and where bridges can be made.
func TestPartitions(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideVariable) == "" {
		inNamespace(t)
		return
	}
	wires := newWires(t)
	s := wires.storm(t)
	ctx, cancel := context.WithTimeout(t.Context(), s.patience())
	defer cancel()
	a := &audience{storm: s, compacted: 1}
	defer a.leave()
	for i := range s.clients {
		a.add(ctx, "of "+s.cluster.Members[i].Name, s.clients[i])
	}
	everywhere := dial(t, s.cluster.Endpoints()...)
	a.add(ctx, "of any member", everywhere)
	s.live(ctx, 6)
	s.judge(ctx)
	end, err := everywhere.Put(ctx, "round-end", "")
	s.must(err)
	told := a.until(ctx, end.Header.Revision)
	s.wantWritten(told)
	s.wantState(ctx, everywhere, told, end.Header.Revision)
}

// inNamespace runs the test that calls it again, in a process with an empty network.
func inNamespace(t *testing.T) {
	for _, program := range []string{"ip", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: %v", err)
		}
	}
	if said, err := exec.CommandContext(t.Context(), "unshare", "--net", "true").CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: no network of one's own is to be had here: %v: %s", err, said)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v",
		fmt.Sprint("-chaos-seed=", *chaosSeed), fmt.Sprint("-chaos-rounds=", *chaosRounds))
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := cmd.CombinedOutput()
	if strings.Contains(string(said), "--- SKIP") {
		t.Skipf("%s", said)
	}
	if t.Logf("%s", said); err != nil {
		t.Error(err)
	}
}

// wires are the networks of three members, and what connects them to each other and to this process's.
type wires struct {
	t       *testing.T
	holders [3]int // a process in each member's network, which keeps it while the member is down
}

// address is a member's. All are in networks that nothing else is connected to.
func address(member int) string { return fmt.Sprintf("10.77.0.%d", member+1) }

func newWires(t *testing.T) *wires {
	w := &wires{t: t}
	if said, err := exec.Command("ip", "link", "add", "hub", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: no bridge can be made here: %v: %s", err, said)
	}
	w.run("ip", "link", "set", "lo", "up")
	w.run("ip", "address", "add", "10.77.0.254/24", "dev", "hub")
	w.run("ip", "link", "set", "hub", "up")
	for i := range w.holders {
		w.holders[i] = w.hold()
		pid, wire := fmt.Sprint(w.holders[i]), wire(i)
		w.run("ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", pid)
		w.run("ip", "link", "set", wire, "master", "hub", "up")
		inside := func(args ...string) { w.run("nsenter", append([]string{"--net", "--target", pid, "ip"}, args...)...) }
		inside("link", "set", "lo", "up")
		inside("address", "add", address(i)+"/24", "dev", "eth0")
		inside("link", "set", "eth0", "up")
	}
	return w
}

func wire(member int) string { return fmt.Sprint("wire", member+1) }

func (w *wires) run(name string, args ...string) {
	w.t.Helper()
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, said)
	}
}

// hold starts a process with a network of its own, which ends with this one.
func (w *wires) hold() int {
	cmd := exec.Command("unshare", "--net", "sh", "-c", "echo there; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		w.t.Fatal(err)
	}
	return cmd.Process.Pid
}

// program writes a script that starts a member in its network, and returns its path.
func (w *wires) program() string {
	script := "#!/bin/sh\ncase \"$*\" in\n"
	var initial []string
	for i, pid := range w.holders {
		script += fmt.Sprintf("*--name=m%d\\ *) pid=%d at=%s ;;\n", i+1, pid, address(i))
		initial = append(initial, fmt.Sprintf("m%d=http://%s:2380", i+1, address(i)))
	}
	script += fmt.Sprintf(`esac
exec nsenter --net --target $pid '%s' "$@" --initial-cluster=%s \
	--listen-client-urls=http://$at:2379 --advertise-client-urls=http://$at:2379 \
	--listen-peer-urls=http://$at:2380 --initial-advertise-peer-urls=http://$at:2380
`, os.Args[0], strings.Join(initial, ","))
	path := filepath.Join(w.t.TempDir(), "member")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *wires) storm(t *testing.T) *storm {
	s := newStormOf(t, w.faults())
	c, err := cluster.Start(t.Context(), 3, cluster.Options{
		Binary: w.program(), Dir: filepath.Join(t.TempDir(), "cluster"), Env: []string{playVariable + "=1"},
		Args: []string{"--heartbeat-interval=20", "--election-timeout=200", "--testing-log-segment-bytes=16384"},
	})
	s.must(err)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.cluster = c
	for i, m := range c.Members {
		m.Endpoint = address(i) + ":2379"
		s.clients = append(s.clients, dial(t, m.Endpoint))
	}
	return s
}

func (w *wires) pull(members ...int) {
	for _, m := range members {
		w.run("ip", "link", "set", wire(m), "down")
	}
}

func (w *wires) plug(members ...int) {
	for _, m := range members {
		w.run("ip", "link", "set", wire(m), "up")
	}
}

func (w *wires) faults() []fault {
	pulled := func(members ...int) (func(context.Context) error, error) {
		w.pull(members...)
		return func(context.Context) error { w.plug(members...); return nil }, nil
	}
	return []fault{
		{"a member's wire out", 60, func(_ context.Context, s *storm) (func(context.Context) error, error) {
			return pulled(s.random.IntN(3))
		}},
		{"the leader's wire out", 60, func(ctx context.Context, s *storm) (func(context.Context) error, error) {
			m, err := leading(ctx, s.cluster, s.clients)
			if err != nil {
				return nil, err
			}
			return pulled(m.Number - 1)
		}},
		{"all wires out", 10, func(context.Context, *storm) (func(context.Context) error, error) { return pulled(0, 1, 2) }},
		{"a member's wire out until the others' logs begin behind its own", 400, func(_ context.Context, s *storm) (func(context.Context) error, error) {
			return pulled(s.random.IntN(3))
		}},
		{"a loose contact", 20, func(ctx context.Context, s *storm) (func(context.Context) error, error) {
			m := s.random.IntN(3)
			for range 5 {
				w.pull(m)
				if err := s.tried.more(ctx, 5); err != nil {
					return nil, err
				}
				w.plug(m)
			}
			return nothing, nil
		}},
	}
}
