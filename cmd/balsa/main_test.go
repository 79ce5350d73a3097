package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/cluster"
)

// The tests run real processes: this test binary itself, which behaves as balsa where its environment says so.
const playVariable = "BALSA_TEST_PLAYS_BALSA"

func TestMain(m *testing.M) {
	if os.Getenv(playVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program returns a command that runs this program under a name, with arguments.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // so that one that hangs ends
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), playVariable+"=1")
	cmd.Dir = t.TempDir()
	return cmd
}

// output is what a process that has ended leaves behind.
type output struct {
	code           int
	stdout, stderr string
}

func runToEnd(t *testing.T, cmd *exec.Cmd) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return output{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ctlOK runs etcdctl against endpoints, wants exit code 0, and returns what it prints.
func ctlOK(t *testing.T, endpoints string, args ...string) string {
	t.Helper()
	cmd := program(t, "balsa", append([]string{"ctl"}, args...)...)
	cmd.Env = append(cmd.Env, "ETCDCTL_ENDPOINTS="+endpoints, "ETCDCTL_COMMAND_TIMEOUT=60s") // etcdctl's 5 s are short on a busy machine
	o := runToEnd(t, cmd)
	if o.code != 0 {
		t.Fatalf("etcdctl %v at %s: exit code %d\n%s%s", args, endpoints, o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// startCluster starts members with short timeouts, stopped at the test's end.
func startCluster(t *testing.T, n int, options cluster.Options) *cluster.Cluster {
	t.Helper()
	options.Binary, options.Dir = os.Args[0], filepath.Join(t.TempDir(), "cluster")
	options.Env = append(options.Env, playVariable+"=1")
	options.Args = append([]string{"--heartbeat-interval=20", "--election-timeout=200"}, options.Args...)
	c, err := cluster.Start(t.Context(), n, options)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, c)
	return c
}

// stopAtEnd stops the members at the test's end, and shows what they wrote where the test failed.
func stopAtEnd(t *testing.T, c *cluster.Cluster) {
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		for _, m := range c.Members {
			if log, err := os.ReadFile(m.Log); err == nil && t.Failed() {
				t.Logf("%s, the end of its log:\n%s", m.Name, log[max(0, len(log)-8<<10):])
			}
		}
	})
}

// process is a running balsa whose lines are read as they come.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader
	seen  strings.Builder
	keys  *os.File
}

func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	screen, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, keys, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	p := &process{t: t, cmd: cmd, lines: bufio.NewReader(screen), keys: keys}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		screen.Close()
		keys.Close()
	})
	return p
}

// expect reads lines until one matches, and returns its groups.
func (p *process) expect(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		line, err := p.lines.ReadString('\n')
		p.seen.WriteString(line)
		if found := re.FindStringSubmatch(strings.TrimSuffix(line, "\n")); found != nil {
			return found
		}
		if err != nil {
			p.t.Fatalf("no line matches %s in\n%s", pattern, p.seen.String())
		}
	}
}

// end waits for the process's end and returns its exit code and all that it said.
func (p *process) end() (int, string) {
	p.t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		p.seen.WriteString(line)
		if err != nil {
			break
		}
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.seen.String()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// freePorts returns two ports that nobody else is given while the test runs.
func freePorts(t *testing.T) (client, peer int) {
	t.Helper()
	ports, err := cluster.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ports[0].Release)
	return ports[0].Client, ports[0].Peer
}

// alone returns the flags of a member that is a cluster by itself.
func alone(t *testing.T, dir string) (flags []string, endpoint string) {
	client, peer := freePorts(t)
	endpoint = fmt.Sprintf("127.0.0.1:%d", client)
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", peer)
	return []string{"--name=m1", "--data-dir=" + dir, "--heartbeat-interval=20", "--election-timeout=200",
		"--listen-client-urls=http://" + endpoint, "--advertise-client-urls=http://" + endpoint,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL, "--initial-cluster=m1=" + peerURL}, endpoint
}

// serving starts a member and returns once it serves.
func serving(t *testing.T, flags ...string) *process {
	t.Helper()
	p := startProcess(t, program(t, "balsa", append([]string{"serve"}, flags...)...))
	p.expect("ready to serve client requests")
	return p
}

// terminate ends a process as a service manager would, and wants it to end well.
func (p *process) terminate() string {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	code, said := p.end()
	if code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM:\n%s", code, said)
	}
	return said
}

// tree reads a directory: every file with its size, its time of change and a checksum of its contents, for comparing.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var sum uint32
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
		}
		found[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime().Format(time.RFC3339Nano), sum)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return found
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// logLevels returns the levels of a log's lines, and fails where a line is no JSON object of etcd's shape.
func logLevels(t *testing.T, log string) (levels []string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var l struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Level == "" || l.TS == "" || l.Caller == "" || l.Msg == "" {
			t.Errorf("a log line that pipelines do not understand (%v): %s", err, line)
		}
		if !slices.Contains(levels, l.Level) {
			levels = append(levels, l.Level)
		}
	}
	return levels
}

func shell(t *testing.T, ctx context.Context, line string) output {
	t.Helper()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = append(os.Environ(), playVariable+"=1", "ETCDCTL_ENDPOINTS=127.0.0.1:1") // as exported before, and wrong
	return runToEnd(t, cmd)
}
