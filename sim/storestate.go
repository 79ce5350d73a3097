package sim

import (
	"fmt"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/store"
)

// StoreState is the production store on the in-memory engine, which a power cut throws back to its last flush.
type StoreState struct {
	*store.Store
	engine *engine.Memory
}

// NewStoreState returns an empty store.
func NewStoreState() (State, error) { return openStoreState(engine.NewMemory()) }

func openStoreState(e *engine.Memory) (State, error) {
	s, err := store.Open(e, store.Options{Group: group})
	if err != nil {
		return nil, err
	}
	return &StoreState{s, e}, nil
}

// PowerCut implements State.
func (s *StoreState) PowerCut() (State, error) { return openStoreState(s.engine.Crash()) }

// Digest implements State.
func (s *StoreState) Digest() string {
	digest, at := s.Store.Digest()
	return fmt.Sprintf("%v at revision %d, index %d", digest, s.Revision(), at.Index)
}
