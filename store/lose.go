package store

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
)

// A state that is of no use is given up in two steps: it is condemned, durably, so that no restart takes it for good; and what was stored is
// removed once another state has taken its place, which is Restore's doing, or Reset's. In between the store has nothing to show: whoever
// serves reads asks the group whether there is a state (balsa.Group.Recovered), and what a read that began before may still find is checked
// by the engine.

var _ balsa.Rebuilder = (*Store)(nil)

// isDamage reports whether an error says that the stored state is damaged: its bytes, as the engine sees them, or its records.
func isDamage(err error) bool {
	return errors.Is(err, engine.ErrDamaged) || errors.Is(err, errCorrupt)
}

// damaged marks an error that says so for the runtime.
func damaged(err error) error {
	if isDamage(err) {
		return fmt.Errorf("%w: %w", balsa.ErrStateDamaged, err)
	}
	return err
}

// openLost returns a store without a state. An empty engine that lives nowhere stands in for one until there is one.
func openLost(home engine.Home, options Options, why error) (*Store, error) {
	s, err := open(engine.NewMemory(), home, options)
	if err != nil {
		return nil, errors.Join(why, err)
	}
	s.lost = damaged(why)
	s.failure = s.lost
	return s, nil
}

// Lost implements balsa.Rebuilder.
func (s *Store) Lost() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.lost
}

// Lose implements balsa.Rebuilder.
func (s *Store) Lose(cause error) error {
	if s.home == nil {
		return errors.New("store: the engine is shared with others and cannot be replaced: open the store with OpenHome")
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.home.Condemn(cause.Error()); err != nil {
		return err
	}
	s.lost, s.failure = cause, cause
	return nil
}

// Reset implements balsa.Rebuilder.
func (s *Store) Reset() error {
	if s.home == nil || s.Lost() == nil {
		return errors.New("store: only a state that was given up is replaced by an empty one")
	}
	next, err := s.home.Begin()
	if err != nil {
		return err
	}
	found, err := s.load(next)
	if err == nil {
		err = s.turnTo(next, found)
	}
	if err != nil {
		return errors.Join(err, s.home.Abort(next))
	}
	return nil
}

// noticed passes on that a read has met damage.
func (s *Store) noticed(err error) error {
	if err != nil && isDamage(err) {
		err = damaged(err)
		if s.onError != nil {
			s.onError(err)
		}
	}
	return err
}
