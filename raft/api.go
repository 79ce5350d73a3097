package raft

import (
	"fmt"
	"time"
)

// Config is what one member is told about its group. All durations are on the caller's monotonic clock.
type Config struct {
	Group GroupID
	Self  MemberID
	// Members are the voters of the configuration that the log starts from, this member among them.
	Members []Member
	// Configuration takes the place of Members where it is set: with addresses, or, for a member that joins a running group, the
	// configuration that it was told, in which it has a seat.
	Configuration *Configuration
	// ElectionTimeout is the shortest time without a leader after which a member campaigns; each campaign
	// draws anew from [ElectionTimeout, 2×ElectionTimeout) (E04).
	ElectionTimeout time.Duration
	// HeartbeatInterval is the longest silence of a leader. It must be well under ElectionTimeout.
	HeartbeatInterval time.Duration
	// DiskStall is how long a leader's own write may take before the leader gives up its office, so that a
	// member whose disk works can lead (E08). Zero is four election timeouts. Raise it for disks with long hiccups.
	DiskStall time.Duration
	// Hesitation is how long after New this member neither votes nor campaigns. For one whose disk is empty: where that was wiped, the
	// others get the time to say so before a vote is given that the former disk would have refused (E21). At most ElectionTimeout costs a new group nothing.
	Hesitation time.Duration
	// Level is the highest that this member speaks; 0 is BuildLevel. A lower one makes it as an older build is.
	Level Level
	// Reluctance is how much longer than others this member waits before it campaigns by its own: so members that are close to the
	// clients, or have more to spend, lead as a rule. It delays and never vetoes: this member votes as all do, takes the office where it is
	// handed over, and campaigns in the end. Zero for none; at most two election timeouts.
	Reluctance time.Duration
	// Random gives the protocol its only randomness.
	Random func() uint64
	Limits Limits

	first Configuration // of Members, or Configuration
}

// Member is one replica as the configuration names it.
type Member struct {
	ID   MemberID
	Life Incarnation
}

// Limits bound the protocol's memory. Zero fields take the defaults of DefaultLimits.
type Limits struct {
	EntryBytes       int // one proposal, header included; a larger one is refused with ErrTooLarge
	UncommittedBytes int // on a leader: appended, not yet committed; more is refused with ErrOverloaded
	InflightBytes    int // per follower: sent, not yet acknowledged
	InflightMessages int // per follower: appends sent, not yet acknowledged
	MessageBytes     int // entries in one AppendEntries; a single larger entry goes alone
	BufferedBytes    int // on a follower: accepted, not yet durable; more is not taken until the disk has caught up
	CacheBytes       int // durable entries kept in memory for followers that are a little behind
	ApplyingBytes    int // handed out as Committed, not yet reported as Applied
	Reads            int // waiting for an index; more are answered with ErrOverloaded
}

// DefaultLimits are right for most groups: some tens of MiB when everything is full at once.
var DefaultLimits = Limits{
	EntryBytes:       8 << 20,
	UncommittedBytes: 64 << 20,
	InflightBytes:    16 << 20,
	InflightMessages: 256,
	MessageBytes:     512 << 10,
	BufferedBytes:    64 << 20,
	CacheBytes:       8 << 20,
	ApplyingBytes:    8 << 20,
	Reads:            1 << 16,
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	d := DefaultLimits
	def(&l.EntryBytes, d.EntryBytes)
	def(&l.UncommittedBytes, d.UncommittedBytes)
	def(&l.InflightBytes, d.InflightBytes)
	def(&l.InflightMessages, d.InflightMessages)
	def(&l.MessageBytes, d.MessageBytes)
	def(&l.BufferedBytes, d.BufferedBytes)
	def(&l.CacheBytes, d.CacheBytes)
	def(&l.ApplyingBytes, d.ApplyingBytes)
	def(&l.Reads, d.Reads)
	return l
}

// checked returns the configuration with its defaults filled in and its members sorted.
func (c Config) checked() (Config, error) {
	c.Limits = c.Limits.withDefaults()
	if c.DiskStall <= 0 {
		c.DiskStall = 4 * c.ElectionTimeout
	}
	if c.Level == 0 || c.Level > BuildLevel {
		c.Level = BuildLevel
	}
	c.first = FirstConfiguration(c.Members)
	if c.Configuration != nil {
		c.first = *c.Configuration
	}
	err := c.first.check()
	if err == nil {
		err = c.first.checkLevel(c.Level)
	}
	if err != nil {
		return c, fmt.Errorf("raft: group %d: %w", c.Group, err)
	}
	switch {
	case c.first.Seat(c.Self) == nil:
		return c, fmt.Errorf("raft: group %d: this member, %x, is not in its own list of members", c.Group, uint64(c.Self))
	case c.Random == nil:
		return c, fmt.Errorf("raft: group %d: Config.Random is missing", c.Group)
	case c.ElectionTimeout <= 0:
		return c, fmt.Errorf("raft: group %d: the election timeout is %v, it must be positive", c.Group, c.ElectionTimeout)
	case c.Reluctance < 0 || c.Reluctance > 2*c.ElectionTimeout:
		return c, fmt.Errorf("raft: group %d: the reluctance is %v, it must be between 0 and two election timeouts of %v", c.Group, c.Reluctance, c.ElectionTimeout)
	case c.HeartbeatInterval <= 0 || c.HeartbeatInterval*2 > c.ElectionTimeout:
		return c, fmt.Errorf("raft: group %d: the heartbeat interval is %v, it must be positive and at most half of the election timeout %v",
			c.Group, c.HeartbeatInterval, c.ElectionTimeout)
	}
	return c, nil
}

// HardState is what must be durable before anything that depends on it is said (paper figure 2, E01).
type HardState struct {
	Term Term
	Vote MemberID
}

// TermRun says that the log holds entries of Term from First on, up to the next run's First.
type TermRun struct {
	Term  Term
	First Index
}

// Restored is what the log's recovery found for one group. The zero value is a new group.
type Restored struct {
	HardState HardState
	Commit    Index     // the commit index that the log last recorded: a lower bound
	Applied   Position  // what the state machine already holds: a floor, even above Last (E51)
	Before    Position  // the entry just before the first one in the log; zero for a whole log
	Runs      []TermRun // terms of the entries in the log, ascending; empty for an empty log
	Last      Index     // last entry in the log, Before.Index where it is empty
	// Configuration is what was in force at Applied, as the state machine's last configuration entry has it; nil where it has applied none.
	// Configurations are the log's entries of that kind, in order.
	Configuration  *ConfigurationAt
	Configurations []Entry
	// Damaged is the first entry above Applied that the log's files have lost, 0 where they have not: index and term are known. Doubt says that
	// this member may have forgotten entries that it acknowledged. See mending.go.
	Damaged Index
	Doubt   bool
	// StateLost: the state machine's state is of no use, or does not reach the log, so that it holds nothing; Applied is zero. See Raft.LoseState.
	StateLost bool
}

// Write is what the log must make durable. Writes are made in the order in which they were given, and
// reported with Persisted. Entries may begin at or below the log's last index: all from there on are replaced.
type Write struct {
	Seq       WriteSeq
	HardState HardState
	Commit    Index // recorded in passing, never worth a write of its own
	// Restart is set where the log begins anew after that position: all entries that it held are given up
	// (the state machine is ahead of the log: E51, or a snapshot was installed), and Entries follow Restart.
	Restart Position
	Entries []Entry
}

// Fetch asks for entries [Low, High) of the log that are durable but no longer in memory; at least one,
// at most MaxBytes of them are given back with Fetched.
type Fetch struct {
	For       MemberID // the follower that needs them; the member itself where they are to be applied
	Low, High Index
	MaxBytes  int
}

// SnapshotNeed says that a follower lacks entries that this leader's log does not hold any more. What the caller sends
// instead is the state machine as it is at some position at or above AtLeast, with a SnapshotOffer made from this.
//
// One transfer per follower is enough: a need that comes while one is under way is already being met, if what is
// being sent is not below AtLeast. A transfer that the follower did not confirm as installed is told to SnapshotFailed,
// and comes as a new need if the follower is alive. While one is under way the log should not be compacted
// beyond what is being sent, within reason; else the follower will need another.
type SnapshotNeed struct {
	To               MemberID
	FromLife, ToLife Incarnation
	Term             Term
	AtLeast          Index
}

// SnapshotOffer announces a snapshot to its receiver: what was committed, and applied by the sender, up to At.
type SnapshotOffer struct {
	From             MemberID
	FromLife, ToLife Incarnation
	Term             Term // the sender's, in which it led when it began to send
	At               Position
}

// Proposed says what became of a batch of proposals: the first Accepted of them were appended, from First on, in Term.
type Proposed struct {
	First    Index
	Term     Term
	Accepted int
}

// ReadResult answers Read: the state machine may serve it once it has applied Index.
type ReadResult struct {
	ID    ReadID
	Index Index
	Err   error // nil, ErrNoLeader or ErrOverloaded
}

// Role is what a member is at the moment (paper figure 4).
type Role uint8

const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
	roleCount
)

func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case PreCandidate:
		return "pre-candidate"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return fmt.Sprintf("role-%d", uint8(r))
}

// Leadership is who leads, as far as this member knows; Leader is 0 where it does not.
type Leadership struct {
	Role   Role
	Term   Term
	Leader MemberID
}

// Output is what the protocol wants done. Its parts may be carried out in any order and in parallel: what
// depends on a write is held back inside until Persisted, so that there is no order to get wrong.
//
// The slices belong to the caller until the next call of Output. What they refer to (messages, the write,
// entries) is never changed again, and may be kept and read anywhere for as long as needed.
type Output struct {
	Messages   []Envelope
	Write      *Write  // nil where nothing has to be written
	Committed  []Entry // in index order, without gaps from one Output to the next
	Fetches    []Fetch
	Snapshots  []SnapshotNeed
	Reads      []ReadResult
	Leadership *Leadership // set where it changed
	Membership *Membership // set where it changed, or became committed
}
