package store

import (
	"encoding/binary"
	"fmt"

	"github.com/balsadb/balsa"
)

// counters is all that the store knows beyond its records. It is one record of its own, written with every batch.
//
// Which versions a compaction makes garbage is known when they are superseded, long before: a version that is
// superseded at revision s is garbage once the compact revision is s or more, a tombstone at revision t once it
// is t+1 or more (at t itself a watcher may still ask for the deletion). So the store adds up, revision by
// revision, what would be garbage if it were compacted there (garbage), and writes the sum into the revision log.
// A compaction looks its sum up: it costs the same however much it drops.
type counters struct {
	applied  balsa.Position
	revision int64 // the last one given out; 1 in an empty store
	// compacted is the compact revision, −1 before the first compaction, as in etcd.
	compacted int64
	all       tally  // every version ever written
	garbage   tally  // those that a compaction at revision would make garbage
	next      tally  // those that one at revision+1 would add: tombstones, and what its own command superseded
	collected tally  // what garbage was at the compact revision
	published Digest // of what members have published, the alarms and the quota
	// sums is not part of this record: the leases have one.
	sums leaseSums
}

const countersFormat = 1

func newCounters() counters { return counters{revision: 1, compacted: -1} }

// retained is what no compaction has dropped.
func (c *counters) retained() tally {
	t := c.all
	t.remove(c.collected)
	return t
}

// digest is the digest of the whole logical state.
func (c *counters) digest(h *hasher) Digest {
	h.start(recordCounters)
	h.number(uint64(c.revision))
	h.number(uint64(c.compacted))
	d := h.sum()
	d.add(c.retained().digest)
	d.add(c.published)
	d.add(c.sums.digest)
	return d
}

// append appends the record: format u8, compatible and incompatible features u8 (none yet), and the fields.
func (c *counters) append(dst []byte) []byte {
	dst = append(dst, countersFormat, 0, 0)
	for _, n := range [...]uint64{
		uint64(c.applied.Index), uint64(c.applied.Term), uint64(c.revision), uint64(c.compacted),
		c.published.A, c.published.B,
	} {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	for _, t := range [...]*tally{&c.all, &c.garbage, &c.next, &c.collected} {
		dst = t.append(dst)
	}
	return dst
}

// decodeCounters is the inverse of append. It refuses a format or an incompatible feature that it does not know,
// and passes over what a compatible one has added.
func decodeCounters(value []byte) (counters, error) {
	r := fields{rest: value}
	format, compatible, incompatible := r.byte(), r.byte(), r.byte()
	if !r.failed && (format != countersFormat || incompatible != 0) {
		return counters{}, fmt.Errorf("store: the state has format %d with incompatible features %#02x, "+
			"this build reads format %d without any: use the version of balsa that wrote it",
			format, incompatible, countersFormat)
	}
	var c counters
	c.applied.Index = balsa.Index(r.uint64())
	c.applied.Term = balsa.Term(r.uint64())
	c.revision = int64(r.uint64())
	c.compacted = int64(r.uint64())
	c.published = Digest{r.uint64(), r.uint64()}
	c.all, c.garbage, c.next, c.collected = r.tally(), r.tally(), r.tally(), r.tally()
	if r.failed || compatible == 0 && len(r.rest) > 0 {
		return counters{}, fmt.Errorf("%w: the counters: %x", errCorrupt, value)
	}
	return c, nil
}
