package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The tests start this test binary itself, which then plays a server (or, as the parent, a program that dies).
func TestMain(m *testing.M) {
	switch os.Getenv("CLUSTER_TEST_PLAYS") {
	case "server":
		playServer(os.Args)
	case "parent":
		playParent()
	default:
		os.Exit(m.Run())
	}
}

// playServer listens where it was told to, says that it serves, and ends when it is asked or alone.
func playServer(args []string) {
	if slices.Contains(args, "--broken") {
		fmt.Fprintln(os.Stderr, "balsa: this cannot work")
		os.Exit(3)
	}
	for _, arg := range args {
		if address, ok := strings.CutPrefix(arg, "--listen-client-urls=http://"); ok {
			if _, err := net.Listen("tcp", address); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fd, _ := strconv.Atoi(os.Getenv("BALSA_LIFELINE_FD"))
	go func() {
		io.Copy(io.Discard, os.NewFile(uintptr(fd), "lifeline"))
		os.Exit(4)
	}()
	fmt.Fprintln(os.Stderr, `not JSON`)
	fmt.Fprintln(os.Stderr, `{"level":"info","msg":"leadership changed","role":"leader","term":7}`)
	fmt.Fprintln(os.Stderr, `{"level":"info","msg":"leadership changed","role":"follower","term":8}`)
	fmt.Fprintln(os.Stderr, `{"level":"info","msg":"ready to serve client requests"}`)
	<-term
	os.Exit(0)
}

// playParent starts a cluster, tells its test, and waits to be killed.
func playParent() {
	os.Setenv("CLUSTER_TEST_PLAYS", "server")
	c, err := Start(context.Background(), 1, Options{Binary: os.Args[0], Dir: os.Args[1]})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.Members[0].PID())
	select {}
}

func start(t *testing.T, n int, options Options) *Cluster {
	t.Helper()
	t.Setenv("CLUSTER_TEST_PLAYS", "server")
	options.Binary, options.Dir = os.Args[0], t.TempDir()
	c, err := Start(t.Context(), n, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLifeOfAMember(t *testing.T) {
	events := make(chan Event, 100)
	c := start(t, 2, Options{OnEvent: func(e Event) { events <- e }})
	m := c.Members[1]
	next := func(kind EventKind) Event {
		for e := range events {
			if e.Member == m && e.Kind == kind {
				return e
			}
		}
		panic("closed")
	}
	if e := next(Leads); e.Term != 7 {
		t.Errorf("Leads: %+v", e)
	}
	next(Serves)
	first := m.PID()
	if err := m.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("Restart of a running member: %v", err)
	}
	m.Kill()
	if e := next(Exited); e.Exit != "signal: killed" || !strings.Contains(e.Said, "ready to serve") {
		t.Errorf("Exited: %+v", e)
	}
	if m.Running() || !c.Members[0].Running() {
		t.Error("the wrong one runs")
	}
	if err := m.Restart(t.Context()); err != nil || m.PID() == first {
		t.Errorf("Restart: %v", err)
	}
	next(Serves)
	if err := m.Pause(); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil { // also of the paused one
		t.Error(err)
	}
	if e := next(Exited); e.Exit != "exit status 0" {
		t.Errorf("Exited: %+v", e)
	}
	text, _ := os.ReadFile(m.Log)
	if strings.Count(string(text), "ready to serve") != 2 {
		t.Errorf("its log: %s", text)
	}
}

// The reason of a failed start is in the error, and nothing is left running.
func TestFailedStartSaysWhy(t *testing.T) {
	t.Setenv("CLUSTER_TEST_PLAYS", "server")
	_, err := Start(t.Context(), 2, Options{Binary: os.Args[0], Dir: t.TempDir(), Args: []string{"--broken"}})
	if err == nil || !strings.Contains(err.Error(), "m2 ended before it served (exit status 3): balsa: this cannot work") {
		t.Errorf("got %v", err)
	}
}

// A held port is not given to anybody else, also while its member is down; the member itself can have it.
func TestHeldPorts(t *testing.T) {
	ports, err := FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	held := map[int]bool{}
	for _, p := range ports {
		held[p.Client], held[p.Peer] = true, true
	}
	if len(held) != 6 {
		t.Errorf("ports given twice: %v", ports)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Client))
	if err != nil {
		t.Fatalf("a held port: %v", err)
	}
	if _, err := Hold(ports[0].Client, 0); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use by another process", ports[0].Client)) {
		t.Errorf("holding a port that somebody listens on: %v", err)
	}
	listener.Close()
	for _, p := range ports {
		p.Release()
	}
	again, err := Hold(ports[0].Client, ports[0].Peer)
	if err != nil {
		t.Errorf("holding a port that was given back: %v", err)
	}
	again.Release()
}

// When the process that started the members is killed, they end.
func TestMembersEndWithTheirParent(t *testing.T) {
	parent := exec.Command(os.Args[0], t.TempDir())
	parent.Env = append(os.Environ(), "CLUSTER_TEST_PLAYS=parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	parent.Process.Kill()
	parent.Wait()
	awaitGone(t, pid)
}

// awaitGone returns when a process that is not ours is gone.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	pidfd, err := openPidfd(pid)
	if err != nil {
		t.Logf("process %d is gone already: %v", pid, err)
		return
	}
	defer pidfd.Close()
	if err := pidfd.await(); err != nil {
		t.Errorf("process %d: %v", pid, err)
	}
}
