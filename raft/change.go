package raft

import (
	"errors"
	"fmt"
	"slices"
)

// Change is one step from a configuration to the next. Several of them, given together, happen at once.
type Change struct {
	Kind   ChangeKind
	Member MemberID
	// Address is where a new member is reached, or the new address of one that is there.
	Address string
	// Replaces is, with AddMember, who is removed in the step in which the new member becomes a voter.
	Replaces MemberID
}

// ChangeKind says what a Change does.
type ChangeKind uint8

const (
	// AddMember adds a member that is to vote: it joins as a learner, so that it can do no harm while it is empty or not even
	// started, and becomes a voter by itself once it keeps up.
	AddMember ChangeKind = iota + 1
	// AddLearner adds a member that stays a learner until it is promoted.
	AddLearner
	// Promote makes a learner a voter. It must be keeping up.
	Promote
	// Demote makes a voter a learner.
	Demote
	// Remove takes a member's seat away, for ever.
	Remove
	// SetAddress changes where a member is reached.
	SetAddress
)

// Errors of changes of membership. Nothing was appended where one of them is returned.
var (
	// ErrMemberExists says that the member has a seat already, or had one: ids are never used again.
	ErrMemberExists = errors.New("raft: the member id is in use, or was once")
	// ErrMemberUnknown says that the member has no seat.
	ErrMemberUnknown = errors.New("raft: no such member")
	// ErrNotLearner says that the member is a voter already.
	ErrNotLearner = errors.New("raft: the member is no learner")
	// ErrLearnerNotReady says that a learner does not keep up yet, so that it is not promoted (E36). Try again later.
	ErrLearnerNotReady = errors.New("raft: the learner does not keep up with the leader yet")
	// ErrTooManyMembers says that MaxMembers is reached.
	ErrTooManyMembers = errors.New("raft: too many members")
	// ErrBadChange says that the changes make no sense together.
	ErrBadChange = errors.New("raft: not a change of membership")
	// ErrMajorityLost says that the change would leave the group without a majority of voters that are heard from now.
	ErrMajorityLost = errors.New("raft: the change would cost the majority")
	// ErrConfigurationChanged says that the configuration is not the one that the change was made for (E37). Look again.
	ErrConfigurationChanged = errors.New("raft: the configuration has changed meanwhile")
	// ErrChangeUnderWay says that another change has not ended yet (E33), or that the leader does not know yet what its
	// predecessors committed (E32). Trying again soon is safe.
	ErrChangeUnderWay = errors.New("raft: another change of membership is under way")
)

// Change returns the configuration that the changes lead to: a joint one where the voters change, so that the way there goes through
// majorities of both.
func (c *Configuration) Change(changes ...Change) (Configuration, error) {
	if c.Joint {
		return Configuration{}, ErrChangeUnderWay
	}
	next := Configuration{Seats: slices.Clone(c.Seats), Lives: c.Lives, Removed: slices.Clone(c.Removed), Level: c.Level}
	if len(changes) == 0 {
		return next, fmt.Errorf("%w: there is none", ErrBadChange)
	}
	for _, change := range changes {
		if err := next.change(change); err != nil {
			return Configuration{}, err
		}
	}
	next.sort()
	if next.Voters() == 0 {
		return Configuration{}, fmt.Errorf("%w: no voter would be left", ErrMajorityLost)
	}
	if len(next.Seats) > MaxMembers {
		return Configuration{}, fmt.Errorf("%w: the limit is %d", ErrTooManyMembers, MaxMembers)
	}
	next.join(c)
	return next, next.check()
}

// change takes one step. Who is removed keeps a seat, for the moment.
func (c *Configuration) change(change Change) error {
	seat := c.Seat(change.Member)
	adds := change.Kind == AddMember || change.Kind == AddLearner
	switch {
	case change.Member == 0, len(change.Address) > MaxAddressBytes:
		return fmt.Errorf("%w: member %x with an address of %d bytes", ErrBadChange, uint64(change.Member), len(change.Address))
	case adds && (seat != nil || c.WasRemoved(change.Member)):
		return fmt.Errorf("%w: %x", ErrMemberExists, uint64(change.Member))
	case !adds && (seat == nil || seat.Role == Leaving):
		return fmt.Errorf("%w: %x", ErrMemberUnknown, uint64(change.Member))
	case change.Replaces != 0 && c.Seat(change.Replaces) == nil:
		return fmt.Errorf("%w: %x, which is to be replaced", ErrMemberUnknown, uint64(change.Replaces))
	}
	switch change.Kind {
	case AddMember, AddLearner:
		c.Lives++
		c.Seats = append(c.Seats, Seat{
			Member: Member{change.Member, c.Lives}, Role: Learner, Address: change.Address,
			Promote: change.Kind == AddMember, Replaces: change.Replaces,
		})
		c.sort()
	case Promote:
		if seat.Role != Learner {
			return fmt.Errorf("%w: %x", ErrNotLearner, uint64(change.Member))
		}
		seat.Role, seat.Promote, seat.Replaces = Voter, false, 0
	case Demote:
		seat.Role, seat.Promote = Learner, false
	case Remove:
		seat.Role, seat.Promote, seat.Replaces = Leaving, false, 0
	case SetAddress:
		seat.Address = change.Address
	default:
		return fmt.Errorf("%w: kind %d", ErrBadChange, change.Kind)
	}
	return nil
}

// join makes c, which follows former, joint if other members vote in it; else those who were to be removed are.
func (c *Configuration) join(former *Configuration) {
	voters := false
	for i := range c.Seats {
		before := former.Seat(c.Seats[i].ID)
		was := before != nil && before.Role == Voter
		c.Seats[i].Former = was
		voters = voters || was != (c.Seats[i].Role == Voter)
	}
	if !voters {
		*c = c.left()
		return
	}
	c.Joint = true
	// A learner that goes in the same step has nothing to wait for.
	c.drop(func(s *Seat) bool { return s.Role == Leaving && !s.Former })
}

// left returns the configuration that a joint one leads to.
func (c *Configuration) left() Configuration {
	next := Configuration{Seats: slices.Clone(c.Seats), Lives: c.Lives, Removed: slices.Clone(c.Removed), Level: c.Level}
	for i := range next.Seats {
		next.Seats[i].Former = false
	}
	next.drop(func(s *Seat) bool { return s.Role == Leaving })
	return next
}

// drop takes seats away for ever.
func (c *Configuration) drop(which func(*Seat) bool) {
	kept := c.Seats[:0]
	for i := range c.Seats {
		s := &c.Seats[i]
		if !which(s) {
			kept = append(kept, *s)
			continue
		}
		if at, found := slices.BinarySearch(c.Removed, s.ID); !found {
			c.Removed = slices.Insert(c.Removed, at, s.ID)
		}
	}
	c.Seats = kept
	for i := range c.Seats { // who was to be replaced may have gone by another way
		if s := &c.Seats[i]; s.Replaces != 0 && c.Seat(s.Replaces) == nil {
			s.Replaces = 0
		}
	}
}
