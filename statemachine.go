package balsa

import "github.com/balsadb/balsa/raft"

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

// StateMachine is what a group replicates. Its methods are called one at a time, by the group's applier.
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
