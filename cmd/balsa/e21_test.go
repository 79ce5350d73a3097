package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// endsLost waits for the end of a member that the others have disowned. It says so in a sentence, with what to do.
func (c *crew) endsLost(m *crewMember, text string) {
	c.t.Helper()
	var exit *exec.ExitError
	if err := m.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitLost {
		c.t.Errorf("%s ended with %v, want exit code %d", m.name, err, exitLost)
	}
	m.gone = true
	log, err := os.ReadFile(m.log)
	if last := tail(strings.TrimSpace(string(log)), 1000); err != nil || !strings.Contains(last, text) || !strings.Contains(last, "balsa rejoin") {
		c.t.Errorf("%s does not say why it ended, and what to do: %s, %v", m.name, last, err)
	}
}

// knows returns how far a member has noted that another one is.
func (c *crew) knows(m, other *crewMember) transport.Progress {
	c.t.Helper()
	register, warning, err := datadir.OpenPeers(vfs.NewOS(filepath.Join(c.dir, m.name)), time.Now)
	id, wrong := strconv.ParseUint(other.id, 16, 64)
	if err := errors.Join(warning, err, wrong); err != nil {
		c.t.Fatal(err)
	}
	noted, _ := register.Recall(raft.MemberID(id))
	return noted.Progress
}

// rejoin runs the command with the member's own flags, and starts it again.
func (c *crew) rejoin(m *crewMember) string {
	c.t.Helper()
	o := runToEnd(c.t, program(c.t, "balsa", "rejoin", "--name="+m.name, "--data-dir="+filepath.Join(c.dir, m.name), "--listen-peer-urls="+m.peer,
		"--initial-advertise-peer-urls="+m.peer, "--initial-cluster="+strings.Join(c.initial, ",")))
	if o.code != 0 {
		c.t.Fatalf("rejoin of %s: %+v", m.name, o)
	}
	m.id = regexp.MustCompile(`as member ([0-9a-f]+)`).FindStringSubmatch(o.stdout)[1]
	c.launch(m, "new")
	c.until(m.name+" votes again", func(listed string) bool {
		return regexp.MustCompile(m.id+`, started, `+m.name+`, .*, false`).MatchString(listed) && strings.Count(listed, "started") == 3 &&
			strings.Count(listed, "\n") == 3
	})
	return o.stdout
}

// three starts three members.
func threeMembers(t *testing.T) *crew {
	c := newCrew(t, 3)
	for _, m := range c.members {
		c.initial = append(c.initial, m.name+"="+m.peer)
	}
	for _, m := range c.members {
		c.launch(m, "new")
	}
	c.until("three serve", func(listed string) bool { return strings.Count(listed, "started") == 3 })
	return c
}

// A member whose directory was emptied, or is an older copy, is started with the flags that it always had. The others know better, though they
// were restarted, too: it is refused, says so and ends, and nothing that was acknowledged is lost. One command brings it back, under its name.
func TestE21WipedAndStaleMembersAreToldToRejoin(t *testing.T) {
	t.Parallel()
	c := threeMembers(t)
	first, second, third := c.members[0], c.members[1], c.members[2]
	ctlOK(t, c.endpoints(), "put", "kept", "value")
	dir := func(m *crewMember) string { return filepath.Join(c.dir, m.name) }

	// Wiped, and started as at the very first time. The others have been restarted: they remember from their disks.
	third.kill()
	ctlOK(t, c.endpoints(), "put", "later", "value")
	if err := os.RemoveAll(dir(third)); err != nil {
		t.Fatal(err)
	}
	second.kill()
	c.launch(third, "new")
	c.endsLost(third, "was wiped or swapped")
	c.launch(second, "new")
	c.until("the other two go on", func(string) bool { return true })
	if err := os.RemoveAll(dir(third)); err != nil {
		t.Fatal(err)
	}
	c.launch(third, "existing") // which asks who it is, and is told that it had a directory
	third.cmd.Wait()
	third.gone = true
	if log, _ := os.ReadFile(third.log); !strings.Contains(tail(string(log), 2000), "balsa rejoin") {
		t.Errorf("a wiped member that is started as a new one is not told what to do: %s", tail(string(log), 2000))
	}
	c.rejoin(third)

	// An older copy of its disk.
	third.kill()
	if err := os.CopyFS(filepath.Join(c.dir, "copy"), os.DirFS(dir(third))); err != nil {
		t.Fatal(err)
	}
	c.launch(third, "new")
	c.until("all three serve again", func(listed string) bool { return strings.Count(listed, "started") == 3 })
	first0, second0 := c.knows(first, third), c.knows(second, third)
	for range 3 {
		ctlOK(t, third.endpoint, "put", "since", "the copy")
	}
	// How far it is it tells with its pings: what was written after the last one nobody would miss.
	c.until("the others know how far it is", func(string) bool { return c.knows(first, third) > first0 && c.knows(second, third) > second0 })
	third.kill()
	if err := os.RemoveAll(dir(third)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(c.dir, "copy"), dir(third)); err != nil {
		t.Fatal(err)
	}
	c.launch(third, "new")
	c.endsLost(third, "its disk is an older copy")
	if said := c.rejoin(third); !strings.Contains(said, "is now in "+dir(third)+".aside-") {
		t.Errorf("the former directory was not moved aside: %s", said)
	}
	if got := ctlOK(t, first.endpoint, "get", "--prefix", ""); !strings.Contains(got, "kept") || !strings.Contains(got, "later") || !strings.Contains(got, "since") {
		t.Errorf("an acknowledged write is lost: %s", got)
	}
}

// A copy of a running member's directory is started elsewhere. The one that runs stays, the copy is told so and ends.
func TestE21TheSameDirectoryTwice(t *testing.T) {
	t.Parallel()
	c := threeMembers(t)
	third := c.members[2]
	third.kill()
	if err := os.CopyFS(filepath.Join(c.dir, "copy"), os.DirFS(filepath.Join(c.dir, third.name))); err != nil {
		t.Fatal(err)
	}
	client, peer := freePorts(t)
	c.launch(third, "new")
	c.until("all three serve again", func(listed string) bool { return strings.Count(listed, "started") == 3 })
	url := "http://127.0.0.1:" + fmt.Sprint(client)
	o := runToEnd(t, program(t, "balsa", "serve", "--name="+third.name, "--data-dir="+filepath.Join(c.dir, "copy"), "--listen-client-urls="+url,
		"--advertise-client-urls="+url, "--listen-peer-urls=http://127.0.0.1:"+fmt.Sprint(peer), "--heartbeat-interval=50", "--election-timeout=500"))
	if o.code != exitLost || !strings.Contains(o.stderr, "another process is connected as") && !strings.Contains(o.stderr, "older copy") {
		t.Errorf("a copy that is started beside the original: %d, %s", o.code, tail(o.stderr, 2000))
	}
	ctlOK(t, third.endpoint, "put", "still", "there")
}
