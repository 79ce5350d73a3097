package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/balsadb/balsa/internal/cluster"
)

// Leaders are killed while one lease runs out, and another, under an election and a lock, is kept alive: the first ends
// in its time and not before, the others do not notice.
func TestLeasesThroughKillsOfTheLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := dial(t, c.Endpoints()...)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(6))
	must(err)
	election := concurrency.NewElection(session, "election")
	must(election.Campaign(ctx, "elected"))
	mutex := concurrency.NewMutex(session, "lock")
	must(mutex.Lock(ctx))

	const ttl = 5
	begun := time.Now()
	granted, err := client.Grant(ctx, ttl)
	must(err)
	put, err := client.Put(ctx, "short-lived", "", clientv3.WithLease(granted.ID))
	must(err)
	ends := client.Watch(ctx, "short-lived", clientv3.WithRev(put.Header.Revision+1))
	for range 2 {
		leader := leaderOf(t, c)
		leader.Kill()
		for i := 0; ; i++ { // the others have a new one
			one, cancel := context.WithTimeout(ctx, time.Second)
			_, err := client.Put(one, fmt.Sprint("after-a-kill-", i), "")
			cancel()
			if err == nil {
				break
			}
			must(ctx.Err())
		}
		must(leader.Restart(ctx))
	}
	deleted, more := <-ends
	lived := time.Since(begun)
	if !more || len(deleted.Events) != 1 || deleted.Events[0].Type != clientv3.EventTypeDelete {
		t.Fatalf("the watcher was told %+v", deleted)
	}
	if lived < ttl*time.Second {
		t.Errorf("a lease of %d s ended after %v", ttl, lived)
	}
	t.Logf("a lease of %d s ended after %v", ttl, lived) // timings report, and do not judge
	select {
	case <-session.Done():
		t.Fatal("the session has ended")
	default:
	}
	owner, err := client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("fenced", "")).Commit()
	if err != nil || !owner.Succeeded {
		t.Errorf("the lock is lost: %v, %v", owner, err)
	}
	elected, err := election.Leader(ctx)
	if err != nil || string(elected.Kvs[0].Value) != "elected" {
		t.Errorf("elected is %v, %v", elected, err)
	}
	for _, m := range c.Members {
		left, err := dial(t, m.Endpoint).TimeToLive(ctx, session.Lease(), clientv3.WithAttachedKeys())
		if err != nil || left.TTL <= 0 || left.GrantedTTL != 6 || len(left.Keys) != 2 {
			t.Errorf("at %s: %+v, %v", m.Endpoint, left, err)
		}
	}
}

// What people type.
func TestEtcdctlLeasesAndLocks(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{})
	endpoints := strings.Join(c.Endpoints(), ",")
	fields := strings.Fields(ctlOK(t, endpoints, "lease", "grant", "60"))
	id := fields[1]
	ctlOK(t, endpoints, "put", "--lease="+id, "k", "v")
	for i, m := range c.Members { // any of them knows all of it
		for _, step := range []struct{ command, want string }{
			{"lease timetolive " + id + " --keys", "attached keys([k])"},
			{"lease list", id},
			{"lease keep-alive --once " + id, "keepalived with TTL(60)"},
			{fmt.Sprintf("lock l%d echo locked", i), "locked"},
		} {
			if got := ctlOK(t, m.Endpoint, strings.Fields(step.command)...); !strings.Contains(got, step.want) {
				t.Errorf("%s at %s printed %q, want %q", step.command, m.Endpoint, got, step.want)
			}
		}
	}
	ctlOK(t, endpoints, "lease", "revoke", id)
	if got := ctlOK(t, endpoints, "get", "k"); got != "" {
		t.Errorf("after the revocation k is there: %q", got)
	}
	if got := ctlOK(t, endpoints, "lease", "timetolive", id); !strings.Contains(got, "already expired") {
		t.Errorf("time to live after the revocation: %q", got)
	}
}
