package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// startCtl starts etcdctl against endpoints.
func startCtl(t *testing.T, endpoints string, args ...string) *process {
	t.Helper()
	cmd := program(t, "balsa", append([]string{"ctl"}, args...)...)
	cmd.Env = append(cmd.Env, "ETCDCTL_ENDPOINTS="+endpoints)
	return startProcess(t, cmd)
}

// interrupt presses Ctrl-C, and wants the process to end well.
func (p *process) interrupt() {
	p.t.Helper()
	p.signal(syscall.SIGINT)
	if code, said := p.end(); code != 0 {
		p.t.Errorf("%v: exit code %d after an interrupt:\n%s", p.cmd.Args, code, said)
	}
}

// etcdctl's commands that go on, while one member after the other is killed, the leader first, and comes back: a watch misses
// nothing and tells nothing twice, a lease is kept alive, and who holds a lock, or is elected, stays so, whichever member it
// was connected to.
func TestEtcdctlThroughKillsOfEachMember(t *testing.T) {
	t.Parallel()
	// The timeouts that people have: etcdctl's watch needs a leader, and gives up where none is known for three election timeouts.
	c := startCluster(t, 3, cluster.Options{Args: []string{"--heartbeat-interval=100", "--election-timeout=1000"}})
	all := strings.Join(c.Endpoints(), ",")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := dial(t, c.Endpoints()...)
	begun := time.Now()

	lease := strings.Fields(ctlOK(t, all, "lease", "grant", "5"))[1]
	alive := startCtl(t, all, "lease", "keep-alive", lease)
	kept := func() { t.Helper(); alive.expect(`^lease ` + lease + ` keepalived with TTL\(5\)$`) }
	kept()
	watch := startCtl(t, all, "watch", "--prefix", "watched/", "--rev=1")
	holder := startCtl(t, all, "lock", "--ttl=10", "lock")
	held := holder.expect(`^(lock/[0-9a-f]+)$`)[1]
	waiter := startCtl(t, all, "lock", "--ttl=10", "lock", "--", "sh", "-c", "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV")
	elected := startCtl(t, all, "elect", "election", "one")
	elected.expect(`^one$`)
	candidate := startCtl(t, all, "elect", "election", "two")
	observer := startCtl(t, all, "elect", "--listen", "election")
	observer.expect(`^one$`)
	awaitKeys(t, ctx, client, "lock/", 2)
	awaitKeys(t, ctx, client, "election/", 2)

	members := slices.Clone(c.Members)
	leader := leaderOf(t, c)
	slices.SortFunc(members, func(a, b *cluster.Member) int { return boolFirst(a == leader, b == leader) })
	want := ""
	for _, m := range members {
		m.Kill()
		for n := range 3 {
			key := fmt.Sprintf("watched/without-%s-%d", m.Name, n)
			putOnce(t, ctx, client, key)
			watch.expect(`^` + key + `$`)
			want += "PUT\n" + key + "\nonce\n"
		}
		kept()
		if err := m.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for time.Since(begun) < 11*time.Second { // now those hold on by their keep-alives
		kept()
	}
	first, err := client.Get(ctx, "lock/", clientv3.WithFirstCreate()...)
	if err != nil || len(first.Kvs) != 1 || string(first.Kvs[0].Key) != held {
		t.Errorf("the lock was %s's, and is %+v, %v", held, first, err)
	}

	holder.interrupt()
	wantAfter(t, ctx, client, held, waiter.expect(`^lock/[0-9a-f]+ (\d+)$`)[1])
	elected.interrupt()
	candidate.expect(`^two$`)
	observer.expect(`^two$`)
	candidate.interrupt()
	ctlOK(t, all, "lease", "revoke", lease)
	alive.expect(`^lease ` + lease + ` expired or revoked\.$`)
	putOnce(t, ctx, client, "watched/end")
	watch.expect("^watched/end$")
	watch.expect("^once$")
	if got := withoutLog(watch.seen.String()); got != want+"PUT\nwatched/end\nonce\n" {
		t.Errorf("the watch printed\n%swant\n%s", got, want)
	}
}

// A holder that is killed leaves the lock to the next one when its lease has ended, and not before.
func TestEtcdctlLockOfTheKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{})
	all := strings.Join(c.Endpoints(), ",")
	client := dial(t, c.Endpoints()...)
	holder := startCtl(t, all, "lock", "--ttl=2", "lock")
	held := holder.expect(`^(lock/[0-9a-f]+)$`)[1]
	waiter := startCtl(t, all, "lock", "lock", "--", "sh", "-c", "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV")
	awaitKeys(t, t.Context(), client, "lock/", 2)
	holder.signal(syscall.SIGKILL)
	wantAfter(t, t.Context(), client, held, waiter.expect(`^lock/[0-9a-f]+ (\d+)$`)[1])
}

// The command of docs/locks.md: what is written under a lock, only while the lock is held.
func TestEtcdctlFence(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, cluster.Options{})
	endpoint := c.Members[0].Endpoint
	fenced := func(steal string) string {
		return `balsa() { "$BALSA" "$@"; }
` + steal + `
printf 'version("%s") > "0"\n\nput state/nightly done\n\n\n' "$ETCD_LOCK_KEY" | balsa ctl txn`
	}
	for _, step := range []struct{ steal, want, state string }{
		{``, "SUCCESS", "done\n"},
		{`balsa ctl del state/nightly; balsa ctl del "$ETCD_LOCK_KEY"`, "FAILURE", ""},
	} {
		cmd := program(t, "balsa", "ctl", "lock", "jobs/nightly", "--", "sh", "-c", fenced(step.steal))
		cmd.Env = append(cmd.Env, "ETCDCTL_ENDPOINTS="+endpoint, "BALSA="+cmd.Path)
		if o := runToEnd(t, cmd); !strings.Contains(o.stdout, step.want) {
			t.Errorf("%q: %+v", step.steal, o)
		}
		if got := ctlOK(t, endpoint, "get", "state/nightly", "--print-value-only"); got != step.state {
			t.Errorf("%q: state %q, want %q", step.steal, got, step.state)
		}
	}
}

// boolFirst compares two booleans, true first.
func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// putOnce puts a key that is not there; how often it must ask for that is not seen by those who watch.
func putOnce(t *testing.T, ctx context.Context, client *clientv3.Client, key string) {
	t.Helper()
	err := insist(ctx, func(ctx context.Context) error {
		_, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "=", 0)).Then(clientv3.OpPut(key, "once")).Commit()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitKeys returns once so many keys with a prefix were created.
func awaitKeys(t *testing.T, ctx context.Context, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithFilterDelete()) {
		if n -= len(r.Events); n <= 0 || r.Err() != nil {
			break
		}
	}
	if n > 0 {
		t.Fatalf("%d keys of %s are missing", n, prefix)
	}
}

// wantAfter demands that a key was deleted at or before a revision.
func wantAfter(t *testing.T, ctx context.Context, client *clientv3.Client, key, revision string) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deleted := <-client.Watch(ctx, key, clientv3.WithRev(1), clientv3.WithFilterPut())
	next, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || len(deleted.Events) != 1 || deleted.Events[0].Kv.ModRevision > next {
		t.Errorf("the next one had the lock at revision %s, %v, and the one before gave it up with %+v", revision, err, deleted.Events)
	}
}

// withoutLog leaves out what the client logs of connections that break.
func withoutLog(said string) (rest string) {
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, `{"level":`) {
			rest += line
		}
	}
	return rest
}
