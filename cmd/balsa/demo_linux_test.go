package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// shown is what the demo's table shows of a member.
type shown struct {
	number, endpoint string
	pid              int
	leads            bool
}

func readTable(t *testing.T, p *process) (members []shown, leader shown) {
	t.Helper()
	p.expect(`^  MEMBER +ROLE +CLIENTS +PEERS +PID$`)
	for range 3 {
		row := p.expect(`^  (\d) +(leader|follower).* +(127\.0\.0\.1:\d+) +127\.0\.0\.1:\d+ +(\d+)$`)
		pid, _ := strconv.Atoi(row[4])
		m := shown{row[1], row[3], pid, row[2] == "leader"}
		members = append(members, m)
		if m.leads {
			leader = m
		}
	}
	if leader.pid == 0 {
		t.Fatal("nobody leads")
	}
	return members, leader
}

// The demonstration as a newcomer has it: the table, the lines to copy (which work though ETCDCTL_ENDPOINTS is exported), the
// leader killed and started again, and a second demonstration on the kept directory.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, program(t, "balsa", "demo", "--dir", dir))
	p.expect(`^Starting 3 members in .*they serve, \d+ ms later\.$`)
	_, leader := readTable(t, p)
	exported := p.expect(`^  export ETCDCTL_ENDPOINTS=(127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+)$`)[1]
	var lines []string
	for range 3 {
		lines = append(lines, p.expect(`^  (\S.*/\S* (?:ctl|status).*)$`)[1])
	}
	if o := shell(t, t.Context(), lines[0]); o.code != 0 || o.stdout != "OK\nhello\nworld\n" {
		t.Errorf("%s: %+v", lines[0], o)
	}
	if o := shell(t, t.Context(), lines[1]); o.code != 0 || o.stdout != "OK\n" {
		t.Errorf("%s: %+v", lines[1], o)
	}
	p.expect(`^Member ` + leader.number + ` is gone \(signal: killed\)\.`)
	if !strings.Contains(p.seen.String(), " leads in term") { // the new leader may be told of in the same line, or in one of its own
		p.expect(`^Member \d leads in term \d+, \d+ ms after member ` + leader.number + ` was gone\.$`)
	}
	fmt.Fprintln(p.keys, "restart "+leader.number)
	p.expect(`^Member ` + leader.number + ` serves again, \d+ ms after its start\.$`)
	if o := shell(t, t.Context(), lines[2]); o.code != 0 || strings.Count(o.stdout, "\n") != 4 {
		t.Errorf("%s: %+v", lines[2], o)
	}
	for _, endpoint := range strings.Split(exported, ",") {
		if got := ctlOK(t, endpoint, "get", "hello", "--print-value-only"); got != "again\n" {
			t.Errorf("at %s: %q", endpoint, got)
		}
		ctlOK(t, endpoint, "endpoint", "health")
	}
	p.keys.Close() // no more commands: it goes on
	p.terminate()

	p = startProcess(t, program(t, "balsa", "demo", "--dir", dir))
	if again := p.expect(`^  export ETCDCTL_ENDPOINTS=(.*)$`)[1]; again != exported {
		t.Errorf("endpoints %s, and at the second start %s", exported, again)
	}
	if got := ctlOK(t, exported, "get", "hello", "--print-value-only"); got != "again\n" {
		t.Errorf("at the second start: %q", got)
	}
	p.terminate()
}

// kill -9 of the demonstration takes its members along.
func TestMembersEndWithTheDemo(t *testing.T) {
	t.Parallel()
	p := startProcess(t, program(t, "balsa", "demo"))
	members, _ := readTable(t, p)
	p.expect(`^Try in another terminal`)
	dir := regexp.MustCompile(`members in (\S+) `).FindStringSubmatch(p.seen.String())[1]
	t.Cleanup(func() { removeAll(t, dir) })
	var watched []unix.PollFd
	for _, m := range members {
		fd, err := unix.PidfdOpen(m.pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		watched = append(watched, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	p.signal(syscall.SIGKILL)
	for i := range watched {
		if err := awaitEnd(watched[i : i+1]); err != nil {
			t.Errorf("member %d: %v", i+1, err)
		}
	}
}

// awaitEnd returns when the process behind a pidfd has ended.
func awaitEnd(fd []unix.PollFd) error {
	for {
		n, err := unix.Poll(fd, 60_000)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = fmt.Errorf("it is still there after a minute")
		}
		return err
	}
}

func removeAll(t *testing.T, dir string) {
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
