package raft

import (
	"math"
	"time"
)

// Index is a position in a group's log. The first entry has index 1; 0 means "before the first".
type Index uint64

// Term numbers the reigns of leaders (paper §5.1). 0 is "before the first election".
type Term uint64

// GroupID names one replicated log, and the state machine that it feeds.
type GroupID uint64

// MemberID names one replica of a group. It is never 0 and never used again once its member was removed.
type MemberID uint64

// Incarnation counts a member's joinings: a message of an earlier life is not an answer in this one.
type Incarnation uint64

// WriteSeq numbers the local writes that the protocol asked for. A later write of the same index
// has a larger number, so that a late completion cannot vouch for bytes that were replaced (E19).
type WriteSeq uint64

// Round numbers a leader's rounds of confirmation (E39). It never goes back within a term.
type Round uint64

// ReadID is the caller's name for one read barrier; the protocol only hands it back.
type ReadID uint64

// Instant is a moment on the caller's monotonic clock, in nanoseconds. The protocol never asks a clock; it is told.
type Instant int64

// Never is later than every moment.
const Never Instant = math.MaxInt64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Position is a place in a log together with the term that was found there.
type Position struct {
	Index Index
	Term  Term
}
