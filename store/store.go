package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Options says which store is opened.
type Options struct {
	// Group is the group whose state this is: stores of different groups share an engine without seeing each other.
	Group balsa.GroupID
}

// Store is the key-value model of one group. It implements balsa.DurableStateMachine; reads may run concurrently
// with it and with each other.
type Store struct {
	layout
	engine engine.Engine

	// state is what readers see: it is replaced when a batch is visible in the engine.
	state atomic.Pointer[state]

	// writing orders the batches that reach the engine: those of Apply and those of CollectGarbage.
	writing sync.Mutex
	writer  execution
	failure error // of the engine; nothing is applied after it

	collection collection
	chunkBytes int64
}

// state is one moment of the store.
type state struct {
	counters
	members members
	digest  Digest
}

var _ balsa.DurableStateMachine = (*Store)(nil)

// Open opens a group's store in an engine, which may be empty. The engine stays the caller's to close.
func Open(e engine.Engine, options Options) (*Store, error) {
	s := &Store{engine: e, layout: layout{uint64(options.Group)}, chunkBytes: defaultChunkBytes}
	found := newCounters()
	value, err := e.Get(s.single(spaceMeta))
	if err == nil {
		found, err = decodeCounters(value)
	}
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return nil, fmt.Errorf("store: opening group %d: %w", options.Group, err)
	}
	all, err := loadMembers(e, s.layout)
	if err != nil {
		return nil, fmt.Errorf("store: opening group %d: %w", options.Group, err)
	}
	if err := s.collection.load(e, s.layout, found.compacted); err != nil {
		return nil, fmt.Errorf("store: opening group %d: %w", options.Group, err)
	}
	s.writer = execution{
		view:     view{layout: s.layout, reader: e, overlay: newOverlay()},
		durable:  view{layout: s.layout, reader: e.Durable()},
		counters: found, members: all, batch: e.NewBatch(),
		recent: newRecent(defaultRecentKeys), unflushed: newUnflushed(found.applied.Index, generationKeys),
	}
	if err := s.forgetFlushed(); err != nil {
		return nil, err
	}
	s.publish()
	return s, nil
}

// publish shows readers the state that the writer has reached.
func (s *Store) publish() {
	e := &s.writer
	s.state.Store(&state{counters: e.counters, members: e.members, digest: e.counters.digest(&e.hasher)})
}

// Applied implements balsa.DurableStateMachine.
func (s *Store) Applied() (balsa.Position, error) { return s.state.Load().applied, nil }

// Durable implements balsa.DurableStateMachine.
func (s *Store) Durable() (balsa.Position, error) {
	value, err := s.engine.Durable().Get(s.single(spaceMeta))
	if errors.Is(err, engine.ErrNotFound) {
		return balsa.Position{}, nil
	}
	if err != nil {
		return balsa.Position{}, err
	}
	durable, err := decodeCounters(value)
	return durable.applied, err
}

// Flush implements balsa.DurableStateMachine. It may run concurrently with Apply.
func (s *Store) Flush() error { return s.engine.Flush() }

// Runtime returns what the last batch that had a Runtime held; nil where none had.
func (s *Store) Runtime() ([]byte, error) {
	value, err := s.engine.Get(s.single(spaceRuntime))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Revision returns the current revision.
func (s *Store) Revision() int64 { return s.state.Load().revision }

// CompactRevision returns the compact revision: the oldest that can be read. It is −1 before the first compaction.
func (s *Store) CompactRevision() int64 { return s.state.Load().compacted }

// Digest returns the digest of the state, and the position in the log that it is of. Replicas with the same
// position have the same digest, whatever their engines have removed or kept.
func (s *Store) Digest() (Digest, balsa.Position) {
	now := s.state.Load()
	return now.digest, now.applied
}

// Size returns the logical size of the database in bytes: keys, values and a constant for each version that no
// compaction has dropped. It is the same on every replica.
func (s *Store) Size() int64 { return int64(s.state.Load().retained().size) }

// SizeInUse returns Size: a logical size has no holes.
func (s *Store) SizeInUse() int64 { return s.Size() }

// DiskBytes returns the physical size of the engine.
func (s *Store) DiskBytes() uint64 { return s.engine.DiskBytes() }

// Members returns what members have published, in the order of their ids. Do not change what it points to.
func (s *Store) Members() []*pb.Member {
	all := s.state.Load().members
	list := make([]*pb.Member, len(all))
	for i := range all {
		list[i] = all[i].attributes
	}
	return list
}
