package raft

import (
	"errors"
	"fmt"
)

// Errors of Propose. Whoever gets one knows that nothing of what was refused has been appended (E55).
var (
	// ErrOverloaded says that a bound of Limits is reached. Trying again later is safe.
	ErrOverloaded = errors.New("raft: overloaded")
	// ErrTooLarge says that a proposal exceeds Limits.EntryBytes. Trying again is of no use.
	ErrTooLarge = errors.New("raft: proposal too large")
	// ErrTransferring says that leadership is being handed over (E49). Trying again soon is safe.
	ErrTransferring = errors.New("raft: leadership is being transferred")
)

// ErrNoLeader answers a read for which no leader could be found or confirmed within an election timeout.
var ErrNoLeader = errors.New("raft: no leader")

// NotLeaderError says that this member does not lead, and who does as far as it knows.
type NotLeaderError struct{ Leader MemberID } // 0 where it is not known

func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return "raft: not the leader, and no leader is known"
	}
	return fmt.Sprintf("raft: not the leader, member %x is", uint64(e.Leader))
}

// AssertionError is what the protocol panics with where it finds that itself or its caller broke a rule. No
// input from a peer, a client or a disk causes it. The group must stop: its state cannot be trusted.
type AssertionError struct{ Text string }

func (e *AssertionError) Error() string { return "raft: assertion failed: " + e.Text }

func assert(holds bool, format string, args ...any) {
	if !holds {
		panic(&AssertionError{fmt.Sprintf(format, args...)})
	}
}
