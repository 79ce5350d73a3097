package sim

import (
	"bytes"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/balsadb/balsa/internal/actor"
)

// model is the store as one would write it without a thought of cost or disks: all versions of all keys, all that ever happened,
// and answers by going through it. It forgets nothing: what was compacted is refused, and still there to be compared with.
type model struct {
	now                 func() worldMoment
	revision, compacted int64
	compactions         map[int64]bool
	keys                map[string][]modelVersion // oldest first
	names               []string                  // of all keys that there ever were, in order
	events              []modelEvent              // oldest first
	modelLeases
}

// worldMoment is a moment of the world, with the time by which machines' clocks have been fast until then.
type worldMoment struct {
	at   actor.Instant
	fast time.Duration
}

// modelVersion is a key since a revision; nil is a deletion. The pairs of a model are never changed.
type modelVersion struct {
	revision int64
	pair     *mvccpb.KeyValue
}

// modelEvent is a change, as a watcher is told of it.
type modelEvent struct {
	revision       int64
	key            string
	pair, previous *mvccpb.KeyValue // nil is none: a deletion, and a key that was not there before the revision
}

func newModel(now func() worldMoment) *model {
	return &model{
		now: now, revision: 1, compacted: -1, compactions: map[int64]bool{}, keys: map[string][]modelVersion{},
		modelLeases: modelLeases{lifetimes: map[int64][]*lifetime{}},
	}
}

// live returns what a key is at a revision, nil where it is not there.
func (m *model) live(key string, revision int64) *mvccpb.KeyValue {
	for _, v := range slices.Backward(m.keys[key]) {
		if v.revision <= revision {
			return v.pair
		}
	}
	return nil
}

// inRange reports whether a key is in a range of the API.
func inRange(key string, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(start)
	case len(end) == 1 && end[0] == 0:
		return key >= string(start)
	}
	return key >= string(start) && key < string(end)
}

// within returns the pairs of a range at a revision, in the order of their keys.
func (m *model) within(start, end []byte, revision int64) (pairs []*mvccpb.KeyValue) {
	first, _ := slices.BinarySearch(m.names, string(start))
	for _, name := range m.names[first:] {
		if !inRange(name, start, end) {
			break
		}
		if pair := m.live(name, revision); pair != nil {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// change is a command that is being executed: all that it changes has one revision.
type change struct {
	*model
	base   int64 // the revision before it
	events int
}

func (m *model) begin() change { return change{m, m.revision, len(m.events)} }

// set changes a key; nil deletes it.
func (c change) set(key string, pair *mvccpb.KeyValue) {
	m := c.model
	m.revision = c.base + 1
	if pair != nil {
		pair.ModRevision = m.revision
	}
	if _, known := m.keys[key]; !known {
		at, _ := slices.BinarySearch(m.names, key)
		m.names = slices.Insert(m.names, at, key)
	}
	e := modelEvent{m.revision, key, pair, m.live(key, c.base)}
	if pair != nil && pair.CreateRevision == m.revision {
		e.previous = nil // as in etcd, where it was there before and was deleted by the same command, too
	}
	m.events = append(m.events, e)
	m.keys[key] = append(m.keys[key], modelVersion{m.revision, pair})
}

// put writes a key.
func (c change) put(key string, value []byte, lease int64) {
	pair := &mvccpb.KeyValue{Key: []byte(key), Value: bytes.Clone(value), Lease: lease, CreateRevision: c.base + 1, Version: 1}
	if former := c.live(key, c.base+1); former != nil {
		pair.CreateRevision, pair.Version = former.CreateRevision, former.Version+1
	}
	c.set(key, pair)
}

// undo takes back what the command has changed.
func (c change) undo() {
	m := c.model
	for _, e := range slices.Backward(m.events[c.events:]) {
		m.keys[e.key] = m.keys[e.key][:len(m.keys[e.key])-1]
	}
	m.events, m.revision = m.events[:c.events], c.base
}
