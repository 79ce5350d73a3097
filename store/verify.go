package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Verify reads everything and compares it with itself: every version that the index retains is in the revision log,
// with the value that its hash says, and the counters are the sum of the versions. It costs a read of the whole
// state, and runs beside everything else.
func (s *Store) Verify(ctx context.Context) error {
	s.writing.Lock() // so that counters and snapshot are of the same moment
	state := s.use()
	snapshot := state.engine.NewSnapshot()
	s.writing.Unlock()
	defer state.engine.leave()
	v := view{layout: s.layout, reader: snapshot}
	err := v.verify(ctx, &state.counters)
	return errors.Join(err, v.close(), snapshot.Close())
}

func (v *view) verify(ctx context.Context, c *counters) error {
	total, err := v.sum(ctx, c.compacted, c.revision)
	if err != nil {
		return err
	}
	if want := c.retained(); total != want {
		return fmt.Errorf("%w: the versions add up to %d bytes, digest %v; the counters say %d, %v",
			errCorrupt, total.size, total.digest, want.size, want.digest)
	}
	return v.verifyLog(ctx, c.compacted)
}

// verifyLog compares every retained version with its record in the revision log.
func (v *view) verifyLog(ctx context.Context, compacted int64) error {
	var current []byte
	var older bool
	return v.walkIndex(ctx, func(name []byte, version *version) error {
		if string(name) != string(current) || current == nil {
			current, older = append(current[:0], name...), false
		}
		retained := version.retained(compacted, older)
		older = older || version.at.main <= compacted
		if !retained {
			return nil
		}
		record, err := v.logged(version.at)
		if err != nil {
			return err
		}
		same := record.tombstone == version.tombstone && bytes.Equal(record.key, name) &&
			record.created == version.created && record.count == version.count && record.lease == version.lease
		if !same || !version.tombstone && hashValue(record.value) != version.valueHash {
			return fmt.Errorf("%w: key %q at revision %d.%d: index and revision log differ",
				errCorrupt, name, version.at.main, version.at.sub)
		}
		return nil
	})
}
