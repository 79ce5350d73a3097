package store

import (
	"errors"
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
	// WatchBounds bounds what is kept for watchers.
	WatchBounds WatchBounds
	// OnDamage is told that a read has met damage: records that contradict each other, where an engine saw nothing wrong. It is called
	// from reads, and must not block. What Apply meets it returns.
	OnDamage func(error)
}

// Store is the key-value model of one group. It implements balsa.DurableStateMachine and balsa.Snapshotter; reads may run
// concurrently with it and with each other.
type Store struct {
	layout
	home   engine.Home   // nil where the engine is shared
	engine *sharedEngine // for Apply, and for who holds collection.step; others have the state's

	// state is what readers see: it is replaced when a batch is visible in the engine.
	state atomic.Pointer[state]

	// writing orders the batches that reach the engine: those of Apply and those of CollectGarbage.
	writing sync.Mutex
	writer  execution
	failure error // of the engine; nothing is applied after it
	lost    error // why the state is of no use, nil where it is; see lose.go
	onError func(error)

	collection collection
	hub        hub
	news       leaseNews
	chunkBytes int64
}

// state is one moment of the store.
type state struct {
	engine *sharedEngine
	counters
	members members
	alarms  alarms
	quota   Quota
	leases  *leases
	census  *buckets // nil where it is not known
	digest  Digest
}

var (
	_ balsa.DurableStateMachine = (*Store)(nil)
	_ balsa.Snapshotter         = (*Store)(nil)
)

// Open opens a group's store in an engine, which may be empty, and may be shared with other groups. The engine stays the
// caller's to close. Such a store cannot Restore.
func Open(e engine.Engine, options Options) (*Store, error) { return open(e, nil, options) }

// OpenHome opens a group's store in the engine of a home, which is the group's alone: Restore replaces that engine. The
// home stays the caller's to close, and the store must not be used afterwards.
//
// A state that is damaged does not keep the store from being opened: Lost says why it is of no use, and Restore or Reset replace it.
func OpenHome(home engine.Home, options Options) (*Store, error) {
	e, err := home.Open()
	if err == nil {
		var s *Store
		if s, err = open(e, home, options); err == nil || !isDamage(err) {
			return s, err
		}
		_ = e.Close() // it is of no use, and what it says is known
		if condemned := home.Condemn(err.Error()); condemned != nil {
			return nil, errors.Join(err, condemned)
		}
	}
	if !isDamage(err) {
		return nil, err
	}
	return openLost(home, options, err)
}

func open(e engine.Engine, home engine.Home, options Options) (*Store, error) {
	s := &Store{home: home, layout: layout{uint64(options.Group)}, chunkBytes: defaultChunkBytes, onError: options.OnDamage}
	found, err := s.load(e)
	if err != nil {
		return nil, err
	}
	if s.hub.bounds = options.WatchBounds; s.hub.bounds == (WatchBounds{}) {
		s.hub.bounds = defaultWatchBounds
	}
	s.collection.moved.L = &s.collection.mu
	s.adopt(e, found, newUnflushed(found.counters.applied.Index, generationKeys))
	return s, s.forgetFlushed()
}

// publish shows readers the state that the writer has reached.
func (s *Store) publish() {
	e := &s.writer
	if len(e.touched) > 0 {
		e.shown = e.leases.Copy()
	}
	s.state.Store(&state{
		engine: s.engine, counters: e.counters, members: e.members, alarms: e.alarms, quota: e.quota, leases: e.shown,
		census: e.census.show(), digest: e.counters.digest(&e.hasher),
	})
}

// Applied implements balsa.DurableStateMachine.
func (s *Store) Applied() (balsa.Position, error) { return s.state.Load().applied, nil }

// Durable implements balsa.DurableStateMachine.
func (s *Store) Durable() (balsa.Position, error) {
	now := s.use()
	defer now.engine.leave()
	value, err := now.engine.Durable().Get(s.single(spaceMeta))
	if errors.Is(err, engine.ErrNotFound) {
		return balsa.Position{}, nil
	}
	if err != nil {
		return balsa.Position{}, damaged(err)
	}
	durable, err := decodeCounters(value)
	return durable.applied, damaged(err)
}

// Flush implements balsa.DurableStateMachine. It may run concurrently with Apply.
func (s *Store) Flush() error {
	now := s.use()
	defer now.engine.leave()
	return damaged(now.engine.Flush())
}

// Runtime returns what the last batch that had a Runtime held; nil where none had.
func (s *Store) Runtime() ([]byte, error) {
	now := s.use()
	defer now.engine.leave()
	value, err := now.engine.Get(s.single(spaceRuntime))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	return value, damaged(err)
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
func (s *Store) DiskBytes() uint64 {
	now := s.use()
	defer now.engine.leave()
	return now.engine.DiskBytes()
}

// Members returns what members have published, in the order of their ids. Do not change what it points to.
func (s *Store) Members() []*pb.Member {
	all := s.state.Load().members
	list := make([]*pb.Member, len(all))
	for i := range all {
		list[i] = all[i].attributes
	}
	return list
}
