package sim

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// bounded: no queue grows without end. The protocol's own bounds are checked with its invariants; these are the mailboxes of
// the actors, and what waits for an answer.
type bounded struct {
	tally
	run     *run
	longest int
}

// mailboxBound is far above what clients, members and links of a run can have under way at once.
const mailboxBound = 5000

func (*bounded) name() string { return "queues are bounded" }

func (b *bounded) turned(h *Host, _ *raft.Status) error {
	for _, t := range h.life.tasks {
		for _, box := range t.boxes {
			n := box.Len()
			b.longest = max(b.longest, n)
			if n > 0 {
				b.judges()
			}
			if n > mailboxBound && !h.life.paused {
				return fmt.Errorf("%d messages wait for the %s of member %d", n, t.name, h.ID)
			}
		}
	}
	if c := h.Group.Counters(); c.Pending > mailboxBound || c.Reading > mailboxBound {
		return fmt.Errorf("member %d has %d proposals and %d reads without an answer", h.ID, c.Pending, c.Reading)
	}
	return nil
}

func (b *bounded) finish() error {
	b.run.raise("messages in one mailbox", uint64(b.longest))
	for _, h := range b.run.cluster.Hosts {
		if c := h.Group.Counters(); c.Pending > 0 || c.Reading > 0 {
			return fmt.Errorf("at rest member %d has %d proposals and %d reads without an answer", h.ID, c.Pending, c.Reading)
		}
	}
	return nil
}
