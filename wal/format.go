package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/balsadb/balsa/raft"
)

// The formats are described in docs/formats-wal.md. All numbers are little endian. Every record starts with the same 16
// bytes, so that its checksum can be verified before its version is known:
//
//	 0  u32  magic
//	 4  u32  CRC-32C of [8, header size)
//	 8  u8   format version
//	 9  u8   0
//	10  u8   compatible features: a reader may ignore those that it does not know
//	11  u8   incompatible features: a reader refuses those that it does not know
//	12  u32  header size
const (
	formatVersion = 1

	magicSegment   = 0x53574c42 // "BLWS"
	magicBatch     = 0x42574c42 // "BLWB"
	magicVotes     = 0x56574c42 // "BLWV"
	magicDirectory = 0x44574c42 // "BLWD"

	// featureFloors is an incompatible feature of a batch: states of it say that entries were given up. Who does not know
	// that would miss them.
	featureFloors = 1

	prefixSize = 16
	alignment  = 8 // every batch starts at a multiple: where the search for the next sound one looks
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var order = binary.LittleEndian

// Position is a place in the log: a segment's number and an offset in its file.
type Position struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

// Less reports whether p comes before q.
func (p Position) Less(q Position) bool {
	return p.Segment < q.Segment || p.Segment == q.Segment && p.Offset < q.Offset
}

func (p Position) String() string { return fmt.Sprintf("segment %d byte %d", p.Segment, p.Offset) }

// salt starts the checksums of a segment's batches, so that a batch of another segment, or of another directory's log, is never taken for one of it.
func (id Identity) salt(segment uint64) uint32 {
	var b [40]byte
	order.PutUint64(b[0:], id.Cluster)
	order.PutUint64(b[8:], uint64(id.Member))
	copy(b[16:], id.DataDir[:])
	order.PutUint64(b[32:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

// seal completes a record's prefix; header is the whole header. The rest of it must be in place. incompatible are the
// features that its reader must know.
func seal(header []byte, magic, salt uint32, incompatible uint8) {
	order.PutUint32(header[0:], magic)
	header[8], header[9], header[10], header[11] = formatVersion, 0, 0, incompatible
	order.PutUint32(header[12:], uint32(len(header)))
	order.PutUint32(header[4:], crc32.Update(salt, castagnoli, header[8:]))
}

// headerSize reads the size that a prefix claims, and reports whether it can be one.
func headerSize(prefix []byte, magic uint32, smallest int) (int64, error) {
	if got := order.Uint32(prefix); got != magic {
		return 0, fmt.Errorf("no record starts here (%08x instead of %08x)", got, magic)
	}
	size := int64(order.Uint32(prefix[12:]))
	if size < int64(smallest) {
		return 0, fmt.Errorf("a header of %d bytes is too small", size)
	}
	return size, nil
}

// open verifies a header's checksum, then its version.
func open(file string, header []byte, salt uint32) error {
	if got, want := crc32.Update(salt, castagnoli, header[8:]), order.Uint32(header[4:]); got != want {
		return fmt.Errorf("the header's checksum is %08x, computed %08x", want, got)
	}
	known := uint8(0)
	if order.Uint32(header) == magicBatch {
		known = featureFloors
	}
	if header[8] != formatVersion || header[11]&^known != 0 {
		return &VersionError{File: file, Version: header[8], Incompatible: header[11]}
	}
	return nil
}

// writer appends fixed-size numbers to a buffer.
type writer struct{ b []byte }

func (w *writer) u64(v uint64) { w.b = order.AppendUint64(w.b, v) }
func (w *writer) u32(v uint32) { w.b = order.AppendUint32(w.b, v) }

// reader takes them off again. Its user has checked that there is enough.
type reader struct{ b []byte }

func (r *reader) u64() uint64 {
	v := order.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) u32() uint32 {
	v := order.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// run is entries of one group and one term, one after the other: what batches, echoes and directories list.
type run struct {
	group raft.GroupID
	term  raft.Term
	first raft.Index
	count uint32
	bytes uint64 // of all its frames
}

const runSize = 40

func (r run) last() raft.Index { return r.first + raft.Index(r.count) - 1 }

func (r run) lost() LostRun {
	return LostRun{Group: r.group, First: r.first, Last: r.last(), Term: r.term}
}

func (w *writer) run(r run) {
	w.u64(uint64(r.group))
	w.u64(uint64(r.term))
	w.u64(uint64(r.first))
	w.u32(r.count)
	w.u32(0)
	w.u64(r.bytes)
}

func (r *reader) run() (v run) {
	v.group, v.term, v.first = raft.GroupID(r.u64()), raft.Term(r.u64()), raft.Index(r.u64())
	v.count = r.u32()
	r.u32()
	v.bytes = r.u64()
	return v
}

// valid reports whether the numbers can be a run's at all, so that arithmetic on them does not overflow.
func (r run) valid() bool {
	return r.first > 0 && r.count > 0 && r.first+raft.Index(r.count) > r.first && r.bytes < 1<<40 &&
		r.bytes >= uint64(r.count)*raft.EntryHeaderSize
}

func align(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }
