package sim

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// electionSafety: at most one leader is elected in a term, for ever and not just at one moment (paper §5.2).
type electionSafety struct {
	tally
	leaders map[raft.Term]raft.MemberID
}

func (*electionSafety) name() string { return "election safety" }

func (e *electionSafety) turned(h *Host, s *raft.Status) error {
	if s.Role != raft.Leader {
		return nil
	}
	switch known := e.leaders[s.Term]; known {
	case 0:
		e.judges()
		e.leaders[s.Term] = h.ID
	case h.ID:
	default:
		return fmt.Errorf("members %d and %d both led in term %d", known, h.ID, s.Term)
	}
	return nil
}
