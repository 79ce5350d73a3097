package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// cutBehindDurable: a log gives up no entry that its member's state would not have after a power cut (E30). States that live in
// memory start from a snapshot; of those the next start tells.
type cutBehindDurable struct {
	tally
	firsts map[*life]raft.Index
}

func (*cutBehindDurable) name() string { return "logs are cut behind what is durable" }

func (c *cutBehindDurable) turned(h *Host, s *raft.Status) error {
	if s.First == c.firsts[h.life] || h.State.(*StoreState).volatile() {
		return nil
	}
	c.firsts[h.life] = s.First
	if s.First > 1 {
		c.judges()
	}
	if durable := h.durable(); balsa.Index(s.First) > durable+1 {
		return fmt.Errorf("member %d's log begins at index %d, and its state is durable up to %d", h.ID, s.First, durable)
	}
	return nil
}

func (*cutBehindDurable) began(*Host, *raft.Status) error { return nil }

func (c *cutBehindDurable) ended(h *Host) error {
	delete(c.firsts, h.life)
	return nil
}
