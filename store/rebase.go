package store

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/balsadb/balsa"
)

// Rebase makes a restored state that of a new cluster: it forgets the members, their alarms, the quota and what the runtime had kept, and with a bump
// it raises the revision by that much and compacts there, so that no revision that the former cluster gave out after the
// backup is given out again for something else, and watchers of older ones learn that they have missed something. It is
// durable when it returns. Nobody else uses the store meanwhile.
func (s *Store) Rebase(bump int64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	e := &s.writer
	switch {
	case s.failure != nil:
		return s.failure
	case bump < 0:
		return errors.New("store: revisions never go back: the bump must not be negative")
	case bump > math.MaxInt64-e.revision:
		return fmt.Errorf("store: revision %d cannot be raised by %d: the greatest revision is %d", e.revision, bump, int64(math.MaxInt64))
	}
	for i := range e.members {
		e.batch.Delete(e.memberKey(e.members[i].attributes.ID))
	}
	for i := range e.alarms {
		e.batch.Delete(e.alarmKey(&e.alarms[i]))
	}
	e.batch.Delete(e.single(spaceAlarm))
	e.batch.Delete(e.single(spaceRuntime))
	e.members, e.alarms, e.quota, e.published = nil, nil, Quota{}, Digest{}
	if bump > 0 {
		e.revision += bump
		e.garbage.add(e.next)
		e.next = tally{}
		e.compacted, e.collected = e.revision, e.garbage
	}
	e.census.unsaved++ // so that the census is as of this revision
	e.commitCensus(true)
	e.batch.Set(e.single(spaceMeta), e.counters.append(nil))
	err := s.engine.Apply(e.batch)
	e.finish()
	if err == nil {
		err = s.engine.Flush()
	}
	if err != nil {
		s.failure = fmt.Errorf("store: making the state a new cluster's: %w", err)
		return s.failure
	}
	s.publish()
	s.collection.want(e.compacted, false)
	return nil
}

// CheckSnapshot reads what a snapshot of a store has written, and says what does not add up, as Restore would.
func CheckSnapshot(at balsa.Position, r io.Reader) (SnapshotSummary, error) {
	in := newStreamReader(r)
	position, err := in.begin()
	if err == nil && position != at {
		err = fmt.Errorf("%w: it is of index %d, term %d, not of index %d, term %d",
			errStream, position.Index, position.Term, at.Index, at.Term)
	}
	if err != nil {
		return SnapshotSummary{}, err
	}
	l := &loader{audit: newAudit()}
	if err := l.load(in); err != nil {
		return SnapshotSummary{}, err
	}
	digest, err := in.end()
	if err == nil {
		err = l.audit.check(at, digest)
	}
	if err != nil {
		return SnapshotSummary{}, err
	}
	c := &l.audit.counters
	sum := SnapshotSummary{Revision: c.revision, Compacted: c.compacted, Bytes: int64(c.retained().size), Digest: digest}
	l.audit.census.end().Scan(func(_ string, n int64) bool {
		sum.Keys += n
		return true
	})
	return sum, nil
}

// SnapshotSummary is what a whole and good snapshot holds.
type SnapshotSummary struct {
	Revision, Compacted int64
	Keys                int64 // that are live
	Bytes               int64 // see Store.Size
	Digest              Digest
}
