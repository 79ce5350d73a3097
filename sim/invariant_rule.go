package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// commitRule: a leader raises its commit index through entries of its own term only (paper §5.4.2). Where it does not, figure 8 is
// needed before anything is lost; so the rule is looked at, too. What a snapshot has brought is committed whatever its term.
type commitRule struct {
	tally
	commits   map[*life]raft.Index
	snapshots map[*life]balsa.Index
}

func newCommitRule() *commitRule {
	return &commitRule{commits: map[*life]raft.Index{}, snapshots: map[*life]balsa.Index{}}
}

func (*commitRule) name() string { return "leaders commit through their own term" }

func (c *commitRule) turned(h *Host, s *raft.Status) error {
	was := c.commits[h.life]
	c.commits[h.life] = s.Commit
	if s.Role != raft.Leader || s.Commit <= max(was, c.snapshots[h.life]) {
		return nil
	}
	term, known := h.life.protocol.TermAt(s.Commit)
	if known {
		c.judges()
	}
	if known && term != s.Term {
		return fmt.Errorf("member %d, leader of term %d, raised its commit index from %d to %d, an entry of term %d",
			h.ID, s.Term, was, s.Commit, term)
	}
	return nil
}

func (c *commitRule) restored(h *Host) error {
	_, at := h.State.(*StoreState).Store.Digest()
	c.snapshots[h.life] = at.Index
	return nil
}

func (c *commitRule) began(h *Host, s *raft.Status) error {
	c.commits[h.life] = s.Commit
	return nil
}

func (c *commitRule) ended(h *Host) error {
	delete(c.commits, h.life)
	delete(c.snapshots, h.life)
	return nil
}
