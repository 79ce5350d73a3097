package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/cluster"
)

// The demonstration's servers are this test binary, which then plays one.
func TestMain(m *testing.M) {
	if os.Getenv("DEMO_TEST_PLAYS") == "server" {
		playServer()
	}
	os.Exit(m.Run())
}

// playServer says that it serves; m1 leads term 2, and whoever gets SIGUSR1 leads term 3.
func playServer() {
	go func() {
		fd, _ := strconv.Atoi(os.Getenv("BALSA_LIFELINE_FD"))
		io.Copy(io.Discard, os.NewFile(uintptr(fd), "lifeline"))
		os.Exit(4) // the demonstration is gone
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	if slices.Contains(os.Args, "--name=m1") {
		fmt.Println(`{"msg":"leadership changed","role":"leader","term":2}`)
	}
	fmt.Println(`{"msg":"ready to serve client requests"}`)
	for s := range signals {
		if s == syscall.SIGTERM {
			os.Exit(0)
		}
		fmt.Println(`{"msg":"leadership changed","role":"leader","term":3}`)
	}
}

// terminal is somebody in front of a running demonstration.
type terminal struct {
	t     *testing.T
	keys  *io.PipeWriter
	lines *bufio.Reader
	stop  context.CancelFunc
	ended chan error
	seen  []string
}

func startDemo(t *testing.T, o Options) *terminal {
	t.Helper()
	t.Setenv("DEMO_TEST_PLAYS", "server")
	in, keys := io.Pipe()
	screen, out := io.Pipe()
	o.Binary, o.Command, o.In, o.Out = os.Args[0], "balsa", in, out
	if o.Ports == (PortWish{}) {
		o.Ports = PortWish{Client: 2379, Peer: 2380}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute) // it then says no more, and what is expected did not come
	term := &terminal{t: t, keys: keys, lines: bufio.NewReader(screen), stop: stop, ended: make(chan error, 1)}
	go func() {
		err := Run(ctx, o)
		out.Close()
		term.ended <- err
	}()
	t.Cleanup(func() { stop(); keys.Close(); screen.Close() })
	return term
}

func (s *terminal) expect(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		line, err := s.lines.ReadString('\n')
		s.seen = append(s.seen, line)
		if found := re.FindStringSubmatch(line); found != nil {
			return found
		}
		if err != nil {
			s.t.Fatalf("no line matches %s in\n%s", pattern, strings.Join(s.seen, ""))
		}
	}
}

func (s *terminal) signal(pid string, sig syscall.Signal) {
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.Kill(n, sig)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *terminal) typed(line string) { fmt.Fprintln(s.keys, line) }

const row = `^  %d +%s +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +(\d+|-)\n$`

func TestTellsOfAMembersEnd(t *testing.T) {
	s := startDemo(t, Options{})
	s.expect(`^Starting 3 members in .* \.\.\. they serve, \d+ ms later\.`)
	leader := s.expect(fmt.Sprintf(row, 1, `leader \(2\)`))[1]
	second := s.expect(fmt.Sprintf(row, 2, `follower`))[1]
	third := s.expect(fmt.Sprintf(row, 3, `follower`))[1]
	s.expect(`^  export ETCDCTL_ENDPOINTS=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+\n`)
	s.expect(`^  ETCDCTL_ENDPOINTS=\S+ balsa ctl put hello world && ETCDCTL_ENDPOINTS=\S+ balsa ctl get hello\n`)
	s.expect(`^  kill -9 ` + leader + ` && ETCDCTL_ENDPOINTS=\S+,\S+ balsa ctl put hello again\n`)
	s.expect(`^  ETCDCTL_ENDPOINTS=\S+,\S+,\S+ balsa status\n`)

	s.signal(third, syscall.SIGKILL)
	s.expect(`^Member 3 is gone \(signal: killed\)\. It was a follower; member 1 goes on leading in term 2\.`)
	s.typed("restart 3")
	s.expect(`^Member 3 starts, as process \d+\.`)
	s.expect(`^Member 3 serves again, \d+ ms after its start\.`)

	s.signal(leader, syscall.SIGKILL)
	s.expect(`^Member 1 is gone \(signal: killed\)\. It was the leader of term 2\.`)
	s.expect(`^Type  restart 1  to start it again\.`)
	s.signal(second, syscall.SIGUSR1)
	s.expect(`^Member 2 leads in term 3, \d+ ms after member 1 was gone\.`)
	s.typed("kill 3")
	s.expect(`^Member 3 is gone .* 1 of 3 are left, which is no majority`)

	s.typed("status")
	s.expect(fmt.Sprintf(row, 1, `gone`))
	s.typed("dance")
	s.expect(`^That is not a command here\.`)
	s.typed("restart 4")
	s.expect(`^Members are numbered 1 to 3; "4" is none of them\.`)
	s.typed("restart 2")
	s.expect(`^Member 2 runs, as process \d+: kill it first`)
	s.typed("quit")
	s.expect(`^Stopping \.\.\. all members have ended\.`)
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

func TestRestartsAtOnceWhenAsked(t *testing.T) {
	s := startDemo(t, Options{Restart: true})
	s.expect(`MEMBER`)
	s.signal(s.expect(fmt.Sprintf(row, 2, `follower`))[1], syscall.SIGKILL)
	s.expect(`^Member 2 is gone`)
	s.expect(`^Member 2 starts, as process`)
	s.expect(`^Member 2 serves again`)
	s.keys.Close() // nobody types any more: it goes on
	s.stop()
	s.expect(`all members have ended`)
}

// A kept directory remembers its ports, since the members' identities follow from them.
func TestKeptDirectoryKeepsItsPorts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	run := func(wish PortWish) []string {
		s := startDemo(t, Options{Dir: dir, Ports: wish})
		line := s.expect(`export ETCDCTL_ENDPOINTS=(.*)`)
		s.stop()
		s.expect(`What they hold is kept in ` + regexp.QuoteMeta(dir))
		return line
	}
	first := run(PortWish{2379, 2380, false})
	if again := run(PortWish{2379, 2380, false}); again[1] != first[1] {
		t.Errorf("endpoints %s, then %s", first[1], again[1])
	}
	if _, err := choosePorts(dir, PortWish{30000, 30001, true}); err == nil || !strings.Contains(err.Error(), "leave --client-port and --peer-port out") {
		t.Errorf("other ports: %v", err)
	}
	kept, err := readPorts(dir)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", kept[1].Peer))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := choosePorts(dir, PortWish{2379, 2380, false}); err == nil || !strings.Contains(err.Error(), "is in use by another process: end that process, or use another --dir") {
		t.Errorf("a port of its own is taken: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, portsFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := choosePorts(dir, PortWish{}); err == nil || !strings.Contains(err.Error(), "does not say where 3 members listen") {
		t.Errorf("a damaged file: %v", err)
	}
}

// Ports that were not asked for give way to free ones; ports that were asked for are refused where they are taken.
func TestPortsThatAreTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	free, err := cluster.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	defer free[0].Release()
	if _, err := choosePorts(t.TempDir(), PortWish{port, free[0].Peer, true}); err == nil ||
		!strings.Contains(err.Error(), fmt.Sprintf("member 1: port %d is in use by another process", port)) {
		t.Errorf("asked for: %v", err)
	}
	ports, err := choosePorts(t.TempDir(), PortWish{port, free[0].Peer, false})
	if err != nil || ports[0].Client == port || ports[0].Client == 0 {
		t.Errorf("not asked for: %v, %v", ports, err)
	}
	for _, p := range ports {
		p.Release()
	}
}
