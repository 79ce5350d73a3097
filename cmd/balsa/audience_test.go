package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watched is what the keys of a storm's load begin with.
const watched = "round"

// audience is those who watch a storm's keys.
type audience struct {
	storm     *storm
	compacted int64 // the revision to which the store was compacted last
	watchers  []*listener
	leaving   []context.CancelFunc
	running   sync.WaitGroup
}

// listener is one watcher. It goes on where it was when its watch ends.
type listener struct {
	name   string
	storm  *storm
	client func() *clientv3.Client // of whom it asks the next time
	stays  func() int              // after how many responses it asks anew
	from   int64
	told   gauge // the revision up to which it was told everything
	asked  int   // how often it asked

	mu      sync.Mutex
	changes []change
}

// change is an event as a watcher is told it. previous is the revision of the key's value before, 0 where there was none.
type change struct {
	revision, previous int64
	key, value         string
	deleted            bool
}

// add adds a watcher of all revisions that are there.
func (a *audience) add(ctx context.Context, name string, client *clientv3.Client) {
	a.start(ctx, &listener{name: name, client: func() *clientv3.Client { return client }, stays: func() int { return -1 }})
}

// addWanderer adds a watcher that soon goes on at another member.
func (a *audience) addWanderer(ctx context.Context) {
	n := 0
	a.start(ctx, &listener{name: "that wanders", stays: func() int { return 1 + n%7 }, client: func() *clientv3.Client {
		n++
		return a.storm.clients[n%3]
	}})
}

func (a *audience) start(ctx context.Context, l *listener) {
	ctx, leave := context.WithCancel(ctx)
	a.leaving = append(a.leaving, leave)
	a.watchers = append(a.watchers, l)
	l.storm, l.from = a.storm, a.compacted+1
	l.told.raise(a.compacted)
	a.running.Go(func() { l.listen(ctx) })
}

// leave ends all watchers.
func (a *audience) leave() {
	for _, leave := range a.leaving {
		leave()
	}
	a.running.Wait()
}

func (l *listener) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.once(ctx); errors.Is(err, rpctypes.ErrCompacted) {
			l.storm.t.Errorf("seed %d: the watcher %s: revision %d is compacted, though not all were told of it", *chaosSeed, l.name, l.told.value()+1)
			return
		}
	}
}

// once watches until the watch ends, or was told enough. Its error is what the server says.
func (l *listener) once(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	l.asked++
	stays := l.stays()
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(l.told.value() + 1), clientv3.WithPrevKV(), clientv3.WithProgressNotify()}
	for r := range l.client().Watch(ctx, watched, options...) {
		if err := r.Err(); err != nil {
			return err
		}
		l.hear(&r)
		if stays--; stays == 0 {
			return nil
		}
	}
	return nil
}

// hear notes the changes of one response. The client hands out several responses together, but never a part of one.
func (l *listener) hear(r *clientv3.WatchResponse) {
	last := l.told.value()
	first := last + 1
	for _, e := range r.Events {
		c := change{revision: e.Kv.ModRevision, key: string(e.Kv.Key), value: string(e.Kv.Value), deleted: e.Type == clientv3.EventTypeDelete}
		if e.PrevKv != nil {
			c.previous = e.PrevKv.ModRevision
		}
		if c.revision < max(first, last) {
			l.storm.t.Errorf("seed %d: the watcher %s is told of %+v after revision %d", *chaosSeed, l.name, c, max(first-1, last))
		}
		last = max(last, c.revision)
		l.mu.Lock()
		l.changes = append(l.changes, c)
		l.mu.Unlock()
	}
	if r.IsProgressNotify() {
		last = max(last, r.Header.Revision)
	}
	l.told.raise(last)
}

// until returns the changes up to a revision, at which there is one, and demands that all were told the same. What is above
// it, a request whose client has given it up may have done after all, and not every watcher has been told of it yet.
func (a *audience) until(ctx context.Context, revision int64) []change {
	var all []change
	for i, l := range a.watchers {
		if err := l.told.reach(ctx, revision); err != nil {
			a.storm.t.Errorf("seed %d: the watcher %s was not told all: %v", *chaosSeed, l.name, err)
			continue
		}
		l.mu.Lock()
		told := slices.DeleteFunc(slices.Clone(l.changes), func(c change) bool { return c.revision > revision })
		l.mu.Unlock()
		if i == 0 {
			all = told
		}
		want := all[slices.IndexFunc(all, func(c change) bool { return c.revision >= l.from }):]
		if !slices.Equal(told, want) {
			a.storm.t.Errorf("seed %d: the watcher %s was told %d changes, the first one %d: %s",
				*chaosSeed, l.name, len(told), len(want), firstDifference(told, want))
		}
		a.storm.t.Logf("the watcher %s was told %d changes; it asked %d times", l.name, len(told), l.asked)
	}
	return all
}

func firstDifference(a, b []change) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%+v is not %+v", a[i], b[i])
		}
	}
	return "one has more"
}

// compact compacts the store up to what all watchers were told, which is no loss to them. Who comes later and wants what was
// before is told so, by every member.
func (a *audience) compact(ctx context.Context) error {
	least := a.watchers[0].told.value()
	for _, l := range a.watchers {
		least = min(least, l.told.value())
	}
	if least <= a.compacted {
		return nil
	}
	if _, err := a.storm.clients[0].Compact(ctx, least); err != nil {
		return fmt.Errorf("compacting to %d: %w", least, err)
	}
	a.compacted = least
	for i, client := range a.storm.clients {
		if _, err := client.Get(ctx, "this member has applied the compaction"); err != nil {
			return err
		}
		one, cancel := context.WithCancel(ctx)
		told := <-client.Watch(one, watched, clientv3.WithPrefix(), clientv3.WithRev(least-1))
		cancel()
		if told.CompactRevision != least {
			return fmt.Errorf("%s: who watches from revision %d, after a compaction to %d, is told %+v", a.storm.cluster.Members[i].Name, least-1, least, told)
		}
	}
	return nil
}
