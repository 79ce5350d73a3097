package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Verify reads everything and compares it with itself: every version that the index retains is in the revision log,
// with the value that its hash says, the counters are the sum of the versions, and so are the leases and the lists of their keys. It costs a read of the whole
// state, and runs beside everything else.
func (s *Store) Verify(ctx context.Context) error {
	s.writing.Lock() // so that counters and snapshot are of the same moment
	state := s.use()
	snapshot := state.engine.NewSnapshot()
	s.writing.Unlock()
	defer state.engine.leave()
	v := view{layout: s.layout, reader: snapshot, census: state.census, at: state.revision}
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
	if err := v.verifyLeases(ctx, c); err != nil {
		return err
	}
	if err := v.verifyCensus(ctx); err != nil {
		return err
	}
	return v.verifyLog(ctx, c.compacted)
}

// verifyLeases adds up the leases, and compares the lists of their keys with what the newest versions say.
func (v *view) verifyLeases(ctx context.Context, c *counters) error {
	var h hasher
	all, sums, err := loadLeases(v.reader, v.layout)
	if err != nil {
		return err
	}
	total, listed := h.leaseClock(sums.clock), Digest{}
	all.Scan(func(id int64, l lease) bool {
		total.add(h.lease(id, &l))
		var keys []string
		if keys, err = attachedKeys(v.reader, v.layout, id); err != nil {
			return false
		}
		for _, key := range keys {
			listed.add(h.attachment(id, []byte(key)))
		}
		return true
	})
	if err != nil {
		return err
	}
	if total != sums.digest || sums != c.sums {
		return fmt.Errorf("%w: the leases have digest %v, their record says %v at %d, the counters %v at %d",
			errCorrupt, total, sums.digest, sums.clock, c.sums.digest, c.sums.clock)
	}
	attached, err := v.sumAttached(ctx)
	if err == nil && attached != listed {
		err = fmt.Errorf("%w: the keys that are listed with leases are not those that are attached to them", errCorrupt)
	}
	return err
}

// sumAttached adds up the attachments that the newest versions of all keys say.
func (v *view) sumAttached(ctx context.Context) (sum Digest, err error) {
	var h hasher
	var current []byte
	err = v.walkIndex(ctx, func(name []byte, version *version) error {
		if current != nil && string(name) == string(current) {
			return nil
		}
		if current = append(current[:0], name...); version.lease != 0 {
			sum.add(h.attachment(version.lease, name))
		}
		return nil
	})
	return sum, err
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
