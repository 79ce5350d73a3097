package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/balsadb/balsa/engine"
	"github.com/cespare/xxhash/v2"
)

const censusFormat = 1

// appendCensus appends the record of the buckets as of a revision.
//
//	format u8, revision u64, number of buckets uvarint, for each: how many bytes of its first key are those of the one
//	before uvarint, the others (length uvarint, bytes), keys uvarint; XXH64 of everything before
func appendCensus(dst []byte, b *buckets, rev int64) []byte {
	begin := len(dst)
	dst = append(dst, censusFormat)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(rev))
	dst = binary.AppendUvarint(dst, uint64(b.Len()))
	var last string
	b.Scan(func(start string, n int64) bool {
		common := 0
		for common < min(len(last), len(start)) && last[common] == start[common] {
			common++
		}
		dst = binary.AppendUvarint(dst, uint64(common))
		dst = binary.AppendUvarint(dst, uint64(len(start)-common))
		dst = append(dst, start[common:]...)
		dst = binary.AppendUvarint(dst, uint64(n))
		last = start
		return true
	})
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(dst[begin:]))
}

// decodeCensus is the inverse of appendCensus. What it does not know, or is damaged, is an error: then there is none.
func decodeCensus(value []byte) (b *buckets, rev int64, err error) {
	if len(value) < 9 || value[0] != censusFormat {
		return nil, 0, fmt.Errorf("%w: a census of %d bytes", errCorrupt, len(value))
	}
	body := value[:len(value)-8]
	if xxhash.Sum64(body) != binary.LittleEndian.Uint64(value[len(body):]) {
		return nil, 0, fmt.Errorf("%w: the hash of the census is wrong", errCorrupt)
	}
	r := fields{rest: body[1:]}
	rev = int64(r.uint64())
	b = &buckets{}
	var last []byte
	for left := r.uvarint(); left > 0 && !r.failed; left-- {
		common := r.uvarint()
		if common > uint64(len(last)) {
			r.failed = true
			break
		}
		last = append(last[:common:common], r.bytes()...)
		b.Load(string(last), int64(r.uvarint()))
	}
	if _, first := b.Get(""); r.failed || len(r.rest) > 0 || !first {
		return nil, 0, fmt.Errorf("%w: the census of revision %d", errCorrupt, rev)
	}
	return b, rev, nil
}

// due reports whether the batch is to have a record of the census. The first one with a change has one.
func (c *census) due(compacted bool) bool {
	if c.buckets == nil || c.unsaved == 0 {
		return false
	}
	return compacted || c.saved == 0 || c.unsaved >= max(c.log, censusShare*c.saved)
}

// commitCensus puts the record into the batch where it is time: with a compaction, too, since a start needs the log from
// the record on.
func (e *execution) commitCensus(compacted bool) {
	if c := &e.census; c.due(compacted) {
		e.valueBytes = appendCensus(e.valueBytes[:0], c.buckets, e.revision)
		e.batch.Set(e.single(spaceCensus), e.valueBytes)
		c.saved, c.unsaved = len(e.valueBytes), 0
	}
}

// loadCensus reads the census of an engine and brings it up to date. It returns nil where there is none that counts.
func (l layout) loadCensus(reader engine.Reader, c *counters) (b *buckets, unsaved int, err error) {
	if c.revision == newCounters().revision {
		return emptyBuckets(), 0, nil
	}
	value, err := reader.Get(l.single(spaceCensus))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	b, rev, err := decodeCensus(value)
	if err != nil || rev > c.revision || rev < c.compacted {
		return nil, 0, nil // the log since may have gaps
	}
	unsaved, err = l.follow(reader, b, interval{}, rev, c.revision)
	return b, unsaved, err
}
