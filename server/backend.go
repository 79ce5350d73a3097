package server

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// Group is the replicated group, as far as this package needs it.
type Group interface {
	// ProposeEntry has a sealed entry replicated, and calls done exactly once: when it was applied here, or when
	// its outcome is known to be none or unknown. done must not block.
	ProposeEntry(entry raft.Entry, timeout time.Duration, done func(balsa.Result, error))
	// ReadAsync calls done once everything that was committed when it was called is applied here. done must not block.
	ReadAsync(done func(raft.Index, error))
	// TransferAsync makes another member the leader, and calls done once this member knows that it is, or that it did not come about.
	// done must not block.
	TransferAsync(to raft.MemberID, done func(error))
	// ChangeMembersAsync changes who takes part, and calls done once that is committed and applied here, or will not be. done must not block.
	ChangeMembersAsync(options balsa.ChangeOptions, changes []balsa.Change, timeout time.Duration, done func(raft.ConfigurationAt, error))
	// Settled returns who takes part, as of what this member has applied; no seats where the group cannot tell. It is cheap.
	Settled() raft.ConfigurationAt
	// Leadership returns who leads, as far as this member knows. It is cheap.
	Leadership() raft.Leadership
	// Counters returns what the group has counted. It is cheap.
	Counters() balsa.Counters
	// Err returns why the group does not work on this member any more; nil while it does. It is cheap.
	Err() error
	// Lost returns why the store's state is of no use and is being rebuilt, nil while it has one. Nothing is read from it meanwhile. It is cheap.
	Lost() error
	// Ready is closed once the store has caught up with what this member's own log knew to be committed when it
	// was started. Nothing is read from the store before (E50).
	Ready() <-chan struct{}
}

// Store is the state machine, as far as this package reads it: *store.Store. What it returns has a header with the
// revision alone; errors are those of the API (rpctypes).
type Store interface {
	// Range answers from the state as it is now, or as it was at the request's revision.
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	// RangeChunks hands a range out in parts, in order and of one revision. Header, more and count are on the last part only.
	RangeChunks(ctx context.Context, r *pb.RangeRequest, send func(*pb.RangeResponse) error) error
	// ReadTxn evaluates a transaction that holds no writes, all of it at one revision.
	ReadTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error)
	// Hash is a checksum of all that members agree on, at the current revision.
	Hash(ctx context.Context) (hash uint32, revision int64, err error)
	// HashKV is a checksum of the keys up to a revision (0: the current one); it tells which, and the compact revision.
	HashKV(ctx context.Context, revision int64) (hash uint32, compacted, hashed int64, err error)
	// WaitCollected returns once what a compaction made superfluous is gone from the engine.
	WaitCollected(ctx context.Context, compacted int64) error
	// Snapshot remembers the state as it is now.
	Snapshot() (balsa.Snapshot, error)
	// Revision is the revision of the last change, CompactRevision that of the last compaction. They are cheap.
	Revision() int64
	CompactRevision() int64
	// Size is the logical bytes of all retained revisions, SizeInUse that of them which no compaction could free; DiskBytes is what
	// the engine takes on disk.
	Size() int64
	SizeInUse() int64
	DiskBytes() uint64
	// NewFeed returns what a watch stream is told from; wake is called when it has something, and must not block.
	NewFeed(wake func()) *store.Feed
	// OnEvents sets what is called when DispatchEvents has something to do, which hands changes to the feeds.
	OnEvents(wake func())
	DispatchEvents()
	// WatchStats counts watchers and what waits for them.
	WatchStats() store.WatchStats
	// Lease tells of a lease, Leases of all at one moment, with the reading of the lease clock; LeaseKeys lists the keys
	// that are attached to one.
	Lease(id int64) (found store.Lease, ok bool)
	Leases(visit func(store.Lease) bool) (clock uint64)
	LeaseKeys(id int64) ([]string, error)
	LeaseCount() int
	// FollowLeases has wake called, which must not block, when TakeLeaseChanges has ids of leases that have changed.
	FollowLeases(wake func())
	TakeLeaseChanges() []int64
	// Applied is how far the state is that all of this is read from.
	Applied() (balsa.Position, error)
	// Alarms are those that stand, Quota the limit of logical bytes that the replicas hold. They are cheap.
	Alarms() []store.Alarm
	Quota() store.Quota
	// Members lists what members have published about themselves.
	Members() []*pb.Member
}

var (
	_ Group = (*balsa.Group)(nil)
	_ Store = (*store.Store)(nil)
)
