package pebble

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// pressure makes writers wait where flushes or compactions have fallen far behind. Pebble can do that itself, but
// a writer that waits inside Pebble would wait for ever once the disk has failed.
type pressure struct {
	memTables uint64 // bytes in all memtables above which writers wait
	sublevels int32  // of level 0, above which writers wait
	relief    chan struct{}
	since     int // bytes written since the last look; only Apply's caller touches it
}

// lookEvery is how many bytes are written between two looks, which cost some microseconds each.
const lookEvery = 1 << 20

func newPressure(options Options) *pressure {
	p := &pressure{memTables: 4 * options.MemTableBytes, sublevels: 40, relief: make(chan struct{}, 1)}
	if options.Deterministic { // nothing is flushed or compacted by itself: who waited for that would wait for ever
		p.memTables, p.sublevels = math.MaxUint64, math.MaxInt32
	}
	return p
}

// relieved is called when a flush or a compaction has ended.
func (p *pressure) relieved() {
	select {
	case p.relief <- struct{}{}:
	default:
	}
}

// wait returns when there is room for a batch of the given size, or when the engine has failed.
func (p *pressure) wait(db *pebble.DB, health *health, size int) error {
	if p.since += size; p.since < lookEvery {
		return nil
	}
	p.since = 0
	for {
		metrics := db.Metrics()
		if metrics.MemTable.Size <= p.memTables && metrics.Levels[0].Sublevels <= p.sublevels {
			return nil
		}
		select {
		case <-p.relief:
		case <-health.failed:
			return health.err()
		}
	}
}
