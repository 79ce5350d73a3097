package raft

import (
	"errors"
	"fmt"
)

// Level says what all members of a group understand. It is part of the configuration, and so replicated, in snapshots, and in force on
// a member from the entry on that raises it: whatever needs a level stands behind that entry in every log. It only ever
// rises, by one at a time, and only once every member is known to speak the next one.
type Level uint16

const (
	// FirstLevel is that of the builds which knew of no levels: a configuration that says nothing is of this one.
	FirstLevel Level = 1
	// BuildLevel is the highest that this build speaks, next to the one before.
	BuildLevel Level = 2
)

// ErrBadLevel says that a level cannot be raised to the one that was asked for. Nothing was appended.
var ErrBadLevel = errors.New("raft: the level cannot be raised so")

// Speaks returns the configuration's level.
func (c *Configuration) Speaks() Level { return max(c.Level, FirstLevel) }

// checkLevel says that a configuration is beyond what this build, or one that claims to be as old as highest, understands.
func (c *Configuration) checkLevel(highest Level) error {
	if c.Speaks() <= highest {
		return nil
	}
	return fmt.Errorf("it is of level %d, and this member speaks levels up to %d: "+
		"the cluster was upgraded; start this member with the build that the others have", c.Speaks(), highest)
}

// RaiseLevel proposes a configuration whose level is one higher, and returns the place of its entry. The caller knows that every
// member speaks it. The current configuration must be at index from.
func (r *Raft) RaiseLevel(now Instant, from Index, to Level) (Position, error) {
	r.advance(now)
	current := r.members.current()
	if err := r.readyToChange(current, from); err != nil {
		return Position{}, err
	}
	if to != current.Speaks()+1 || to > r.config.Level {
		return Position{}, fmt.Errorf("%w: from %d to %d, where this member speaks up to %d", ErrBadLevel, current.Speaks(), to, r.config.Level)
	}
	next := current.left()
	next.Level = to
	return r.appendConfiguration(next), nil
}
