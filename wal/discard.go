package wal

import (
	"errors"
	"fmt"
	"sort"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// A log is cut in three steps, each durable before the next:
//
//	Discard          a group's entries up to a position are not needed any more: its floor rises
//	Append, Sync     the floor is recorded, in a state of the next batch
//	a later mark     proves that: no torn tail, and no damage that passes for one, takes the floor back
//	Prepare          removes segments, oldest first, that hold no entry above a group's floor
//
// The terms and votes of all groups are in the head of every segment, so a group that is idle for ever needs none of the old ones.

// Discard says that nothing of a group at or below a position is needed any more: what it did to the state machine is durable.
// It is recorded with the next Append, which may be one of no writes, and counts from then on: Read returns ErrCompacted.
// Segments are removed some time after that, by Prepare.
//
// A position at or below the floor changes nothing. One that the log does not hold (no such entry, or of another term) is an error
// that wraps ErrNotInLog; nothing is given up, and the log is as usable as before. Discard belongs to the log writer.
func (l *Log) Discard(id raft.GroupID, upTo raft.Position) error {
	if l.failure != nil {
		return l.failure
	}
	g := l.groups.byID[id]
	if g == nil {
		return fmt.Errorf("wal: group %d: %w", id, ErrNotInLog)
	}
	if upTo.Index <= max(g.before.Index, g.discarding.Index) {
		return nil
	}
	if err := g.mayDiscard(upTo); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if g.discarding == (raft.Position{}) {
		l.discarding = append(l.discarding, g)
	}
	g.discarding = upTo
	return nil
}

// Horizon returns the last position of a group in front of the newest keep bytes of the log, which are those of all groups together: whoever discards
// up to it frees whole segments, and keeps so much for followers that are behind. A group that is idle for so long may
// discard all its entries. It is the group's floor, or zero, where nothing can be freed so. Anybody may call it at any time.
func (l *Log) Horizon(id raft.GroupID, keep int64) raft.Position {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.groups.byID[id]
	if g == nil {
		return raft.Position{}
	}
	first := len(l.segments) - 1
	for bytes := l.stats.tail.Load(); bytes < keep && first > 0; first-- {
		bytes += l.segments[first-1].size
	}
	number := l.segments[first].number
	n := sort.Search(len(g.spans), func(i int) bool { return uint64(g.spans[i].segment) >= number })
	if n == len(g.spans) {
		return g.lastPosition()
	}
	index := max(g.spans[n].first-1, g.before.Index)
	return raft.Position{Index: index, Term: g.termAt(index)}
}

// recordFloors puts the floors that are waiting into the batch, as long as there is room for them.
func (l *Log) recordFloors(room int64) {
	for _, g := range l.discarding {
		if room < stateSize {
			return
		}
		if g.discarding != (raft.Position{}) {
			s := &l.building.states[l.building.slot(g).state]
			s.floor, s.before = true, g.discarding
			room -= stateSize
		}
	}
}

// recorded forgets the floors that the batch which was just written has, and those that a restart of the group has overtaken.
func (l *Log) recorded() {
	waiting := l.discarding[:0]
	for _, g := range l.discarding {
		if g.building.batch == l.building.number {
			g.discarding = raft.Position{}
		}
		if g.discarding != (raft.Position{}) {
			waiting = append(waiting, g)
		}
	}
	clear(l.discarding[len(waiting):])
	l.discarding = waiting
}

// floorReserve is what stays free at the end of a segment: a mark, so that every end can be proved, and for a disk that is full
// a floor of each group with a mark behind it, so that segments can be removed; for very many groups, no more than an eighth of a segment.
func (l *Log) floorReserve() int64 {
	const one = 2*batchFixed + stateSize
	return max(one, min(int64(len(l.groups.sorted))*one, l.segmentSize/8))
}

// relieve records floors where the disk has no room for what was to be appended, so that Prepare, or the next Append, has something to
// remove. It takes its time: two syncs.
func (l *Log) relieve() error {
	l.building.reset()
	l.recordFloors(l.active.size - l.tail.Offset - 2*batchFixed)
	if l.building.isMark() {
		return nil
	}
	l.building.measure()
	err := l.write()
	l.building.reset()
	for _, step := range []func() error{l.Sync, l.Idle, l.Sync} {
		if err == nil {
			err = step()
		}
	}
	return err
}

// release finds out which segments nobody needs. It is the writer's own.
//
// What matters is what a start would need after whatever happens to the tail. So the oldest segment that is needed is looked
// up at one moment, at the end of what is synced, and counts once a mark proves that end: a start then finds that state or
// a later one, and a later one never needs an older segment.
type release struct {
	changed bool     // a floor was recorded or a segment began since the last look
	at      Position // once this is proved,
	needed  uint64   // the segments in front of this one are free; 0 for none
	pinned  *group   // whose entries are the oldest, at the last look
}

// freeSegments looks for segments that have become free, and hands them to Prepare. What was written is synced.
func (l *Log) freeSegments() {
	r := &l.free
	if r.needed != 0 && !l.proved.Less(r.at) {
		if r.needed > l.prepare.needed.Load() {
			l.prepare.needed.Store(r.needed)
			l.prepare.wanted.Store(true)
		}
		r.needed = 0
	}
	if !r.changed || r.needed != 0 {
		return
	}
	r.changed = false
	if g := r.pinned; g != nil && len(g.spans) > 0 && uint64(g.spans[0].segment) <= l.prepare.needed.Load() {
		return
	}
	if needed := l.oldestNeeded(); needed > l.prepare.needed.Load() {
		r.at, r.needed = l.tail, needed
	}
}

// oldestNeeded returns the oldest segment that holds an entry of a group, or the active one.
func (l *Log) oldestNeeded() uint64 {
	oldest := l.active.number
	l.free.pinned = nil
	for _, g := range l.groups.sorted {
		if len(g.spans) > 0 && uint64(g.spans[0].segment) < oldest {
			oldest, l.free.pinned = uint64(g.spans[0].segment), g
		}
	}
	return oldest
}

// isFull reports whether a write was refused for lack of room, and the log can go on.
func (l *Log) isFull(err error) bool { return l.failure == nil && errors.Is(err, vfs.ErrNoSpace) }
