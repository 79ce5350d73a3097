package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// crew are real processes that become members of one cluster and are removed again.
type crew struct {
	t       *testing.T
	dir     string
	initial []string // NAME=URL of all that were added
	members []*crewMember
}

type crewMember struct {
	name, endpoint, peer, log string
	cmd                       *exec.Cmd
	id                        string // hexadecimal, once it is listed
	gone                      bool
}

func newCrew(t *testing.T, n int) *crew {
	c := &crew{t: t, dir: t.TempDir()}
	for i := range n {
		client, peer := freePorts(t)
		c.members = append(c.members, &crewMember{
			name: fmt.Sprint("m", i+1), endpoint: fmt.Sprint("127.0.0.1:", client), peer: fmt.Sprint("http://127.0.0.1:", peer),
			log: filepath.Join(c.dir, fmt.Sprint("m", i+1, ".log")),
		})
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			if m.cmd != nil && !m.gone {
				m.cmd.Process.Kill()
				m.cmd.Wait()
			}
			if log, err := os.ReadFile(m.log); err == nil && t.Failed() {
				t.Logf("%s:\n%s", m.name, tail(string(log), 4000))
			}
		}
	})
	return c
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// launch starts a member's process, and leaves it.
func (c *crew) launch(m *crewMember, state string) {
	c.t.Helper()
	if text := m.name + "=" + m.peer; !strings.Contains(strings.Join(c.initial, ","), text) {
		c.initial = append(c.initial, text)
	}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	url := "http://" + m.endpoint
	m.cmd = program(c.t, "balsa", "serve", "--name="+m.name, "--data-dir="+filepath.Join(c.dir, m.name), "--listen-client-urls="+url,
		"--advertise-client-urls="+url, "--listen-peer-urls="+m.peer, "--initial-advertise-peer-urls="+m.peer,
		"--initial-cluster="+strings.Join(c.initial, ","), "--initial-cluster-state="+state, "--heartbeat-interval=50",
		"--election-timeout=500", "--testing-log-segment-bytes=16384")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	m.gone = false
}

// endpoints are those of the members that are there.
func (c *crew) endpoints() string {
	var list []string
	for _, m := range c.members {
		if m.cmd != nil && !m.gone {
			list = append(list, m.endpoint)
		}
	}
	return strings.Join(list, ",")
}

// until looks at the members again and again, until done is content.
func (c *crew) until(what string, done func(listed string) bool) {
	c.t.Helper()
	listed := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); { // each look starts a process, and so takes its time
		cmd := program(c.t, "balsa", "ctl", "--endpoints="+c.endpoints(), "member", "list")
		o := runToEnd(c.t, cmd)
		if listed = o.stdout; o.code == 0 && done(listed) {
			return
		}
	}
	c.t.Fatalf("not within a minute: %s\n%s", what, listed)
}

// add adds a member with etcdctl, starts it, and waits until it votes.
func (c *crew) add(m *crewMember) {
	c.t.Helper()
	said := ctlOK(c.t, c.endpoints(), "member", "add", m.name, "--peer-urls="+m.peer)
	m.id = regexp.MustCompile(`Member +([0-9a-f]+) added`).FindStringSubmatch(said)[1]
	c.launch(m, "existing")
	c.until(m.name+" votes", func(listed string) bool {
		return regexp.MustCompile(m.id + `, started, ` + m.name + `, .*, false`).MatchString(listed)
	})
}

// remove removes a member with etcdctl. Its process says so and ends by itself.
func (c *crew) remove(m *crewMember) {
	c.t.Helper()
	ctlOK(c.t, c.endpoints(), "member", "remove", m.id)
	c.ends(m)
}

// ends waits for the end of a removed member.
func (c *crew) ends(m *crewMember) {
	c.t.Helper()
	var exit *exec.ExitError
	if err := m.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitRemoved {
		c.t.Errorf("%s ended with %v, want exit code %d", m.name, err, exitRemoved)
	}
	m.gone = true
	if log, err := os.ReadFile(m.log); err != nil || !strings.Contains(tail(string(log), 1000), "this member was removed from its cluster, and stops") {
		c.t.Errorf("%s does not say why it ended: %s, %v", m.name, tail(string(log), 1000), err)
	}
}

// leader returns the member that leads.
func (c *crew) leader() *crewMember {
	c.t.Helper()
	var leader *crewMember
	c.until("there is a leader", func(string) bool {
		for _, m := range c.members {
			if m.cmd == nil || m.gone {
				continue
			}
			o := runToEnd(c.t, program(c.t, "balsa", "ctl", "--endpoints="+m.endpoint, "endpoint", "status"))
			if fields := strings.Split(o.stdout, ", "); len(fields) > 6 && strings.Contains(o.stdout, ", true, false, ") {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// writers write keys of their own, and remember what was acknowledged.
type writers struct {
	running sync.WaitGroup
	stop    context.CancelFunc
	done    gauge // writes that were acknowledged
	mu      sync.Mutex
	acked   map[string]string
	failed  int
}

func (c *crew) write(n int) *writers {
	ctx, stop := context.WithCancel(c.t.Context())
	w := &writers{stop: stop, acked: map[string]string{}}
	var endpoints []string
	for _, m := range c.members {
		endpoints = append(endpoints, m.endpoint)
	}
	for i := range n {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second})
		if err != nil {
			c.t.Fatal(err)
		}
		w.running.Go(func() {
			defer client.Close()
			for k := 0; ctx.Err() == nil; k++ {
				key, value := fmt.Sprintf("writer%d-%06d", i, k), fmt.Sprint("value ", k, strings.Repeat(".", 200))
				one, cancel := context.WithTimeout(ctx, 10*time.Second)
				_, err := client.Put(one, key, value)
				cancel()
				w.mu.Lock()
				if err == nil {
					w.acked[key] = value
					w.done.add()
				} else if ctx.Err() == nil {
					w.failed++
				}
				w.mu.Unlock()
			}
		})
	}
	return w
}

// progress waits until more writes are acknowledged.
func (c *crew) progress(w *writers) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if err := w.done.more(ctx, 20); err != nil {
		c.t.Fatal("no more writes are acknowledged: ", err)
	}
}

// TestMembersComeAndGo takes a cluster from one member to three, to five, and back to one, under load: followers and leaders are removed, those who
// join get the state as a snapshot. Each write that was acknowledged is there in the end.
func TestMembersComeAndGo(t *testing.T) {
	c := newCrew(t, 5)
	first := c.members[0]
	c.launch(first, "new")
	c.until("the first one serves", func(listed string) bool {
		first.id, _, _ = strings.Cut(listed, ",")
		return strings.Contains(listed, "started")
	})
	for url, want := range map[string]string{
		"http://" + first.endpoint: "is no balsa member", // a client port
		first.peer:                 "Peer URLs already exists",
	} {
		o := runToEnd(t, program(t, "balsa", "ctl", "--endpoints="+first.endpoint, "member", "add", "x", "--peer-urls="+url))
		if o.code == 0 || !strings.Contains(o.stderr+o.stdout, want) {
			t.Errorf("member add with %s: exit code %d, %s%s, want %s", url, o.code, o.stdout, o.stderr, want)
		}
	}
	w := c.write(4)
	for _, m := range c.members[1:] {
		c.progress(w)
		c.add(m)
	}
	c.progress(w)
	for left := 5; left > 1; left-- {
		m := c.leader()
		if left == 4 { // not always the leader
			for _, other := range c.members {
				if other != m && !other.gone {
					m = other
					break
				}
			}
		}
		c.remove(m)
		c.progress(w)
	}
	w.stop()
	w.running.Wait()
	var last *crewMember
	for _, m := range c.members {
		if !m.gone {
			last = m
		}
	}
	has := found(t, last)
	lost := 0
	for key, value := range w.acked {
		if has[key] != value {
			lost++
		}
	}
	t.Logf("%d writes acknowledged, %d failed, %d found", len(w.acked), w.failed, len(has))
	if lost > 0 {
		t.Errorf("%d acknowledged writes are lost", lost)
	}

	// Who was removed is of no more use.
	again := c.members[1]
	if again == last {
		again = c.members[2]
	}
	c.launch(again, "existing")
	c.ends(again)
}
