package store

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compact moves the compact revision. What it makes garbage is taken out of the counters at once and out of the
// engine later, by CollectGarbage.
func (e *execution) compact(rev int64) error {
	switch {
	case rev <= e.compacted:
		return rpctypes.ErrGRPCCompacted
	case rev > e.revision:
		return rpctypes.ErrGRPCFutureRev
	}
	garbage, err := e.garbageAt(rev)
	if err != nil {
		return err
	}
	e.compacted, e.collected = rev, garbage
	return nil
}

// garbageAt returns what a compaction at rev makes garbage, those before it included.
func (e *execution) garbageAt(rev int64) (tally, error) {
	if rev == e.revision {
		return e.garbage, nil
	}
	if rev < 2 {
		return tally{}, nil // nothing was written at 1
	}
	if rev > e.base {
		return e.tallies[rev-e.base-1], nil // of this batch: the engine does not have its log yet
	}
	if err := e.openLog(); err != nil {
		return tally{}, err
	}
	if !e.log.SeekLT(e.appendLogKey(nil, revision{rev + 1, 0})) {
		if err := e.log.Error(); err != nil {
			return tally{}, err
		}
		return tally{}, fmt.Errorf("%w: nothing is logged up to revision %d", errCorrupt, rev)
	}
	at, err := cutLogKey(e.log.Key())
	if err != nil {
		return tally{}, err
	}
	if at.main != rev {
		return tally{}, fmt.Errorf("%w: revision %d is missing, the one before is %d", errCorrupt, rev, at.main)
	}
	record, err := decodeLogValue(at, e.log.Value())
	if err != nil {
		return tally{}, err
	}
	return record.garbage, e.log.Error()
}
