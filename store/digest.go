package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Digest is an additive hash of a multiset of records: records may be added and taken away in any order, one at a
// time, and equal sets have equal digests. Replicas compare them to notice that their applies went apart. It is no
// defence against somebody who makes collisions on purpose.
type Digest struct{ A, B uint64 }

func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.A, d.B) }

func (d *Digest) add(o Digest) {
	d.A += o.A
	d.B += o.B
}

func (d *Digest) remove(o Digest) {
	d.A -= o.A
	d.B -= o.B
}

// The kinds of records that are hashed. They are part of what replicas compare.
const (
	recordVersion byte = iota + 1
	recordCounters
	recordMember
	recordLease
	recordLeaseClock
	recordAttachment
	recordAlarm
	recordQuota
)

// hasher hashes records; it keeps a buffer.
type hasher struct{ buffer []byte }

// digestSeed sets the two halves apart.
const digestSeed = 0x9e3779b97f4a7c15

// start begins a record. The fields follow in hasher.buffer.
func (h *hasher) start(kind byte) {
	h.buffer = append(h.buffer[:0], 0, 0, 0, 0, 0, 0, 0, 0, kind)
}

func (h *hasher) number(n uint64) { h.buffer = binary.LittleEndian.AppendUint64(h.buffer, n) }

func (h *hasher) bytes(b []byte) {
	h.number(uint64(len(b)))
	h.buffer = append(h.buffer, b...)
}

func (h *hasher) sum() Digest {
	a := xxhash.Sum64(h.buffer)
	binary.LittleEndian.PutUint64(h.buffer, digestSeed)
	return Digest{a, xxhash.Sum64(h.buffer)}
}

// version hashes one version of a key.
func (h *hasher) version(key []byte, v *version) Digest {
	h.start(recordVersion)
	var flags byte
	if v.tombstone {
		flags = 1
	}
	h.buffer = append(h.buffer, flags)
	h.number(uint64(v.at.main))
	h.number(uint64(v.at.sub))
	h.number(uint64(v.created))
	h.number(uint64(v.count))
	h.number(uint64(v.lease))
	h.number(v.valueHash)
	h.bytes(key)
	return h.sum()
}

func hashValue(value []byte) uint64 { return xxhash.Sum64(value) }
