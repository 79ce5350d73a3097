package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// appliedNotAboveCommit: nothing is applied that is not committed; and what else must hold within one member, as the
// protocol's own checks know it.
type appliedNotAboveCommit struct{ turns int }

func (*appliedNotAboveCommit) name() string { return "applied is not above commit" }

func (a *appliedNotAboveCommit) turned(h *Host, s *raft.Status) error {
	if machine := h.Group.Applied(); machine > s.Commit {
		return fmt.Errorf("member %d has applied index %d and knows up to %d to be committed", h.ID, machine, s.Commit)
	}
	if err := h.life.protocol.CheckInvariants(); err != nil {
		return err
	}
	if a.turns++; a.turns%32 == 0 {
		return h.life.protocol.CheckEntries()
	}
	return nil
}

func (a *appliedNotAboveCommit) applied(h *Host, batch *balsa.Batch) error {
	if commit := h.life.protocol.Status().Commit; batch.Position.Index > commit {
		return fmt.Errorf("member %d applied index %d and knows up to %d to be committed", h.ID, batch.Position.Index, commit)
	}
	return nil
}
