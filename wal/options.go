package wal

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// Identity is whose log a directory holds. It is in the head of every segment and in the copies of the votes, and
// a directory of somebody else is refused.
type Identity struct {
	Cluster uint64
	Member  raft.MemberID
	DataDir [16]byte // the data directory's own UUID: a copied or swapped disk shows by it
}

func (id Identity) String() string {
	return fmt.Sprintf("cluster %x, member %x, data directory %x", id.Cluster, uint64(id.Member), id.DataDir)
}

// Options are what Open is told. Zero fields take their defaults.
type Options struct {
	Identity Identity
	// SegmentSize is the size of a segment file in bytes, 64 MiB by default. Smaller ones give space back in smaller
	// pieces, and roll more often. A batch that does not fit into one gets a larger segment of its own.
	SegmentSize int64
	// Mend lets Open go on where the log is damaged (docs/decisions/0023-repair-of-the-log.md): what is lost is in Recovered, and the
	// caller sees to it that nobody relies on it. Without it nothing damaged is opened.
	Mend bool
}

const (
	defaultSegmentSize = 64 << 20
	minSegmentSize     = 4 << 10
	maxSegmentSize     = 1 << 30 // offsets in a segment, of a batch of its own too, fit 32 bits
)

func (o Options) checked() (Options, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize {
		return o, fmt.Errorf("wal: a segment size of %d bytes is out of range: from %d to %d", o.SegmentSize, minSegmentSize, maxSegmentSize)
	}
	return o, nil
}
