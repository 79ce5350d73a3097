package sim

import (
	"context"
	"fmt"
)

// soundStates: at rest each member's state agrees with itself, record by record, and all have the same hash of what their
// compactions retain, however far each has removed the rest.
type soundStates struct {
	tally
	run *run
}

func (*soundStates) name() string { return "states are sound" }

func (s *soundStates) finish() error {
	var hashes [2]uint32
	for i, h := range s.run.cluster.Hosts {
		state := h.State.(*StoreState)
		if err := state.Verify(context.Background()); err != nil {
			return fmt.Errorf("member %d: %w", h.ID, err)
		}
		whole, _, err := state.Hash(context.Background())
		if err != nil {
			return fmt.Errorf("member %d: %w", h.ID, err)
		}
		kept, _, _, err := state.HashKV(context.Background(), 0)
		if err != nil {
			return fmt.Errorf("member %d: %w", h.ID, err)
		}
		if now := [2]uint32{whole, kept}; i == 0 {
			hashes = now
			s.judges()
		} else if now != hashes {
			return fmt.Errorf("member %d has the hashes %x, member %d %x", s.run.cluster.Hosts[0].ID, hashes, h.ID, now)
		}
	}
	return nil
}
