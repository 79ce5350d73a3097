package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errCorrupt is wrapped where the engine holds what the store never wrote.
var errCorrupt = errors.New("store: the state is damaged")

// version is what the index knows about one version of a key.
type version struct {
	at        revision
	tombstone bool   // the key was deleted here; what follows is zero then
	created   int64  // the main revision at which the key came into being
	count     int64  // how often it was written since then (etcd calls it the version)
	lease     int64  // 0 where there is none
	valueHash uint64 // of the value, so that digests need not read it
	valueSize int64
}

const flagTombstone = 1

// versionOverhead is what a version counts in the logical size besides its key and value. It is part of what
// replicas agree on.
const versionOverhead = 64

// size is what the version counts in the logical size of the database.
func (v *version) size(key []byte) uint64 {
	return uint64(len(key)) + uint64(v.valueSize) + versionOverhead
}

// appendIndexValue appends the value of v's index record.
//
//	flags u8; unless it is a tombstone: age uvarint (main − created), count uvarint, lease uvarint,
//	value size uvarint, value hash u64
func appendIndexValue(dst []byte, v *version) []byte {
	if v.tombstone {
		return append(dst, flagTombstone)
	}
	dst = append(dst, 0)
	dst = binary.AppendUvarint(dst, uint64(v.at.main-v.created))
	dst = binary.AppendUvarint(dst, uint64(v.count))
	dst = binary.AppendUvarint(dst, uint64(v.lease))
	dst = binary.AppendUvarint(dst, uint64(v.valueSize))
	return binary.LittleEndian.AppendUint64(dst, v.valueHash)
}

// decodeIndexValue is the inverse of appendIndexValue; v.at is set already.
func decodeIndexValue(v *version, value []byte) error {
	r := fields{rest: value}
	flags := r.byte()
	if v.tombstone = flags == flagTombstone; !v.tombstone {
		v.created = v.at.main - int64(r.uvarint())
		v.count = int64(r.uvarint())
		v.lease = int64(r.uvarint())
		v.valueSize = int64(r.uvarint())
		v.valueHash = r.uint64()
	}
	if r.failed || flags > flagTombstone || len(r.rest) > 0 {
		return fmt.Errorf("%w: index record of revision %d.%d: %x", errCorrupt, v.at.main, v.at.sub, value)
	}
	return nil
}

// logged is a record of the revision log: one change, whole.
type logged struct {
	tombstone bool
	garbage   tally // see counters.garbage, as of the end of this record's main revision
	key       []byte
	created   int64
	count     int64
	lease     int64
	value     []byte
}

// appendLogValue appends the value of the log record of a change.
//
//	flags u8, garbage (size uvarint, digest 2 × u64), key (length uvarint, bytes);
//	unless it is a tombstone: age uvarint, count uvarint, lease uvarint, value
func appendLogValue(dst []byte, v *version, garbage *tally, key, value []byte) []byte {
	var flags byte
	if v.tombstone {
		flags = flagTombstone
	}
	dst = append(dst, flags)
	dst = garbage.append(dst)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	if v.tombstone {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(v.at.main-v.created))
	dst = binary.AppendUvarint(dst, uint64(v.count))
	dst = binary.AppendUvarint(dst, uint64(v.lease))
	return append(dst, value...)
}

// decodeLogValue is the inverse of appendLogValue. Key and value alias the argument.
func decodeLogValue(at revision, value []byte) (logged, error) {
	r := fields{rest: value}
	var l logged
	flags := r.byte()
	l.tombstone = flags == flagTombstone
	l.garbage = r.tally()
	l.key = r.bytes()
	if !l.tombstone {
		l.created = at.main - int64(r.uvarint())
		l.count = int64(r.uvarint())
		l.lease = int64(r.uvarint())
		l.value = r.rest
	}
	if r.failed || flags > flagTombstone || l.tombstone && len(r.rest) > 0 {
		return logged{}, fmt.Errorf("%w: revision log record %d.%d of %d bytes", errCorrupt, at.main, at.sub, len(value))
	}
	return l, nil
}

// tally is a count of versions: their logical size and their digest.
type tally struct {
	size   uint64
	digest Digest
}

func (t *tally) add(o tally) {
	t.size += o.size
	t.digest.add(o.digest)
}

func (t *tally) remove(o tally) {
	t.size -= o.size
	t.digest.remove(o.digest)
}

func (t *tally) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.size)
	dst = binary.LittleEndian.AppendUint64(dst, t.digest.A)
	return binary.LittleEndian.AppendUint64(dst, t.digest.B)
}

// fields reads a record's fields one after the other; a field that is not there sets failed and reads as zero.
type fields struct {
	rest   []byte
	failed bool
}

func (f *fields) byte() byte {
	if len(f.rest) == 0 {
		f.failed = true
		return 0
	}
	b := f.rest[0]
	f.rest = f.rest[1:]
	return b
}

func (f *fields) uvarint() uint64 {
	n, length := binary.Uvarint(f.rest)
	if length <= 0 {
		f.failed = true
		return 0
	}
	f.rest = f.rest[length:]
	return n
}

func (f *fields) uint64() uint64 {
	if len(f.rest) < 8 {
		f.failed = true
		return 0
	}
	n := binary.LittleEndian.Uint64(f.rest)
	f.rest = f.rest[8:]
	return n
}

func (f *fields) bytes() []byte {
	n := f.uvarint()
	if n > uint64(len(f.rest)) {
		f.failed = true
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) tally() tally {
	return tally{size: f.uvarint(), digest: Digest{f.uint64(), f.uint64()}}
}
