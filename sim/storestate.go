package sim

import (
	"fmt"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/store"
)

// StoreState is the production store on the in-memory engine, which a power cut throws back to its last flush.
type StoreState struct {
	*store.Store
	home *engine.MemoryHome
}

// NewStoreState returns an empty store.
func NewStoreState() (State, error) { return openStoreState(engine.NewMemoryHome()) }

func openStoreState(home *engine.MemoryHome) (State, error) {
	s, err := store.OpenHome(home, store.Options{Group: group})
	if err != nil {
		return nil, err
	}
	return &StoreState{s, home}, nil
}

// PowerCut implements State.
func (s *StoreState) PowerCut() (State, error) { return openStoreState(s.home.Crash()) }

// Digest implements State.
func (s *StoreState) Digest() string {
	digest, at := s.Store.Digest()
	return fmt.Sprintf("%v at revision %d, index %d", digest, s.Revision(), at.Index)
}
