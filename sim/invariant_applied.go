package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// appliedNotAboveCommit: nothing is applied that is not committed; and what else must hold within one member, as the
// protocol's own checks know it. A snapshot is applied a little before the member's protocol hears of it: then others know
// that what it holds is committed.
type appliedNotAboveCommit struct {
	tally
	turns     int
	committed balsa.Index           // the highest that any member has known
	snapshots map[*life]balsa.Index // how far a snapshot has brought a member
}

func (*appliedNotAboveCommit) name() string { return "applied is not above commit" }

func (a *appliedNotAboveCommit) turned(h *Host, s *raft.Status) error {
	a.committed = max(a.committed, s.Commit)
	if machine := h.Group.Applied(); machine > max(s.Commit, a.snapshots[h.life]) {
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
	a.judges()
	if commit := h.life.protocol.Status().Commit; batch.Position.Index > commit {
		return fmt.Errorf("member %d applied index %d and knows up to %d to be committed", h.ID, batch.Position.Index, commit)
	}
	return nil
}

func (a *appliedNotAboveCommit) restored(h *Host) error {
	_, at := h.State.(*StoreState).Store.Digest()
	if at.Index > a.committed {
		return fmt.Errorf("member %d was given a snapshot at index %d, and nobody knows more than %d to be committed", h.ID, at.Index, a.committed)
	}
	a.snapshots[h.life] = at.Index
	return nil
}
