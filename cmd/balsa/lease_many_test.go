package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// tenant is who holds a lease, and knows until when it must be there: its time to live after the last grant or keep-alive that was
// answered was asked for.
type tenant struct {
	id    clientv3.LeaseID
	ttl   time.Duration
	asked time.Time
}

// early reports whether a lease that is gone by now should still be there.
func (l *tenant) early() bool { return time.Since(l.asked) < l.ttl }

// rent has a lease granted.
func rent(ctx context.Context, client *clientv3.Client, seconds int64) (l tenant, err error) {
	err = insist(ctx, func(ctx context.Context) error {
		asked := time.Now()
		granted, err := client.Grant(ctx, seconds)
		if err == nil {
			l = tenant{granted.ID, time.Duration(seconds) * time.Second, asked}
		}
		return err
	})
	return l, err
}

// errTooSlow says that a lease has rightly ended, since no keep-alive was answered for as long as it lives.
var errTooSlow = errors.New("too slow a machine: a lease could not be kept alive")

// keep keeps a lease alive until stop is closed, and counts how often; who waits for that need not wait when it returns. That
// the lease is gone is either early, or errTooSlow.
func (l *tenant) keep(ctx context.Context, client *clientv3.Client, renewed *gauge, stop <-chan struct{}) error {
	defer renewed.raise(1 << 60)
	every := time.NewTicker(l.ttl / 10)
	defer every.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-every.C:
		}
		asked := time.Now()
		one, cancel := context.WithTimeout(ctx, l.ttl/5)
		_, err := client.KeepAliveOnce(one, l.id)
		cancel()
		switch {
		case err == nil:
			l.asked = asked
			renewed.add()
		case errors.Is(err, rpctypes.ErrLeaseNotFound) && l.early():
			return fmt.Errorf("lease %x is gone %v after the last keep-alive that was answered was sent; it was promised %v", l.id, time.Since(l.asked), l.ttl)
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return errTooSlow
		}
	}
}

// Two thousand leases end together, and the leader is killed when the first of them has gone. None ends before its time, all
// end and take their keys along, those that are kept alive stay, and who writes meanwhile is answered.
func TestManyLeasesEndTogether(t *testing.T) {
	t.Parallel()
	const leases, ttl, kept = 2000, 10, 20
	c := startCluster(t, 3, cluster.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	client := dial(t, c.Endpoints()...)
	var clients []*clientv3.Client
	for _, m := range c.Members {
		clients = append(clients, dial(t, m.Endpoint))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	tenants := map[string]tenant{} // by key
	stop := make(chan struct{})
	var granting, keeping sync.WaitGroup
	var slow atomic.Bool
	for w := range 50 {
		granting.Go(func() {
			var puts []clientv3.Op
			var oldest tenant
			for n := range leases / 50 {
				l, err := rent(ctx, client, ttl)
				if err != nil {
					t.Error(err)
					return
				}
				key := fmt.Sprintf("leased/%d-%d", w, n)
				if n == 0 {
					oldest = l
				}
				puts = append(puts, clientv3.OpPut(key, "", clientv3.WithLease(l.id)))
				mu.Lock()
				tenants[key] = l
				mu.Unlock()
			}
			err := insist(ctx, func(ctx context.Context) error {
				_, err := client.Txn(ctx).Then(puts...).Commit()
				if errors.Is(err, rpctypes.ErrLeaseNotFound) && !oldest.early() {
					slow.Store(true) // the first ones have ended before the last was granted
					return nil
				}
				if errors.Is(err, rpctypes.ErrLeaseNotFound) {
					return errLost
				}
				return err
			})
			if err != nil {
				t.Errorf("keys of leases that were just granted: %v", err)
			}
		})
	}
	var renewed gauge
	var lost atomic.Int64 // of those that are kept
	for n := range kept {
		l, err := rent(ctx, client, ttl)
		must(err)
		_, err = client.Put(ctx, fmt.Sprint("kept/", n), "", clientv3.WithLease(l.id))
		must(err)
		keeping.Go(func() {
			if err := l.keep(ctx, client, &renewed, stop); errors.Is(err, errTooSlow) {
				lost.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	granting.Wait()
	if t.Failed() || slow.Load() {
		close(stop)
		keeping.Wait()
		t.Skip(errTooSlow) // failed it stays, where it has
	}
	leader, err := leading(ctx, c, clients)
	must(err)

	ends := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1))
	keeping.Go(func() { // a writer, who does one thing after the other
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := insist(ctx, func(ctx context.Context) error { _, err := client.Put(ctx, "written", ""); return err }); err != nil {
				t.Error(err)
				return
			}
		}
	})
	gone, more, meanwhile := 0, 0, 0
	var first time.Time
	for gone < leases {
		r, open := <-ends
		if !open || r.Err() != nil {
			t.Fatalf("%d of %d leases have ended: %v", gone, leases, r.Err())
		}
		for _, e := range r.Events {
			key := string(e.Kv.Key)
			l, ours := tenants[key]
			switch {
			case e.Type == clientv3.EventTypePut && key == "written" && gone > 0:
				meanwhile++
			case e.Type == clientv3.EventTypePut:
			case !ours:
				more++ // a second time, or one that is kept
			default:
				if l.early() {
					t.Errorf("%s is deleted %v after its lease was asked for, of %v", key, time.Since(l.asked), l.ttl)
				}
				delete(tenants, key)
				gone++
			}
		}
		if gone > 0 && first.IsZero() {
			first = time.Now()
			leader.Kill()
		}
	}
	t.Logf("the leases ended within %v; %d writes were done meanwhile", time.Since(first), meanwhile)
	if meanwhile < 10 {
		t.Errorf("%d writes were done while %d leases ended", meanwhile, leases)
	}
	must(leader.Restart(ctx))
	must(renewed.more(ctx, kept))
	close(stop)
	keeping.Wait()
	if more > 0 && lost.Load() == 0 {
		t.Errorf("%d keys too many were deleted", more)
	}
	for i, client := range clients {
		left, err := client.Get(ctx, "leased/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		must(err)
		there, err := client.Leases(ctx)
		must(err)
		if left.Count != 0 || len(there.Leases) > kept {
			t.Errorf("%s has %d keys and %d leases", c.Members[i].Name, left.Count, len(there.Leases))
		}
	}
}

// A leader stands still for longer than a lease lives, which is kept alive by the next leader meanwhile. When the old one goes
// on it ends nothing.
func TestAStalledLeaderEndsNoLease(t *testing.T) {
	t.Parallel()
	const ttl = 3
	c := startCluster(t, 3, cluster.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var clients []*clientv3.Client
	for _, m := range c.Members {
		clients = append(clients, dial(t, m.Endpoint))
	}
	stalled, err := leading(ctx, c, clients)
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, m := range c.Members {
		if m != stalled {
			others = append(others, m.Endpoint)
		}
	}
	client := dial(t, others...)
	lease, err := rent(ctx, client, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(ctx, "kept", "", clientv3.WithLease(lease.id)); err != nil {
		t.Fatal(err)
	}
	if err := stalled.Pause(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	stop, ended := make(chan struct{}), make(chan error, 1)
	var renewed gauge
	go func() { ended <- lease.keep(ctx, client, &renewed, stop) }()
	for time.Since(begun) < (ttl+1)*time.Second {
		if err := renewed.more(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := stalled.Resume(); err != nil {
		t.Fatal(err)
	}
	for _, client := range clients { // the stalled one is back among them, too
		err := insist(ctx, func(ctx context.Context) error { _, err := client.Put(ctx, "again", ""); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := renewed.more(ctx, 3); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if err := <-ended; errors.Is(err, errTooSlow) {
		t.Skip(err)
	} else if err != nil {
		t.Error(err)
	}
}
