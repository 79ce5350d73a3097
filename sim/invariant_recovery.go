package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// recoveredFirst: a member serves nothing after a restart before its state is where its log had recorded it to be (E50).
type recoveredFirst struct {
	tally
	recorded map[*life]raft.Index
}

func (*recoveredFirst) name() string { return "nothing is served before recovery" }

func (r *recoveredFirst) began(h *Host, s *raft.Status) error {
	r.recorded[h.life] = s.Commit
	return nil
}

func (r *recoveredFirst) turned(h *Host, _ *raft.Status) error {
	recorded, waits := r.recorded[h.life]
	if !waits || !h.Group.Recovered() {
		return nil
	}
	delete(r.recorded, h.life)
	if recorded > 0 {
		r.judges()
	}
	if applied := h.Group.Applied(); applied < balsa.Index(recorded) {
		return fmt.Errorf("member %d is said to be recovered with index %d applied; its log had recorded %d as committed", h.ID, applied, recorded)
	}
	return nil
}

func (r *recoveredFirst) ended(h *Host) error {
	delete(r.recorded, h.life)
	return nil
}
