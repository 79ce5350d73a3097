package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/balsadb/balsa/internal/cluster"
)

// What people build on etcd's package concurrency, while leader after leader is killed: sessions, mutexes, elections and
// software transactions.
func TestConcurrencyThroughKillsOfTheLeader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	k := &killing{t: t, cluster: startCluster(t, 3, cluster.Options{})}
	k.client = dial(t, k.cluster.Endpoints()...)
	for _, m := range k.cluster.Members {
		k.clients = append(k.clients, dial(t, m.Endpoint))
	}
	t.Run("mutex", func(t *testing.T) {
		k.through(t, ctx, 4, k.lockAndWrite)
		k.wantQueue(t, ctx, "mutex/", "section")
	})
	t.Run("election", func(t *testing.T) {
		k.through(t, ctx, 4, k.campaign)
		k.wantQueue(t, ctx, "election/", "")
	})
	t.Run("transactional memory", func(t *testing.T) {
		turns := k.through(t, ctx, 4, k.transfer)
		k.wantAccounts(t, ctx, turns)
	})
}

// killing is a cluster whose leaders are killed while workers use it.
type killing struct {
	t       *testing.T
	cluster *cluster.Cluster
	client  *clientv3.Client   // of all members
	clients []*clientv3.Client // of each
}

// worker takes turns. A turn that fails since a server is gone counts for nothing, and another one follows.
type worker func(ctx context.Context, id, turn int) error

// through has workers take turns while three leaders are killed and come back, and returns how many turns each has done.
func (k *killing) through(t *testing.T, ctx context.Context, workers int, work worker) []int {
	var done gauge
	var running sync.WaitGroup
	stopping := make(chan struct{})
	turns := make([]int, workers)
	failed := 0
	var mu sync.Mutex
	for id := range workers {
		running.Go(func() {
			for {
				select {
				case <-stopping:
					return
				case <-ctx.Done():
					return
				default:
				}
				if err := work(ctx, id, turns[id]); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
					continue
				}
				turns[id]++
				done.add()
			}
		})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		must(done.more(ctx, 10))
		leader, err := leading(ctx, k.cluster, k.clients)
		must(err)
		leader.Kill()
		must(done.more(ctx, 10))
		must(leader.Restart(ctx))
	}
	close(stopping)
	running.Wait()
	t.Logf("%d turns are done, %d failed", done.value(), failed)
	return turns
}

// errLost says that somebody is not the first any more.
var errLost = errors.New("not the first any more")

// insist tries something again until it happens, or never will: what it does must be fine to do twice.
func insist(ctx context.Context, try func(context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := try(one)
		cancel()
		if err == nil || errors.Is(err, errLost) || ctx.Err() != nil {
			return err
		}
	}
}

// inSession does something in a session, and ends that.
func (k *killing) inSession(ctx context.Context, do func(*concurrency.Session) error) error {
	var session *concurrency.Session
	err := insist(ctx, func(context.Context) (err error) {
		session, err = concurrency.NewSession(k.client, concurrency.WithTTL(5), concurrency.WithContext(ctx))
		return err
	})
	if err != nil {
		return err
	}
	defer session.Close() // where nobody answers it ends by itself, and so does what hangs on it
	return do(session)
}

// lockAndWrite writes three times while it holds the lock: each time who it is, if it still holds it.
func (k *killing) lockAndWrite(ctx context.Context, _, _ int) error {
	return k.inSession(ctx, func(session *concurrency.Session) error {
		mutex := concurrency.NewMutex(session, "mutex")
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		for range 3 {
			err := insist(ctx, func(ctx context.Context) error {
				r, err := k.client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("section", mutex.Key())).Commit()
				if err == nil && !r.Succeeded {
					return errLost
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return mutex.Unlock(ctx)
	})
}

// campaign is elected, proclaims two values more, and resigns.
func (k *killing) campaign(ctx context.Context, id, turn int) error {
	return k.inSession(ctx, func(session *concurrency.Session) error {
		election := concurrency.NewElection(session, "election")
		if err := election.Campaign(ctx, "elected"); err != nil {
			return err
		}
		for n := range 2 {
			err := insist(ctx, func(ctx context.Context) error {
				err := election.Proclaim(ctx, fmt.Sprint(id, turn, n))
				if errors.Is(err, concurrency.ErrElectionNotLeader) {
					return errLost
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return election.Resign(ctx)
	})
}

// transfer moves something between two accounts, and counts that, once: where a transaction's outcome is not known, another one
// looks.
func (k *killing) transfer(ctx context.Context, id, turn int) error {
	done := fmt.Sprintf("memory/worker%d", id)
	return insist(ctx, func(ctx context.Context) error {
		_, err := concurrency.NewSTM(k.client, func(s concurrency.STM) error {
			if number(s.Get(done)) > turn {
				return nil // the one before, of unknown outcome, was done
			}
			from, to := fmt.Sprint("memory/account", turn%3), fmt.Sprint("memory/account", (turn+1)%3)
			s.Put(from, fmt.Sprint(number(s.Get(from))-1))
			s.Put(to, fmt.Sprint(number(s.Get(to))+1))
			s.Put("memory/count", fmt.Sprint(number(s.Get("memory/count"))+1))
			s.Put(done, fmt.Sprint(turn+1))
			return nil
		}, concurrency.WithAbortContext(ctx))
		return err
	})
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // absent is 0
	return n
}

func (k *killing) wantAccounts(t *testing.T, ctx context.Context, turns []int) {
	want := 0
	for _, n := range turns {
		want += n
	}
	r, err := k.client.Get(ctx, "memory/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	is := map[string]int{}
	for _, kv := range r.Kvs {
		is[string(kv.Key)] = number(string(kv.Value))
	}
	for n := range 3 {
		sum += is[fmt.Sprint("memory/account", n)]
	}
	if is["memory/count"] != want || sum != 0 {
		t.Errorf("%d transfers are done, and counted are %d; the accounts hold %d together, and had nothing at first", want, is["memory/count"], sum)
	}
}

// wantQueue reads all that has happened to a queue's keys, and demands that at every revision only the first in it did what
// its first may do: change the value of its own key, or write its key into the one that only the holder may write.
func (k *killing) wantQueue(t *testing.T, ctx context.Context, queue, guarded string) {
	t.Helper()
	waiting := map[string]int64{} // create revisions
	first := func() (key string) {
		for k, created := range waiting {
			if key == "" || created < waiting[key] {
				key = k
			}
		}
		return key
	}
	acts, holders := 0, map[string]bool{}
	for _, e := range k.everything(t, ctx) {
		key, actor := string(e.Kv.Key), ""
		switch inQueue := len(key) > len(queue) && key[:len(queue)] == queue; {
		case key == guarded:
			actor = string(e.Kv.Value)
		case inQueue && e.IsModify():
			actor = key
		case inQueue && e.IsCreate():
			waiting[key] = e.Kv.CreateRevision
		case inQueue:
			delete(waiting, key)
		}
		if actor == "" {
			continue
		}
		acts++
		holders[actor] = true
		if actor != first() {
			t.Errorf("revision %d: %s acted, and the first in the queue was %q of %v", e.Kv.ModRevision, actor, first(), waiting)
		}
	}
	if acts == 0 {
		t.Error("nobody has ever been first")
	}
	t.Logf("%d holders acted %d times", len(holders), acts)
}

// everything returns all events so far.
func (k *killing) everything(t *testing.T, ctx context.Context) (events []*clientv3.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end, err := k.client.Put(ctx, "end", "")
	if err != nil {
		t.Fatal(err)
	}
	for r := range k.client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(2)) {
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		events = append(events, r.Events...)
		if events[len(events)-1].Kv.ModRevision >= end.Header.Revision {
			return events
		}
	}
	t.Fatal(ctx.Err())
	return nil
}
