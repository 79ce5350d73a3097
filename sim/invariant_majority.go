package sim

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// committedOnMajority: what a leader takes for committed is in the logs of a majority, and durable there as far as those
// members know (paper §5.3). A member that is down may have it. What disks really hold is asked by durable, now and then.
type committedOnMajority struct {
	tally
	run     *run
	commits map[*life]raft.Index
}

func (*committedOnMajority) name() string { return "committed is on a majority" }

func (c *committedOnMajority) turned(h *Host, s *raft.Status) error {
	if s.Role != raft.Leader || s.Commit <= c.commits[h.life] {
		return nil
	}
	c.commits[h.life] = s.Commit
	term, known := h.life.protocol.TermAt(s.Commit)
	if !known || term != s.Term {
		return nil // a snapshot brought it
	}
	c.judges()
	m := h.life.protocol.Membership()
	q := c.run.quorum(&m.ConfigurationAt, func(other *Host) bool { return !other.Up() || other.has(raft.Position{Index: s.Commit, Term: term}) })
	if q.holds() {
		return nil
	}
	return fmt.Errorf("member %d, leader of term %d, takes index %d for committed, which is durable in the logs of %v (configuration of index %d)",
		h.ID, s.Term, s.Commit, q, m.Index)
}

// has reports whether a member's log has an entry and takes it for durable.
func (h *Host) has(at raft.Position) bool {
	s := h.life.protocol.Status()
	if at.Index < s.First {
		return true
	}
	term, known := h.life.protocol.TermAt(at.Index)
	return known && term == at.Term && s.Stable >= at.Index
}

func (*committedOnMajority) began(*Host, *raft.Status) error { return nil }

func (c *committedOnMajority) ended(h *Host) error {
	delete(c.commits, h.life)
	return nil
}
