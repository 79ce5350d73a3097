package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Entry is one immutable entry frame: the bytes that are in the leader's log, on the wire, in each
// follower's log, and handed to the state machine. It is encoded once, at the edge, and placed once, by
// the leader; after that nobody may write to it.
//
// The frame, version 1, little endian:
//
//	 0  u8   format version
//	 1  u8   kind
//	 2  u8   compatible flags: a reader may ignore those it does not know
//	 3  u8   incompatible flags: a reader refuses those it does not know (compression, encryption)
//	 4  u32  payload length
//	 8  u64  session, 0 where there is none
//	16  u64  sequence of the command in its session
//	24  u32  body CRC-32C, over [0,24) and the payload   — sealed by the edge
//	28  u32  head CRC-32C, over [24,28) and [32,56)      — placed by the leader
//	32  u64  group
//	40  u64  index
//	48  u64  term
//	56       payload
//
// The head CRC covers the body CRC, so one check of the head and one of the body vouch for the whole
// frame, and forwarding or placing a proposal never reads its payload again.
type Entry []byte

// EntryHeaderSize is the number of bytes in front of an entry's payload.
const EntryHeaderSize = 56

// EntryVersion is the frame format that this build writes.
const EntryVersion = 1

// MaxPayload is the largest payload, in bytes, that a frame may carry.
const MaxPayload = 64 << 20

// EntryKind says who an entry is for.
type EntryKind uint8

const (
	// EntryNormal carries a command for the state machine.
	EntryNormal EntryKind = 1
	// EntryNoop starts a leader's term (paper §8); the state machine does not see it.
	EntryNoop EntryKind = 2
	// EntryConfiguration carries a membership configuration.
	EntryConfiguration EntryKind = 3
	// EntrySession opens, renews or closes a client session; the runtime applies it.
	EntrySession EntryKind = 4
)

func (k EntryKind) String() string {
	switch k {
	case EntryNormal:
		return "normal"
	case EntryNoop:
		return "noop"
	case EntryConfiguration:
		return "configuration"
	case EntrySession:
		return "session"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// ErrBadEntry is wrapped by every error that says why some bytes are not an entry frame.
var ErrBadEntry = errors.New("bad entry frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewEntry returns an unsealed frame with room for a payload of the given size, which the caller writes
// into Payload before it calls Seal. One allocation holds both, so a command is never copied again.
func NewEntry(kind EntryKind, payloadSize int) Entry {
	e := make(Entry, EntryHeaderSize+payloadSize)
	e[0], e[1] = EntryVersion, byte(kind)
	binary.LittleEndian.PutUint32(e[4:], uint32(payloadSize))
	return e
}

// SealedEntry returns a sealed proposal with a copy of payload.
func SealedEntry(kind EntryKind, payload []byte) Entry {
	e := NewEntry(kind, len(payload))
	copy(e.Payload(), payload)
	e.Seal()
	return e
}

// SetSession names the client session and the command's sequence in it. Call it before Seal.
func (e Entry) SetSession(session, sequence uint64) {
	binary.LittleEndian.PutUint64(e[8:], session)
	binary.LittleEndian.PutUint64(e[16:], sequence)
}

// Seal computes the body CRC. The frame is a proposal now: complete but for its place in a log.
func (e Entry) Seal() {
	binary.LittleEndian.PutUint32(e[24:], e.bodyCRC())
}

// place gives a proposal its place in a log. Only a leader does this, once per proposal that it appends;
// the buffer belongs to the protocol from the moment it was proposed.
func (e Entry) place(group GroupID, index Index, term Term) {
	binary.LittleEndian.PutUint64(e[32:], uint64(group))
	binary.LittleEndian.PutUint64(e[40:], uint64(index))
	binary.LittleEndian.PutUint64(e[48:], uint64(term))
	binary.LittleEndian.PutUint32(e[28:], e.headCRC())
}

func (e Entry) bodyCRC() uint32 {
	return crc32.Update(crc32.Checksum(e[:24], castagnoli), castagnoli, e[EntryHeaderSize:])
}

func (e Entry) headCRC() uint32 {
	return crc32.Update(crc32.Checksum(e[24:28], castagnoli), castagnoli, e[32:EntryHeaderSize])
}

// Kind returns what the entry is.
func (e Entry) Kind() EntryKind { return EntryKind(e[1]) }

// Group returns the group whose log the entry is in; 0 for a proposal.
func (e Entry) Group() GroupID { return GroupID(binary.LittleEndian.Uint64(e[32:])) }

// Index returns the entry's index; 0 for a proposal.
func (e Entry) Index() Index { return Index(binary.LittleEndian.Uint64(e[40:])) }

// Term returns the term of the leader that appended the entry; 0 for a proposal.
func (e Entry) Term() Term { return Term(binary.LittleEndian.Uint64(e[48:])) }

// Position returns the entry's index and term.
func (e Entry) Position() Position { return Position{e.Index(), e.Term()} }

// Session returns the client session and the command's sequence in it; zeros where there is none.
func (e Entry) Session() (session, sequence uint64) {
	return binary.LittleEndian.Uint64(e[8:]), binary.LittleEndian.Uint64(e[16:])
}

// HeadCRC returns the checksum that identifies the frame: it covers the place and the body's checksum.
func (e Entry) HeadCRC() uint32 { return binary.LittleEndian.Uint32(e[28:]) }

// Payload returns the command's bytes, which nobody may change once the frame is sealed.
func (e Entry) Payload() []byte { return e[EntryHeaderSize:] }

// CheckBody verifies what the edge sealed: kind, session, sequence and payload.
func (e Entry) CheckBody() error {
	if got, want := e.bodyCRC(), binary.LittleEndian.Uint32(e[24:]); got != want {
		return fmt.Errorf("%w: body checksum %08x, computed %08x", ErrBadEntry, want, got)
	}
	return nil
}

// Check verifies a placed entry: the body, and its place in the log.
func (e Entry) Check() error {
	if got, want := e.headCRC(), e.HeadCRC(); got != want {
		return fmt.Errorf("%w: head checksum %08x, computed %08x", ErrBadEntry, want, got)
	}
	return e.CheckBody()
}

// CutEntry takes the first frame off b. The entry aliases b. It checks the frame's shape, not its
// checksums: call Check or CheckBody on what it returns. Any input gives a result or an error, never a panic.
func CutEntry(b []byte) (e Entry, rest []byte, err error) {
	if len(b) < EntryHeaderSize {
		return nil, b, fmt.Errorf("%w: %d bytes, a header has %d", ErrBadEntry, len(b), EntryHeaderSize)
	}
	if b[0] != EntryVersion {
		return nil, b, fmt.Errorf("%w: format version %d, this build reads %d", ErrBadEntry, b[0], EntryVersion)
	}
	if b[3] != 0 {
		return nil, b, fmt.Errorf("%w: incompatible flags %#02x are not known to this build", ErrBadEntry, b[3])
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxPayload {
		return nil, b, fmt.Errorf("%w: payload of %d bytes, the limit is %d", ErrBadEntry, n, MaxPayload)
	}
	size := EntryHeaderSize + int(n)
	if len(b) < size {
		return nil, b, fmt.Errorf("%w: %d bytes, its header says %d", ErrBadEntry, len(b), size)
	}
	return Entry(b[:size:size]), b[size:], nil
}
