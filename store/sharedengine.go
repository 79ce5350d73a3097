package store

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/balsadb/balsa/engine"
)

// sharedEngine is an engine with its users. A restore gives the store another engine while reads of the former one are
// under way: those end on what they began with, and the last of them closes it. Nobody waits for anybody.
type sharedEngine struct {
	engine.Engine
	users atomic.Int64 // those who are in; retired is added once the store has left
}

const retired = math.MinInt64

// enter reports whether the engine may be used; leave must follow then.
func (g *sharedEngine) enter() bool {
	if g.users.Add(1) > 0 {
		return true
	}
	g.leave() // the last user may have looked meanwhile, and left the end to us
	return false
}

func (g *sharedEngine) leave() {
	if g.users.Add(-1) == retired {
		g.end()
	}
}

// retire lets nobody in any more.
func (g *sharedEngine) retire() {
	if g.users.Add(retired) == retired {
		g.end()
	}
}

// end closes the engine. Closing twice does no harm, and happens where somebody knocked at the door meanwhile. What
// fails is the removal of files, which the home of the engine logs, and does at the next start.
func (g *sharedEngine) end() { _ = g.Close() }

// use returns the current state; its engine is open until it is left.
func (s *Store) use() *state {
	for {
		// Another state is published before its predecessor's engine retires.
		if now := s.state.Load(); now.engine.enter() {
			return now
		}
	}
}

// contents is what the store keeps in memory of what an engine holds.
type contents struct {
	counters counters
	members  members
	alarms   alarms
	quota    Quota
	leases   *leases
	progress progress
	census   *buckets
	unsaved  int // see census
}

// load reads the contents of an engine, which may be empty.
func (l layout) load(reader engine.Reader) (contents, error) {
	c := contents{counters: newCounters()}
	value, err := reader.Get(l.single(spaceMeta))
	if err == nil {
		c.counters, err = decodeCounters(value)
	}
	if err == nil || errors.Is(err, engine.ErrNotFound) {
		c.members, err = loadMembers(reader, l)
	}
	if err == nil {
		c.alarms, c.quota, err = loadAlarms(reader, l)
	}
	if err == nil {
		c.leases, c.counters.sums, err = loadLeases(reader, l)
	}
	if err == nil {
		c.progress, err = loadProgress(reader, l)
	}
	if err == nil {
		c.census, c.unsaved, err = l.loadCensus(reader, &c.counters)
	}
	if err != nil {
		return contents{}, fmt.Errorf("store: opening group %d: %w", l.group, err)
	}
	return c, nil
}

// adopt makes an engine the store's. Of what it holds, all that was written since it was last durable is in unflushed.
// Nobody applies or collects meanwhile.
func (s *Store) adopt(e engine.Engine, c contents, unflushed unflushed) {
	s.engine = &sharedEngine{Engine: e}
	s.writer = execution{
		view:     view{layout: s.layout, reader: e, overlay: newOverlay()},
		durable:  view{layout: s.layout, reader: e.Durable()},
		counters: c.counters, members: c.members, alarms: c.alarms, quota: c.quota, census: newCensus(c.census, c.unsaved), batch: e.NewBatch(),
		recent: newRecent(defaultRecentKeys), unflushed: unflushed,
		leaseChanges: leaseChanges{leases: c.leases, shown: c.leases.Copy(), pending: uncountedOf(c.leases)},
	}
	s.collection.start(c.progress, c.counters.compacted, c.census == nil)
	s.publish()
	s.hub.inbox.skip(c.counters.revision)
}
