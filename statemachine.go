package balsa

import (
	"io"

	"github.com/balsadb/balsa/raft"
)

// The protocol's own types, so that embedders need one import.
type (
	// Index is a position in a group's log.
	Index = raft.Index
	// Term numbers the reigns of leaders.
	Term = raft.Term
	// GroupID names one replicated log.
	GroupID = raft.GroupID
	// MemberID names one replica of a group.
	MemberID = raft.MemberID
	// Position is an index with its term.
	Position = raft.Position
)

// StateMachine is what a group replicates. Its methods are called one at a time, by the group's applier; only Flush and Durable
// of a DurableStateMachine run beside them.
//
// Apply must give the same results on every replica: no clock, no randomness, no order of a map. Anything
// about a command that could differ belongs into the command. A command that is wrong is answered with a
// result that says so; an error from Apply, or a panic, fences the group on this host (the host lives on).
type StateMachine interface {
	// Apply applies the batch's commands in order, sets each one's Result, and remembers batch.Position.
	Apply(batch *Batch) error
}

// DurableStateMachine is a state machine that keeps its state on disk and knows how far it got. After a
// restart it is given what follows Applied; it is never given the same index twice above that.
type DurableStateMachine interface {
	StateMachine
	// Applied returns the position of the last batch that the opened state holds. It is called once, at the start.
	Applied() (Position, error)
	// Durable returns how far the state would survive a power cut now, read from what is durable rather than
	// from what was written. The log is never cut beyond it.
	Durable() (Position, error)
	// Flush makes everything that was applied durable.
	Flush() error
}

// Snapshotter is a state machine whose whole state can be taken out and put in: for a follower that needs entries which
// the log has no longer, and, where the state machine keeps its state in memory, for a restart (dissertation 5.1, 5.2).
// Both methods are called by the group's applier, between batches. A group whose state machine is none keeps its log for ever.
type Snapshotter interface {
	StateMachine
	// Snapshot returns the state as the last batch left it. It is quick: it remembers the state, and copies nothing.
	Snapshot() (Snapshot, error)
	// Restore replaces the state by one that a Snapshot of any replica wrote; at is that one's position, and greater than
	// what was applied. Of a DurableStateMachine the new state is durable when nil is returned, as after a Flush. Where an
	// error is returned the state is what it was, and a power cut at any moment leaves one of the two, whole. Reads that
	// have begun may end with the old state.
	Restore(at Position, r io.Reader) error
}

// Rebuilder is a durable state machine that survives damage of its own state: what it cannot vouch for it gives up, and is given a
// sound state in its place, from another member or from the log. Without it such damage fences the group on this host.
type Rebuilder interface {
	DurableStateMachine
	Snapshotter
	// Lost returns why the opened state is of no use; nil where it is sound as far as is known. It is called once, at the start, and
	// where it returns an error Applied and Durable are not called.
	Lost() error
	// Lose gives the state up, durably: until a Restore has returned nil, now and after a restart, Apply fails, nothing is read, and
	// Restore takes a snapshot of any position. It is called between batches, and only where Lost returned nil.
	Lose(cause error) error
	// Reset replaces a state that was given up by an empty one, durably, which is then given the whole log.
	Reset() error
}

// Snapshot is the state of one moment. Later batches do not change it, and do not wait for it: WriteTo runs beside Apply,
// on another goroutine, and may take as long as its writer does. One goroutine uses it at a time.
type Snapshot interface {
	// Position returns the last batch that the state holds.
	Position() Position
	// WriteTo writes the state, with what Batch.Runtime held last where the state machine stores that, and returns the
	// number of bytes. It can be called again, and writes the same.
	WriteTo(w io.Writer) (int64, error)
	// Close lets go of the state. It must be called, and costs nothing to others until then but what memory or disk the state needs.
	Close() error
}

// Batch is a run of committed commands. State changes of one batch become visible and durable together.
type Batch struct {
	// Commands are in index order. Entries that are not for the state machine (a leader's no-op) leave gaps, so the slice may be empty.
	Commands []Command
	// Position is the last index that this batch covers, gaps included, and its term.
	Position Position
	// Runtime is what the runtime itself must remember at Position (client sessions, configuration); nil where
	// nothing changed. A durable state machine stores it in the same atomic step as its own changes.
	Runtime []byte
}

// Command is one committed command.
type Command struct {
	Index   Index
	Term    Term
	Payload []byte // valid, and not to be changed, for as long as anybody refers to it
	Result  []byte // set by Apply; handed to whoever proposed the command
}
