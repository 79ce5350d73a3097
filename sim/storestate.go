package sim

import (
	"fmt"
	"io"
	"log/slog"

	cockroach "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/store"
)

// StoreState is the production store on an engine that a power cut throws back to its last flush.
type StoreState struct {
	*store.Store
	home   crashable
	bounds store.WatchBounds
	// onApply is told of each batch that was applied, onRestore of each state that was put in another's place.
	onApply   func(*balsa.Batch)
	onRestore func()
}

// crashable is a home that can lose its power.
type crashable interface {
	engine.Home
	// crash returns what a restart finds. The former home is not used any more.
	crash() crashable
}

// NewStoreState returns an empty store on the engine in memory.
func NewStoreState() (State, error) { return newStoreState("memory", store.WatchBounds{}) }

// NewVolatileState returns an empty store of which a restart finds nothing: it stands for embedders' state machines in memory.
func NewVolatileState() (State, error) { return newStoreState("none", store.WatchBounds{}) }

// NewPebbleState returns an empty store on Pebble, which is told to do nothing by itself: its files are no part of the trace.
func NewPebbleState() (State, error) { return newStoreState("pebble", store.WatchBounds{}) }

func openStoreState(home crashable, bounds store.WatchBounds) (State, error) {
	s, err := store.OpenHome(home, store.Options{Group: group, WatchBounds: bounds})
	if err != nil {
		return nil, err
	}
	return &StoreState{Store: s, home: home, bounds: bounds}, nil
}

// newStoreState returns an empty store on an engine (Plan.Engine).
func newStoreState(engineName string, bounds store.WatchBounds) (State, error) {
	switch engineName {
	case "pebble":
		return openStoreState(newPebbleHome(cockroach.NewCrashableMem()), bounds)
	case "none":
		return openStoreState(newVolatileHome(), bounds)
	}
	return openStoreState(memoryHome{engine.NewMemoryHome()}, bounds)
}

// Apply implements balsa.StateMachine.
func (s *StoreState) Apply(batch *balsa.Batch) error {
	err := s.Store.Apply(batch)
	if err == nil && s.onApply != nil {
		s.onApply(batch)
	}
	return err
}

// Restore implements balsa.Snapshotter.
func (s *StoreState) Restore(at balsa.Position, r io.Reader) error {
	err := s.Store.Restore(at, r)
	if err == nil && s.onRestore != nil {
		s.onRestore()
	}
	return err
}

// volatile reports whether a restart finds nothing of the state.
func (s *StoreState) volatile() bool {
	_, is := s.home.(volatileHome)
	return is
}

// machine returns what the runtime is to see: a state that is lost is one in memory, of which it writes snapshots.
func (s *StoreState) machine() balsa.StateMachine {
	if s.volatile() {
		return struct{ balsa.Snapshotter }{s}
	}
	return s
}

// PowerCut implements State.
func (s *StoreState) PowerCut() (State, error) { return openStoreState(s.home.crash(), s.bounds) }

// Digest implements State.
func (s *StoreState) Digest() string {
	digest, at := s.Store.Digest()
	return fmt.Sprintf("%v at revision %d, index %d", digest, s.Revision(), at.Index)
}

type memoryHome struct{ *engine.MemoryHome }

func (h memoryHome) crash() crashable { return memoryHome{h.Crash()} }

type volatileHome struct{ *engine.MemoryHome }

func newVolatileHome() crashable { return volatileHome{engine.NewMemoryHome()} }

func (volatileHome) crash() crashable { return newVolatileHome() }

// pebbleHome is a directory of Pebble on files in memory.
type pebbleHome struct {
	*pebble.Home
	files *cockroach.MemFS
}

// pebbleMemTable is more than a simulated run writes between two flushes, times four.
const pebbleMemTable = 4 << 20

func newPebbleHome(files *cockroach.MemFS) crashable {
	return pebbleHome{pebble.NewHome("state", pebble.Options{
		FS: files, Deterministic: true, MemTableBytes: pebbleMemTable, CacheBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	}), files}
}

func (h pebbleHome) crash() crashable {
	next := newPebbleHome(h.files.CrashClone(cockroach.CrashCloneCfg{}))
	// Nobody waits for the dead one: a turn that the power ended may have left a reader open, and then it never closes.
	go h.Home.Close() //balsa:edge what a life leaves behind shows in nothing
	return next
}

// Close ends the use of the store's engine.
func (s *StoreState) Close() error { return s.home.Close() }
