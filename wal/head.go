package wal

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// head starts a segment. It repeats what all groups were at when the segment before it ended, so that a group which
// is idle for ever needs no old segment for its term and vote.
//
//	16  u64  cluster, member, 16 bytes data directory
//	48  u64  number of the segment
//	56  u64  where the segment before it ended: all of that was durable before this head was written; 0 for the first
//	64  u64  number of groups
//	72       groups × 64: group, term, vote, commit, index and term before the first entry, index and term of the last
type head struct {
	identity    Identity
	segment     uint64
	previousEnd int64
	groups      []checkpoint
	size        int64
	sizeOnDisk  int64 // of one that is made anew: as much as the place has
}

// checkpoint is a group's state at the start of a segment.
type checkpoint struct {
	group        raft.GroupID
	hard         raft.HardState
	commit       raft.Index
	before, last raft.Position
}

const (
	headFixed      = 72
	checkpointSize = 64
)

func headSize(groups int) int64 { return headFixed + int64(groups)*checkpointSize }

// mark is what the head vouches for: the end of the segment before it.
func (h *head) mark() Position {
	if h.segment <= 1 {
		return Position{}
	}
	return Position{h.segment - 1, h.previousEnd}
}

func (w *writer) identity(id Identity) {
	w.u64(id.Cluster)
	w.u64(uint64(id.Member))
	w.b = append(w.b, id.DataDir[:]...)
}

func (r *reader) identity() (id Identity) {
	id.Cluster, id.Member = r.u64(), raft.MemberID(r.u64())
	copy(id.DataDir[:], r.b)
	r.b = r.b[16:]
	return id
}

func (h *head) encode() []byte {
	w := writer{make([]byte, prefixSize, headSize(len(h.groups)))}
	w.identity(h.identity)
	w.u64(h.segment)
	w.u64(uint64(h.previousEnd))
	w.u64(uint64(len(h.groups)))
	for _, c := range h.groups {
		w.u64(uint64(c.group))
		w.u64(uint64(c.hard.Term))
		w.u64(uint64(c.hard.Vote))
		w.u64(uint64(c.commit))
		w.u64(uint64(c.before.Index))
		w.u64(uint64(c.before.Term))
		w.u64(uint64(c.last.Index))
		w.u64(uint64(c.last.Term))
	}
	seal(w.b, magicSegment, 0, 0)
	h.size = int64(len(w.b))
	return w.b
}

// decodeHead reads a whole head whose checksum is good.
func decodeHead(b []byte) (*head, error) {
	r := reader{b[prefixSize:]}
	h := &head{identity: r.identity(), segment: r.u64(), previousEnd: int64(r.u64()), size: int64(len(b))}
	n := r.u64()
	if n > uint64(len(r.b)/checkpointSize) || h.previousEnd < 0 {
		return nil, errors.New("the head of the segment contradicts itself")
	}
	for range n {
		c := checkpoint{group: raft.GroupID(r.u64())}
		c.hard = raft.HardState{Term: raft.Term(r.u64()), Vote: raft.MemberID(r.u64())}
		c.commit = raft.Index(r.u64())
		c.before = raft.Position{Index: raft.Index(r.u64()), Term: raft.Term(r.u64())}
		c.last = raft.Position{Index: raft.Index(r.u64()), Term: raft.Term(r.u64())}
		h.groups = append(h.groups, c)
	}
	return h, nil
}

// checkpoints returns the state of all groups, in order.
func (t *groups) checkpoints() []checkpoint {
	list := make([]checkpoint, len(t.sorted))
	for i, g := range t.sorted {
		list[i] = checkpoint{group: g.id, hard: g.hard, commit: g.commit, before: g.before, last: g.lastPosition()}
	}
	return list
}

// seed starts a replay with what the head of its first segment says. The entries that it tells of were in segments that are
// removed.
func (t *groups) seed(list []checkpoint) {
	for _, c := range list {
		if c == (checkpoint{group: c.group}) {
			continue // it was about to get its first batch
		}
		g := t.get(c.group)
		g.hard, g.commit, g.before, g.last = c.hard, c.commit, c.before, c.last.Index
		if c.last.Index > c.before.Index {
			g.absent = c.last.Index
			g.terms = []raft.TermRun{{Term: c.last.Term, First: c.last.Index}}
		}
	}
}

// absent returns the entries that nobody gave up and that were in segments which are not there.
func (t *groups) absent() (lost []LostRun) {
	for _, g := range t.sorted {
		if g.absent > g.before.Index {
			lost = append(lost, LostRun{Group: g.id, First: g.before.Index + 1, Last: g.absent})
		}
	}
	return lost
}

// agree compares the replayed groups with a checkpoint. What the checkpoint has and the groups lack was lost.
func (t *groups) agree(list []checkpoint) (lost []LostRun, err error) {
	for _, c := range list {
		g := t.byID[c.group]
		if g == nil {
			g = &group{id: c.group}
		}
		if g.hard == c.hard && g.commit == c.commit && g.before == c.before && g.lastPosition() == c.last {
			continue
		}
		if c.last.Index > g.last {
			lost = append(lost, LostRun{Group: c.group, First: g.last + 1, Last: c.last.Index})
		}
		if err == nil {
			err = fmt.Errorf("before it, group %d had come to entry %d of term %d, commit index %d, term %d and a vote for %x; what is there comes to entry %d of term %d, commit index %d, term %d and a vote for %x",
				c.group, c.last.Index, c.last.Term, c.commit, c.hard.Term, uint64(c.hard.Vote),
				g.last, g.lastPosition().Term, g.commit, g.hard.Term, uint64(g.hard.Vote))
		}
	}
	if err == nil && len(t.sorted) > len(list) {
		err = fmt.Errorf("before it there were %d groups, what is there has %d", len(list), len(t.sorted))
	}
	return lost, err
}
