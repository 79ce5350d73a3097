package balsa

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// HostConfig is what a host is made of. Embedders on an ordinary disk and network have an easier way in: Open.
type HostConfig struct {
	// Member is this host's id in all of its groups. Required, and never used again by another host.
	Member MemberID
	// Cluster and DataDir say whose log it is: a log of another cluster, member or data directory is refused.
	Cluster uint64
	DataDir [16]byte
	// FS is where the log lives. Required.
	FS vfs.FS
	// Dir is the log's directory in FS, "wal" by default.
	Dir string
	// SnapshotDir is the directory of snapshots in FS, "snapshots" by default.
	SnapshotDir string
	// SegmentSize is the size in bytes of the log's files, 0 for the log's default (64 MiB).
	SegmentSize int64
	// Room is kept for when the disk is full; nil for none. Take it first.
	Room *Room
	// InboxBytes bounds what arrived from the other hosts and was not yet looked at: 256 MiB by default. What comes
	// on top is dropped, as if the network had lost it.
	InboxBytes int
	// Transport reaches the other hosts. Required. The host sets its receiver and closes it.
	Transport transport.Transport
	// Level is the highest level that this host claims to speak; 0 is BuildLevel. While one member claims less the level of its groups
	// does not rise, and the way back to the build before stays open. A transport.TCP has to be told the same.
	Level Level
	// Scheduler runs the host's actors; nil for a goroutine each. The simulator brings its own.
	Scheduler actor.Scheduler
	// Random gives all randomness, from one actor at a time; nil for a randomly seeded source.
	Random func() uint64
	// SnapshotRate bounds, in bytes a second, how fast snapshots are sent from here, all together, and how fast states are read or
	// written for them: 64 MiB by default; negative for no bound. Raise it where disks and networks are fast and states large; lower
	// it where clients notice that a snapshot is under way.
	SnapshotRate int64
	// SnapshotPiece is how many bytes of a state a chunk of a snapshot has, and how many bytes of that are sent at once: 128 KiB by default,
	// at most 1 MiB. What was received is kept in whole chunks.
	SnapshotPiece int
	// SnapshotsByLeader has a leader send snapshots itself. Otherwise it has a follower that is up to date make and send them, where there
	// is one, so that its own disk and network are spared; set it where followers are on slower machines.
	SnapshotsByLeader bool
	// Logger is told of what operators should know; nil discards it.
	Logger *slog.Logger
	// Observer is told what the host measures; nil for nobody.
	Observer Observer
}

func (c HostConfig) withDefaults() (HostConfig, error) {
	switch {
	case c.Member == 0:
		return c, errors.New("HostConfig.Member is 0: a member's id is any other number")
	case c.FS == nil:
		return c, errors.New("HostConfig.FS is nil: a host needs a file system for its log")
	case c.Transport == nil:
		return c, errors.New("HostConfig.Transport is nil: a host needs a way to reach the others, transport.NewMemory if need be")
	}
	c.Dir = cmp.Or(c.Dir, "wal")
	c.SnapshotDir = cmp.Or(c.SnapshotDir, "snapshots")
	c.InboxBytes = cmp.Or(c.InboxBytes, 256<<20)
	c.SnapshotRate = max(cmp.Or(c.SnapshotRate, 64<<20), 0)
	c.SnapshotPiece = min(max(cmp.Or(c.SnapshotPiece, 128<<10), 1), 1<<20)
	if c.Level == 0 || c.Level > BuildLevel {
		c.Level = BuildLevel
	}
	if c.Room == nil {
		c.Room = NewRoom(c.FS, "reserve", 0)
	}
	if c.Scheduler == nil {
		c.Scheduler = actor.NewGoroutines()
	}
	if c.Random == nil {
		c.Random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())).Uint64 //balsa:edge the default of a host that nobody simulates
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = NoObserver{}
	}
	return c, nil
}

// GroupConfig describes one replicated state machine.
type GroupConfig struct {
	// ID names the group; the same on every member. Required.
	ID GroupID
	// Members is the configuration that the group starts from, the same on every member. Empty where the host was
	// made by Open: all hosts that it knows.
	Members []raft.Member
	// Configuration takes the place of Members where it is set: with addresses, so that members who join later are told them, or, for a
	// member that joins a running group, the configuration that it was told (Group.Settled of another member). What the log and
	// the state machine say of later configurations goes before it, so that it is given again at each start.
	Configuration *raft.Configuration
	// StateMachine is what is replicated. Required. A plain StateMachine is given the whole log again at each
	// start; a DurableStateMachine what follows its Applied.
	StateMachine StateMachine
	// ElectionTimeout is the shortest time without a leader after which a member campaigns: 1 s by default. Leaders whose process
	// dies are replaced much sooner, since their connections break. Raise it on networks with long round trips: it should be ten of them.
	ElectionTimeout time.Duration
	// HeartbeatInterval is a leader's longest silence: a tenth of ElectionTimeout by default.
	HeartbeatInterval time.Duration
	// Reluctance is how much longer than others this member waits before it campaigns, at most two election timeouts: others lead as a rule,
	// where they can. It never keeps this member from leading where no other does.
	Reluctance time.Duration
	// Limits bound what the group keeps in memory.
	Limits GroupLimits
	// RecordedEvents is how many of the last events the group's flight recorder keeps, 72 bytes each: 256 by default. They go to the
	// log when the group is fenced, and to WriteTrace.
	RecordedEvents int
	// OnLeadership is told whenever this member's role, term or idea of the leader changes. It is called from
	// the host's loop and must not block.
	OnLeadership func(Leadership)
	// OnMembership is told of each configuration that comes into force here, and again once it is committed. OnRemoved is told, once, that
	// this member was removed, and how that is known: nothing is left to do for it but to stop. Both are called from the host's
	// loop and must not block.
	OnMembership func(Membership)
	OnRemoved    func(reason string)
	// OnDisowned is told, once, that other hosts know this one's disk to be wiped, swapped or an older copy of what it was (ErrDisowned).
	// The group is fenced then. It is called from the host's loop and must not block.
	OnDisowned func(cause error)
}

// GroupLimits bound a group's memory. What is over a bound is refused at once with ErrOverloaded and
// was never appended. Zero fields take the defaults in brackets.
type GroupLimits struct {
	// PendingProposals and PendingBytes bound the commands that were proposed on this member and not yet answered [65,536 and 256 MiB].
	PendingProposals int
	PendingBytes     int
	// ForwardedBytes bounds what other members forwarded to this one, as the leader, and is not yet answered [256 MiB].
	ForwardedBytes int
	// PendingReads bounds the read barriers that wait [65,536].
	PendingReads int
	// ApplyCommands and ApplyBytes bound one batch of the state machine [4,096 and 4 MiB].
	ApplyCommands int
	ApplyBytes    int
	// FlushBytes is how much log a durable state machine may be behind on disk before it is told to Flush, and one in memory
	// before a snapshot of it is written; it bounds how much is replayed after a crash [64 MiB].
	FlushBytes int
	// KeepLogBytes is how much of the log, that of all groups of the host together, stays for followers that are behind though
	// the state machine needs it no more; those further behind get a snapshot [64 MiB]. It is kept in whole files (SegmentSize).
	KeepLogBytes int64
	// Protocol bounds what the protocol itself holds, and the size of one command (ErrTooLarge).
	Protocol raft.Limits
}

func (l GroupLimits) withDefaults() GroupLimits {
	l.PendingProposals = cmp.Or(l.PendingProposals, 1<<16)
	l.PendingBytes = cmp.Or(l.PendingBytes, 256<<20)
	l.ForwardedBytes = cmp.Or(l.ForwardedBytes, 256<<20)
	l.PendingReads = cmp.Or(l.PendingReads, 1<<16)
	l.ApplyCommands = cmp.Or(l.ApplyCommands, 4096)
	l.ApplyBytes = cmp.Or(l.ApplyBytes, 4<<20)
	l.FlushBytes = cmp.Or(l.FlushBytes, 64<<20)
	l.KeepLogBytes = cmp.Or(l.KeepLogBytes, 64<<20)
	l.Protocol.EntryBytes = cmp.Or(l.Protocol.EntryBytes, raft.DefaultLimits.EntryBytes)
	return l
}

func (c GroupConfig) withDefaults(self MemberID) (GroupConfig, error) {
	if c.ID == 0 {
		return c, errors.New("GroupConfig.ID is 0: a group's id is any other number")
	}
	if c.StateMachine == nil {
		return c, fmt.Errorf("group %d: GroupConfig.StateMachine is nil", c.ID)
	}
	if c.Configuration != nil {
		c.Members = nil
		for i := range c.Configuration.Seats {
			c.Members = append(c.Members, c.Configuration.Seats[i].Member)
		}
	}
	if !slices.ContainsFunc(c.Members, func(m raft.Member) bool { return m.ID == self }) {
		return c, fmt.Errorf("group %d: member %d is not among its members %v", c.ID, self, c.Members)
	}
	c.Members = slices.SortedFunc(slices.Values(c.Members), func(a, b raft.Member) int { return cmp.Compare(a.ID, b.ID) })
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, time.Second)
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, c.ElectionTimeout/10)
	if c.HeartbeatInterval <= 0 || c.ElectionTimeout < 2*c.HeartbeatInterval {
		return c, fmt.Errorf("group %d: an election timeout of %v needs a heartbeat interval of at most half of it, not %v",
			c.ID, c.ElectionTimeout, c.HeartbeatInterval)
	}
	if c.RecordedEvents <= 0 {
		c.RecordedEvents = defaultRecorded
	}
	c.Limits = c.Limits.withDefaults()
	return c, nil
}
