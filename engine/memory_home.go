package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// MemoryHome is a Home of Memory engines.
type MemoryHome struct {
	mu      sync.Mutex
	current *Memory
	next    *Memory   // between Begin and Commit or Abort
	former  []*Memory // those that may still be open

	condemned string // why the current one is of no use
}

var _ Home = (*MemoryHome)(nil)

// NewMemoryHome returns a home whose engine is empty.
func NewMemoryHome() *MemoryHome { return &MemoryHome{current: NewMemory()} }

// Crash returns the home that a restart after a power cut would find. The engines of the old one are closed.
func (h *MemoryHome) Crash() *MemoryHome {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next != nil {
		_ = h.next.Close()
	}
	return &MemoryHome{current: h.current.Crash(), condemned: h.condemned}
}

// Open implements Home.
func (h *MemoryHome) Open() (Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.condemned != "" {
		return nil, fmt.Errorf("%w: the state was found to be of no use earlier: %s", ErrDamaged, h.condemned)
	}
	return h.current, nil
}

// Condemn implements Home.
func (h *MemoryHome) Condemn(reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.condemned = reason
	return nil
}

// Begin implements Home.
func (h *MemoryHome) Begin() (Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next != nil {
		return nil, errors.New("engine: a new engine was begun already: Commit or Abort it first")
	}
	h.next = NewMemory()
	return h.next, nil
}

// Commit implements Home.
func (h *MemoryHome) Commit(next Engine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(next); err != nil {
		return err
	}
	if err := h.next.Flush(); err != nil {
		return err
	}
	h.former = append(slices.DeleteFunc(h.former, (*Memory).isClosed), h.current)
	h.current, h.next, h.condemned = h.next, nil, ""
	return nil
}

// Abort implements Home.
func (h *MemoryHome) Abort(next Engine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(next); err != nil {
		return err
	}
	h.next = nil
	return next.Close()
}

func (h *MemoryHome) check(next Engine) error {
	if h.next == nil || next != Engine(h.next) {
		return fmt.Errorf("engine: a %T that Begin did not return", next)
	}
	return nil
}

// Close implements Home.
func (h *MemoryHome) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append(h.former, h.current)
	if h.next != nil {
		all = append(all, h.next)
	}
	var errs []error
	for _, e := range all {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}

func (m *Memory) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}
