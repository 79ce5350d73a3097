package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// completeness: what is committed is in the log of every later leader, and is the same entry on every member
// (leader completeness and state-machine safety, paper §5.4).
type completeness struct {
	tally
	run *run
	// terms are those of the committed entries: terms[i] is that of index i.
	terms   []raft.Term
	commits map[balsa.MemberID]raft.Index // as far as it was looked at
	reigns  map[balsa.MemberID]raft.Term  // the last one that was looked at
}

func newCompleteness(r *run) *completeness {
	return &completeness{
		run: r, terms: []raft.Term{0}, commits: map[balsa.MemberID]raft.Index{}, reigns: map[balsa.MemberID]raft.Term{},
	}
}

func (*completeness) name() string { return "leader completeness" }

func (c *completeness) turned(h *Host, s *raft.Status) error {
	i := h.ID
	if s.Role == raft.Leader && c.reigns[i] != s.Term {
		c.reigns[i] = s.Term
		if err := c.checkLeader(h, s); err != nil {
			return err
		}
	}
	if s.Commit < c.commits[i] {
		c.commits[i] = s.Commit // a new life
	}
	for index := c.commits[i] + 1; index <= s.Commit; index++ {
		if err := c.committed(h, index); err != nil {
			return err
		}
	}
	c.commits[i] = s.Commit
	return nil
}

// committed compares an entry that a member knows to be committed with what is known of it.
func (c *completeness) committed(h *Host, index raft.Index) error {
	term, ok := h.life.protocol.TermAt(index)
	if !ok {
		return nil // it came with a snapshot
	}
	for raft.Index(len(c.terms)) <= index {
		c.terms = append(c.terms, 0)
	}
	switch known := c.terms[index]; known {
	case 0:
		c.terms[index] = term
	case term:
		c.judges()
	default:
		return fmt.Errorf("index %d is committed with term %d, and on member %d with term %d", index, known, h.ID, term)
	}
	return nil
}

// checkLeader looks for all that is committed in the log of a new leader.
func (c *completeness) checkLeader(h *Host, s *raft.Status) error {
	for index := raft.Index(len(c.terms)) - 1; index >= max(s.First, 1); index-- {
		committed := c.terms[index]
		if committed == 0 || committed > s.Term {
			continue
		}
		c.judges()
		if term, ok := h.life.protocol.TermAt(index); !ok || term != committed {
			return fmt.Errorf("member %d leads in term %d without index %d of term %d, which is committed (it has term %d there, and ends at %d)",
				h.ID, s.Term, index, committed, term, s.Last)
		}
	}
	return nil
}
