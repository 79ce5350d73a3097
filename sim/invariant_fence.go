package sim

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// notFenced: a member stops on its own only where its disk has failed. Panics and failed assertions of ours end as fences too,
// and so are found here. An operator starts a member again that had a reason.
type notFenced struct {
	tally
	run *run
}

func (*notFenced) name() string { return "members stop only when their disk fails" }

func (f *notFenced) turned(h *Host, _ *raft.Status) error {
	f.judges()
	err := h.runtime.Err()
	if err == nil {
		err = h.Group.Err()
	}
	if err == nil {
		return nil
	}
	if !h.disk.wasHurt(h.life) {
		return fmt.Errorf("member %d: %w", h.ID, err)
	}
	l, r := h.life, f.run
	if l.fenced {
		return nil
	}
	l.fenced = true
	r.counters["members fenced by their disk"]++
	r.world.After(r.world.Between(0, 2*r.plan.ElectionTimeout), func() {
		if l.over {
			return
		}
		if r.world.Chance(2) {
			h.Kill()
		} else {
			h.Crash()
		}
		r.start(h)
	})
	return nil
}
