package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/balsadb/balsa/raft"
)

var (
	// ErrDamaged is wrapped where bytes are no snapshot, or not as they were written.
	ErrDamaged = errors.New("snapshot: damaged")
	// ErrCutShort is wrapped where a snapshot ends before its foot.
	ErrCutShort = errors.New("snapshot: cut short")
	// ErrUnsupported is wrapped where a later version wrote a snapshot that this one cannot read.
	ErrUnsupported = errors.New("snapshot: of a later version")
)

// Meta says what a snapshot is of.
type Meta struct {
	Group raft.GroupID
	// Position is the last entry that the state holds.
	Position raft.Position
	// Runtime is what the runtime keeps beside the state: membership, and later sessions. Up to MaxRuntime bytes.
	Runtime []byte
	// Identity tells snapshots of one position apart: two that were made apart need not have the same bytes, and a part of one
	// must never be completed from the other. Each that is made is given one of its own, at random; 0 for none.
	Identity uint64
}

// MaxRuntime is the greatest length of Meta.Runtime.
const MaxRuntime = 16 << 20

const (
	format = 1

	headMagic  = "BLSN"
	chunkMagic = "BLSC"
	footMagic  = "BLSE"

	compatibleAt = 10 // of the compatible features in a record

	commonSize = 16 // magic, checksum, format, reserved, compatible and incompatible features, size
	headSize   = commonSize + 32
	chunkSize  = commonSize + 8 // and the payload
	footSize   = commonSize + 16

	// headIdentity is a compatible feature of the head: the identity follows the runtime's part.
	headIdentity = 1 << 0
	identitySize = 8

	// chunkPayload is how much of the state a chunk holds; a reader accepts up to maxPayload.
	chunkPayload = 128 << 10
	maxPayload   = 1 << 20

	maxHead  = headSize + MaxRuntime + identitySize
	maxChunk = chunkSize + maxPayload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendCommon begins a record of the given size, checksum left out. All records begin alike, so that a checksum can be
// verified before a version is known.
func appendCommon(dst []byte, magic string, size int) []byte {
	dst = append(dst, magic...)
	dst = append(dst, 0, 0, 0, 0, format, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

// seal writes the checksum of a record that is complete. It starts from a seed: the checksum of the head, so that a chunk
// of another snapshot is never taken for one of this; 0 for the head itself.
func seal(record []byte, seed uint32) {
	binary.LittleEndian.PutUint32(record[4:], crc32.Update(seed, castagnoli, record[8:]))
}

func sealed(record []byte, seed uint32) bool {
	return binary.LittleEndian.Uint32(record[4:]) == crc32.Update(seed, castagnoli, record[8:])
}

// checkFormat refuses what a later version wrote.
func checkFormat(record []byte) error {
	if version, incompatible := record[8], record[11]; version != format || incompatible != 0 {
		return fmt.Errorf("%w: format %d with incompatible features %#02x, this build reads format %d without any: "+
			"use the version of balsa that wrote it", ErrUnsupported, version, incompatible, format)
	}
	return nil
}

func (m *Meta) encode() []byte {
	size := headSize + len(m.Runtime)
	if m.Identity != 0 {
		size += identitySize
	}
	b := appendCommon(make([]byte, 0, size), headMagic, size)
	for _, n := range [...]uint64{
		uint64(m.Group), uint64(m.Position.Index), uint64(m.Position.Term), uint64(len(m.Runtime)),
	} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, m.Runtime...)
	if m.Identity != 0 {
		b[compatibleAt] |= headIdentity
		b = binary.LittleEndian.AppendUint64(b, m.Identity)
	}
	seal(b, 0)
	return b
}

// decodeMeta is the inverse of encode. What a compatible feature has added behind is passed over.
func decodeMeta(record []byte) (Meta, error) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(record[commonSize+8*i:]) }
	runtime := word(3)
	if runtime > uint64(len(record)-headSize) {
		return Meta{}, fmt.Errorf("%w: its head has %d bytes, of which %d are the runtime's", ErrDamaged, len(record), runtime)
	}
	m := Meta{Group: raft.GroupID(word(0)), Position: raft.Position{Index: raft.Index(word(1)), Term: raft.Term(word(2))}}
	if runtime > 0 {
		m.Runtime = record[headSize : headSize+runtime]
	}
	if rest := record[headSize+runtime:]; record[compatibleAt]&headIdentity != 0 && len(rest) >= identitySize {
		m.Identity = binary.LittleEndian.Uint64(rest)
	}
	return m, nil
}
