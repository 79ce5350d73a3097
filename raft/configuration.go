package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Configuration says who takes part in a group. It is never changed once it is made.
//
// While voters come or go it is joint (paper §6): whatever needs a majority needs one of the voters and one of the
// former voters.
type Configuration struct {
	Seats []Seat // by id
	Joint bool
	// Lives is the largest incarnation that was ever given: the next member to join gets the next one.
	Lives Incarnation
	// Removed are all who once had a seat, ascending: their ids are never used again.
	Removed []MemberID
	// Level is what all members understand; 0 is FirstLevel, see Speaks.
	Level Level
}

// Seat is a member's place in a configuration.
type Seat struct {
	Member
	Role SeatRole
	// Former is set, in a joint configuration, on those who vote in the one that is being left.
	Former bool
	// Promote is set on a learner that becomes a voter by itself as soon as it can keep up; Replaces then is who is removed
	// in the same step, 0 for nobody.
	Promote  bool
	Replaces MemberID
	// Address is where the member is reached. The protocol only keeps it.
	Address string
}

// SeatRole is what a member is in a configuration; in a joint one, in the configuration that it leads to.
type SeatRole uint8

const (
	// Voter has a vote, and its copy of an entry counts.
	Voter SeatRole = 1
	// Learner is sent everything, and never votes nor counts (E36).
	Learner SeatRole = 2
	// Leaving is on its way out of a joint configuration.
	Leaving SeatRole = 3
)

func (s SeatRole) String() string {
	switch s {
	case Voter:
		return "voter"
	case Learner:
		return "learner"
	case Leaving:
		return "leaving"
	}
	return fmt.Sprintf("seat-%d", uint8(s))
}

// ConfigurationAt is a configuration with the index of the entry that holds it; 0 for one that no entry holds: the
// first one, or the one that a new member was told when it joined.
type ConfigurationAt struct {
	Index Index
	Configuration
}

// Bounds of a configuration.
const (
	MaxMembers      = 64
	MaxAddressBytes = 4096
	maxRemoved      = 1 << 20
)

// FirstConfiguration is that of a group which begins with these voters.
func FirstConfiguration(members []Member) Configuration {
	var c Configuration
	for _, m := range members {
		c.Seats = append(c.Seats, Seat{Member: m, Role: Voter})
		c.Lives = max(c.Lives, m.Life)
	}
	c.sort()
	return c
}

func (c *Configuration) sort() {
	slices.SortFunc(c.Seats, func(a, b Seat) int { return compareIDs(a.ID, b.ID) })
}

func compareIDs(a, b MemberID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Seat returns a member's seat, nil where it has none.
func (c *Configuration) Seat(id MemberID) *Seat {
	i, found := slices.BinarySearchFunc(c.Seats, id, func(s Seat, id MemberID) int { return compareIDs(s.ID, id) })
	if !found {
		return nil
	}
	return &c.Seats[i]
}

// Voters counts those who vote, in a joint configuration in the one that it leads to.
func (c *Configuration) Voters() (count int) {
	for i := range c.Seats {
		if c.Seats[i].Role == Voter {
			count++
		}
	}
	return count
}

// WasRemoved reports whether the member once had a seat and has none any more.
func (c *Configuration) WasRemoved(id MemberID) bool {
	_, found := slices.BinarySearch(c.Removed, id)
	return found
}

// votes reports whether the member's vote counts in any of a configuration's majorities.
func (s *Seat) votes() bool { return s.Role == Voter || s.Former }

// check says what is wrong with a configuration, which may be anything.
func (c *Configuration) check() error {
	former, previous := 0, MemberID(0)
	for i := range c.Seats {
		s := &c.Seats[i]
		switch {
		case s.ID == 0:
			return errors.New("member id 0 is reserved for \"nobody\"")
		case s.ID == previous:
			return fmt.Errorf("member %x is listed twice", uint64(s.ID))
		case s.ID < previous:
			return errors.New("its members are not in order")
		case s.Role != Voter && s.Role != Learner && !(c.Joint && s.Role == Leaving):
			return fmt.Errorf("member %x is a %v", uint64(s.ID), s.Role)
		case s.Former && !c.Joint, s.Role == Leaving && !s.Former, (s.Promote || s.Replaces != 0) && s.Role != Learner:
			return fmt.Errorf("member %x is a %v in a way that cannot be", uint64(s.ID), s.Role)
		case s.Life > c.Lives, len(s.Address) > MaxAddressBytes:
			return fmt.Errorf("member %x has life %d of %d and an address of %d bytes", uint64(s.ID), s.Life, c.Lives, len(s.Address))
		case c.WasRemoved(s.ID):
			return fmt.Errorf("member %x was removed before", uint64(s.ID))
		}
		if s.Former {
			former++
		}
		previous = s.ID
	}
	if err := c.checkLevel(BuildLevel); err != nil {
		return err
	}
	switch {
	case c.Voters() == 0, c.Joint && former == 0:
		return errors.New("it has no voter")
	case len(c.Seats) > 2*MaxMembers:
		return fmt.Errorf("it has %d members, the limit is %d", len(c.Seats), MaxMembers)
	case !slices.IsSorted(c.Removed):
		return errors.New("the removed members are not in order")
	}
	return nil
}

// A configuration as the payload of its entry, version 1, little endian:
//
//	 0  u8   version
//	 1  u8   flags: 1 for joint
//	 2  u8   compatible features, u8 incompatible ones (1: there is a level)
//	 4  u32  seats, u32 removed members
//	12  u64  lives
//	20       seats: u64 id, u64 life, u8 role, u8 flags (1 former, 2 promote), u16 length of the address, u64 replaces, address
//	         removed members: u64 each
//	         u16 level, where it is above the first: builds that know of no levels refuse such a configuration
const (
	configurationVersion = 1
	configurationHead    = 20
	seatHead             = 28

	featureLevel = 1

	flagJoint   = 1
	flagFormer  = 1
	flagPromote = 2
)

// Encode returns the configuration as its entry holds it.
func (c *Configuration) Encode() []byte {
	b := []byte{configurationVersion, bitIf(c.Joint, flagJoint), 0, bitIf(c.Speaks() > FirstLevel, featureLevel)}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Seats)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Removed)))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Lives))
	for i := range c.Seats {
		s := &c.Seats[i]
		b = binary.LittleEndian.AppendUint64(b, uint64(s.ID))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Life))
		b = append(b, byte(s.Role), bitIf(s.Former, flagFormer)|bitIf(s.Promote, flagPromote))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s.Address)))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Replaces))
		b = append(b, s.Address...)
	}
	for _, id := range c.Removed {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
	}
	if c.Speaks() > FirstLevel {
		b = binary.LittleEndian.AppendUint16(b, uint16(c.Level))
	}
	return b
}

func bitIf(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// ErrBadConfiguration is wrapped by every error that says why some bytes are not a configuration.
var ErrBadConfiguration = errors.New("bad configuration")

// DecodeConfiguration is the inverse of Encode. Any input gives a configuration that can be used, or an error.
func DecodeConfiguration(b []byte) (c Configuration, err error) {
	bad := func(format string, args ...any) (Configuration, error) {
		return Configuration{}, fmt.Errorf("%w: %w", ErrBadConfiguration, fmt.Errorf(format, args...))
	}
	if len(b) < configurationHead {
		return bad("%d bytes, its head has %d", len(b), configurationHead)
	}
	if b[0] != configurationVersion || b[3]&^featureLevel != 0 {
		return bad("version %d with incompatible features %#02x, this build reads version %d with none but %#02x", b[0], b[3], configurationVersion, featureLevel)
	}
	c.Joint = b[1]&flagJoint != 0
	leveled := b[3]&featureLevel != 0
	seats, removed := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	c.Lives = Incarnation(binary.LittleEndian.Uint64(b[12:]))
	b = b[configurationHead:]
	for range seats {
		if len(b) < seatHead {
			return bad("it ends in a seat")
		}
		s := Seat{
			Member: Member{MemberID(binary.LittleEndian.Uint64(b)), Incarnation(binary.LittleEndian.Uint64(b[8:]))},
			Role:   SeatRole(b[16]), Former: b[17]&flagFormer != 0, Promote: b[17]&flagPromote != 0,
			Replaces: MemberID(binary.LittleEndian.Uint64(b[20:])),
		}
		n := int(binary.LittleEndian.Uint16(b[18:]))
		if b = b[seatHead:]; len(b) < n {
			return bad("it ends in an address")
		}
		s.Address, b = string(b[:n]), b[n:]
		c.Seats = append(c.Seats, s)
	}
	if removed > maxRemoved || uint64(len(b)) < 8*uint64(removed) {
		return bad("it has no room for %d removed members", removed)
	}
	for i := range removed {
		c.Removed = append(c.Removed, MemberID(binary.LittleEndian.Uint64(b[8*i:])))
	}
	if leveled {
		if b = b[8*removed:]; len(b) < 2 || binary.LittleEndian.Uint16(b) <= uint16(FirstLevel) {
			return bad("it has no level, and says that it has one")
		}
		c.Level = Level(binary.LittleEndian.Uint16(b))
	}
	if err := c.check(); err != nil {
		return bad("%w", err)
	}
	return c, nil
}
