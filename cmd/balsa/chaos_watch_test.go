package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// TestChaosWatch watches while members are killed, stopped and cut off under load. Whatever happens, each watcher is told
// every change once, in order, each revision in one piece, and all of them are told the same as whoever reads the
// whole history from any member afterwards.
func TestChaosWatch(t *testing.T) {
	s := newStorm(t, "--testing-hold-unsynced-writes=true")
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*chaosRounds)*time.Minute)
	defer cancel()
	everywhere := s.clientOf(s.cluster.Endpoints()...)
	watchers := []*chaosWatcher{s.watch(ctx, everywhere, 2), s.watch(clientv3.WithRequireLeader(ctx), everywhere, 2)}
	for i := range s.clients {
		watchers = append(watchers, s.watch(ctx, s.clients[i], 2))
	}
	load, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for id := range 4 {
		clients.Go(func() { s.load(load, id) })
	}
	for round := range (*chaosRounds + 1) / 2 {
		s.round.Store(int64(round))
		fault := faults[(round+int(*chaosSeed))%len(faults)]
		s.must(s.answered.await(ctx, 150))
		t.Logf("round %d: %s", round+1, fault.name)
		repair, err := fault.strike(s)
		s.must(err)
		s.must(s.tried.await(ctx, fault.tries))
		s.must(repair(ctx))
		s.must(s.answered.await(ctx, 150))
	}
	stop()
	clients.Wait()
	end, err := everywhere.Put(ctx, "round-end", "")
	s.must(err)
	for i := range s.clients {
		watchers = append(watchers, s.watch(ctx, s.clients[i], 2)) // reads it all from this member
	}
	var want []string
	for i, w := range watchers {
		got := w.until(ctx, end.Header.Revision)
		if i == 0 {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: watcher %d was told %d changes, watcher 0 %d: %s", *chaosSeed, i, len(got), len(want), firstDifference(got, want))
		}
	}
	t.Logf("%d changes, told to %d watchers", len(want), len(watchers))
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%q is not %q", a[i], b[i])
		}
	}
	return "one has more"
}

func (s *storm) clientOf(endpoints ...string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	s.must(err)
	s.t.Cleanup(func() { c.Close() })
	return c
}

// chaosWatcher is a watcher of all keys of the load, and what it was told.
type chaosWatcher struct {
	s       *storm
	client  *clientv3.Client
	updates clientv3.WatchChan
	ctx     context.Context
	next    int64 // where it goes on after its stream has ended
	told    []chaosEvent
}

type chaosEvent struct {
	revision int64
	text     string
}

func (s *storm) watch(ctx context.Context, client *clientv3.Client, from int64) *chaosWatcher {
	w := &chaosWatcher{s: s, client: client, ctx: ctx, next: from}
	w.open()
	return w
}

func (w *chaosWatcher) open() {
	w.updates = w.client.Watch(w.ctx, "round", clientv3.WithPrefix(), clientv3.WithRev(w.next), clientv3.WithPrevKV(), clientv3.WithProgressNotify())
}

// until returns what the watcher was told up to a revision, at which there is a change. What is above it, a request whose client
// has given it up may have done after all, and not every watcher has been told of it yet.
func (w *chaosWatcher) until(ctx context.Context, revision int64) []string {
	for w.next <= revision {
		select {
		case r, ok := <-w.updates:
			if !ok || r.Err() != nil { // a client that requires a leader starts over by itself
				w.open()
				continue
			}
			w.hear(&r)
		case <-ctx.Done():
			w.s.t.Fatalf("seed %d: a watcher was told up to %d of %d: %v", *chaosSeed, w.next-1, revision, ctx.Err())
		}
	}
	var told []string
	for _, e := range w.told {
		if e.revision <= revision {
			told = append(told, e.text)
		}
	}
	return told
}

// hear notes the events of one response. Its client hands out several responses together, but never a part of one.
func (w *chaosWatcher) hear(r *clientv3.WatchResponse) {
	before := w.next
	for _, e := range r.Events {
		if e.Kv.ModRevision < before {
			w.s.t.Errorf("seed %d: revision %d is told after %d", *chaosSeed, e.Kv.ModRevision, before-1)
		}
		before = max(before, e.Kv.ModRevision)
		previous := int64(0)
		if e.PrevKv != nil {
			previous = e.PrevKv.ModRevision
		}
		w.told = append(w.told, chaosEvent{e.Kv.ModRevision,
			fmt.Sprintf("%d %v %s=%s after %d", e.Kv.ModRevision, e.Type, e.Kv.Key, e.Kv.Value, previous)})
	}
	if r.IsProgressNotify() {
		w.next = max(w.next, r.Header.Revision+1)
	} else if len(r.Events) > 0 {
		w.next = before + 1
	}
}
