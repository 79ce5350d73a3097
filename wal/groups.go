package wal

import (
	"fmt"
	"slices"
	"sort"

	"github.com/balsadb/balsa/raft"
)

// group is what the log holds of one replicated log: its states, and where its entries are.
//
// The index is sparse. A span says where some entries of one group lie one behind the other (at most one batch's, and
// spanBytes at most): an entry in it is found by walking over the frames before it. So memory grows with the
// number of writes, not of entries: 24 bytes for each write of a group.
type group struct {
	id     raft.GroupID
	hard   raft.HardState
	commit raft.Index
	before raft.Position
	last   raft.Index
	terms  []raft.TermRun
	spans  []span

	// configurations are the entries that hold one, as recovery has met them. Once a log is open they are not kept up.
	configurations []raft.Entry

	// absent is 0 once a log is open. A replay that starts behind removed segments does not see entries up to absent, nor
	// knows their terms; in the end they must have been given up, or replaced.
	absent raft.Index

	// Of the writer alone:
	building   slot          // the group's place in the batch that is being built
	discarding raft.Position // entries up to it are to be given up with the next batch; zero, or above before
}

// span begins with entry first and ends before the next span's first, or at the group's last entry. bytes is the size
// of its frames when it was written: entries at its end may have been replaced since.
type span struct {
	first   raft.Index
	segment uint32
	offset  uint32
	bytes   uint32
}

// spanBytes bounds the walk to an entry.
const spanBytes = 128 << 10

// lastPosition returns the last entry's index and term.
func (g *group) lastPosition() raft.Position {
	if len(g.terms) == 0 {
		return g.before
	}
	return raft.Position{Index: g.last, Term: g.terms[len(g.terms)-1].Term}
}

// termAt returns the term of an index in [before, last]; of an absent entry, one that is not above it.
func (g *group) termAt(index raft.Index) raft.Term {
	n := sort.Search(len(g.terms), func(i int) bool { return g.terms[i].First > index })
	if n == 0 {
		return g.before.Term
	}
	return g.terms[n-1].Term
}

// restart begins the group's log anew after before.
func (g *group) restart(before raft.Position) {
	g.before, g.last = before, before.Index
	g.terms, g.spans, g.configurations, g.absent = nil, nil, nil, 0
}

// discard gives up the entries up to a position, which the log must hold.
func (g *group) discard(upTo raft.Position) error {
	if err := g.mayDiscard(upTo); err != nil {
		return err
	}
	g.before = upTo
	if g.absent <= upTo.Index {
		g.absent = 0
	}
	if upTo.Index == g.last {
		g.terms, g.spans = nil, nil
		return nil
	}
	next := upTo.Index + 1
	if n := sort.Search(len(g.terms), func(i int) bool { return g.terms[i].First > next }); n > 0 {
		g.terms = slices.Clone(g.terms[n-1:])
		g.terms[0].First = next
	}
	if n := sort.Search(len(g.spans), func(i int) bool { return g.spans[i].first > next }); n > 0 {
		g.spans = slices.Clone(g.spans[n-1:])
	}
	return nil
}

// mayDiscard says why the entries up to a position cannot be given up.
func (g *group) mayDiscard(upTo raft.Position) error {
	if upTo.Index <= g.before.Index || upTo.Index > g.last {
		return fmt.Errorf("group %d: giving up entries to %d of a log that holds %d to %d: %w", g.id, upTo.Index, g.before.Index+1, g.last, ErrNotInLog)
	}
	if term := g.termAt(upTo.Index); term != upTo.Term && upTo.Index > g.absent {
		return fmt.Errorf("group %d: giving up entries to %d of term %d, which is of term %d in the log: %w", g.id, upTo.Index, upTo.Term, term, ErrNotInLog)
	}
	return nil
}

// follows says why r cannot be appended: it must continue the log, or replace its end, in terms that do not fall.
func (g *group) follows(r run) error {
	if r.first <= g.before.Index || r.first > g.last+1 {
		return fmt.Errorf("group %d: entries from %d do not follow a log that holds %d to %d", r.group, r.first, g.before.Index+1, g.last)
	}
	if before := g.termAt(r.first - 1); r.term < before {
		return fmt.Errorf("group %d: entry %d of term %d does not follow one of term %d", r.group, r.first, r.term, before)
	}
	return nil
}

// append takes the entries of r into the index. frames are theirs; the first one is at the given place.
func (g *group) append(r run, frames []frame, at Position) {
	if r.first <= g.last {
		g.cut(r.first)
	}
	if n := len(g.terms); n == 0 || g.terms[n-1].Term != r.term {
		g.terms = append(g.terms, raft.TermRun{Term: r.term, First: r.first})
	}
	g.last = r.last()
	offset := at.Offset
	current := span{first: r.first, segment: uint32(at.Segment), offset: uint32(offset)}
	for i, f := range frames {
		if current.bytes > 0 && current.bytes+f.size > spanBytes {
			g.spans = append(g.spans, current)
			current = span{first: r.first + raft.Index(i), segment: uint32(at.Segment), offset: uint32(offset)}
		}
		current.bytes += f.size
		offset += int64(f.size)
	}
	g.spans = append(g.spans, current)
}

// cut forgets the entries from first on.
func (g *group) cut(first raft.Index) {
	for n := len(g.terms); n > 0 && g.terms[n-1].First >= first; n-- {
		g.terms = g.terms[:n-1]
	}
	for n := len(g.spans); n > 0 && g.spans[n-1].first >= first; n-- {
		g.spans = g.spans[:n-1]
	}
	for n := len(g.configurations); n > 0 && g.configurations[n-1].Index() >= first; n-- {
		g.configurations = g.configurations[:n-1]
	}
	g.last = first - 1
	g.absent = min(g.absent, g.last)
}

// locate returns the spans that hold entries [low, high), as many as are needed for maxBytes, behind dst, and the end of the last one.
func (g *group) locate(dst []span, low, high raft.Index, maxBytes int) (spans []span, end raft.Index) {
	first := sort.Search(len(g.spans), func(i int) bool { return g.spans[i].first > low }) - 1
	bytes := 0
	for i := first; i < len(g.spans) && g.spans[i].first < high; i++ {
		// The first span's entries before low do not count, but how many bytes they are is not known: one more span makes up for it.
		if i > first+1 && bytes >= maxBytes {
			return dst, g.spans[i].first
		}
		dst = append(dst, g.spans[i])
		if i > first {
			bytes += int(g.spans[i].bytes)
		}
	}
	return dst, high
}

// groups are all groups of a log, found by their id, and listed in its order.
type groups struct {
	byID   map[raft.GroupID]*group
	sorted []*group
}

func newGroups() *groups { return &groups{byID: map[raft.GroupID]*group{}} }

// get returns a group, making it where it is new.
func (t *groups) get(id raft.GroupID) *group {
	g := t.byID[id]
	if g == nil {
		g = &group{id: id}
		t.byID[id] = g
		n, _ := slices.BinarySearchFunc(t.sorted, id, func(g *group, id raft.GroupID) int {
			if g.id < id {
				return -1
			}
			return 1
		})
		t.sorted = slices.Insert(t.sorted, n, g)
	}
	return g
}

// apply takes a batch into account: this is how both Append and recovery change what the log knows. An error says that
// the batch does not follow from what is before it.
func (t *groups) apply(b *batch) error {
	for _, s := range b.states {
		g := t.get(s.group)
		if err := checkHardState(g.id, g.hard, s.hard); err != nil {
			return err
		}
		g.hard = s.hard
		switch {
		case s.restart:
			g.restart(s.before)
		case s.floor:
			if err := g.discard(s.before); err != nil {
				return err
			}
		}
	}
	next, at := 0, Position{b.at.Segment, b.at.Offset + b.header}
	for _, r := range b.runs {
		g := t.get(r.group)
		if err := g.follows(r); err != nil {
			return err
		}
		g.append(r, b.frames[next:next+int(r.count)], at)
		next += int(r.count)
		at.Offset += int64(r.bytes)
	}
	for _, e := range b.configurations {
		g := t.get(e.Group())
		g.configurations = append(g.configurations, e)
	}
	for _, s := range b.states {
		g := t.get(s.group)
		if s.commit > g.last {
			return fmt.Errorf("group %d: commit index %d is beyond the last entry %d", g.id, s.commit, g.last)
		}
		g.commit = max(g.commit, s.commit)
	}
	return nil
}

// checkHardState says why next may not follow now: a term never goes back, nor a vote within a term.
func checkHardState(id raft.GroupID, now, next raft.HardState) error {
	if next.Term < now.Term || next.Term == now.Term && now.Vote != 0 && next.Vote != now.Vote {
		return fmt.Errorf("group %d: term %d with a vote for %x does not follow term %d with a vote for %x",
			id, next.Term, uint64(next.Vote), now.Term, uint64(now.Vote))
	}
	return nil
}

// GroupState is what the log holds of one group.
type GroupState struct {
	Group     raft.GroupID
	HardState raft.HardState
	Commit    raft.Index     // the largest that was recorded
	Before    raft.Position  // the entry before the first one: the floor, where entries were discarded
	Runs      []raft.TermRun // terms of the entries, ascending
	Last      raft.Index     // Before.Index where there are no entries
	// Configurations are the entries that hold a configuration, in order.
	Configurations []raft.Entry
	// Damaged are entries that the log should hold and has lost; Doubt says that there were more of which that cannot be said.
	Damaged []LostRun
	Doubt   bool
}

// Restored returns the state in the protocol's words; applied is what the state machine already holds.
func (s GroupState) Restored(applied raft.Position) raft.Restored {
	return raft.Restored{
		HardState: s.HardState, Commit: s.Commit, Applied: applied, Before: s.Before, Runs: s.Runs, Last: s.Last, Configurations: s.Configurations,
	}
}

func (t *groups) states() []GroupState {
	states := make([]GroupState, len(t.sorted))
	for i, g := range t.sorted {
		states[i] = GroupState{Group: g.id, HardState: g.hard, Commit: g.commit, Before: g.before, Runs: slices.Clone(g.terms), Last: g.last}
		for _, e := range g.configurations {
			if e.Index() > g.before.Index {
				states[i].Configurations = append(states[i].Configurations, e)
			}
		}
		g.configurations = nil
	}
	return states
}
