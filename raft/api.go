package raft

import "time"

// Config is what one member is told about its group. All durations are on the caller's monotonic clock.
type Config struct {
	Group GroupID
	Self  MemberID
	// Members is the configuration that the log starts from.
	Members []Member
	// ElectionTimeout is the shortest time without a leader after which a member campaigns; each campaign
	// draws anew from [ElectionTimeout, 2×ElectionTimeout) (E04).
	ElectionTimeout time.Duration
	// HeartbeatInterval is the longest silence of a leader. It must be well under ElectionTimeout.
	HeartbeatInterval time.Duration
	// Random gives the protocol its only randomness.
	Random func() uint64
	Limits Limits
}

// Member is one replica as the configuration names it.
type Member struct {
	ID   MemberID
	Life Incarnation
}

// Limits bound the protocol's memory. Zero fields take the defaults of DefaultLimits.
type Limits struct {
	UncommittedBytes int // on a leader: appended, not yet committed; more is refused with ErrOverloaded
	InflightBytes    int // per follower: sent, not yet acknowledged
	InflightMessages int // per follower
	MessageBytes     int // entries in one AppendEntries
	CacheBytes       int // entries kept in memory for followers that are a little behind
	ApplyingBytes    int // handed out as Committed, not yet reported as Applied
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
}

// Write is what the log must make durable. Writes are made in the order in which they were given, and
// reported with Persisted. Entries may begin at or below the log's last index: all from there on are replaced.
type Write struct {
	Seq       WriteSeq
	HardState HardState
	Commit    Index // recorded in passing, never worth a write of its own
	Entries   []Entry
}

// Fetch asks for entries [Low, High) of the log that are durable but no longer in memory; at least one,
// at most MaxBytes of them are given back with Fetched.
type Fetch struct {
	For       MemberID // the follower that needs them; the member itself where they are to be applied
	Low, High Index
	MaxBytes  int
}

// ReadResult answers Read: the state machine may serve it once it has applied Index.
type ReadResult struct {
	ID    ReadID
	Index Index
	Err   error // nil, ErrNoLeader or ErrLeaderChanged
}

// Role is what a member is at the moment (paper figure 4).
type Role uint8

const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

// Leadership is who leads, as far as this member knows; Leader is 0 where it does not.
type Leadership struct {
	Role   Role
	Term   Term
	Leader MemberID
}

// Output is what the protocol wants done. Its parts may be carried out in any order and in parallel: what
// depends on a write is held back inside until Persisted, so that there is no order to get wrong.
// The caller owns it until the next call of Output.
type Output struct {
	Messages   []Envelope
	Write      *Write // nil where nothing has to be written
	Committed  []Entry
	Fetches    []Fetch
	Reads      []ReadResult
	Leadership *Leadership // set where it changed
}
