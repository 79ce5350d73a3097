package store

import (
	"errors"
	"io"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
)

// Snapshot implements balsa.Snapshotter. It may run concurrently with everything.
func (s *Store) Snapshot() (balsa.Snapshot, error) {
	s.writing.Lock() // so that state and engine are of the same moment
	defer s.writing.Unlock()
	if s.failure != nil {
		return nil, s.failure
	}
	now := s.use()
	return &snapshot{layout: s.layout, state: now, reader: now.engine.NewSnapshot()}, nil
}

// snapshot is all records of a group as of one batch, garbage that is not removed yet included: it implements
// balsa.Snapshot.
type snapshot struct {
	layout
	state  *state
	reader engine.Snapshot // nil once it is closed
}

func (s *snapshot) Position() balsa.Position { return s.state.applied }

// Revisions returns the snapshot's current and compact revision.
func (s *snapshot) Revisions() (revision, compacted int64) {
	return s.state.revision, s.state.compacted
}

// WriteTo implements balsa.Snapshot.
func (s *snapshot) WriteTo(w io.Writer) (int64, error) {
	if s.reader == nil {
		return 0, errors.New("store: the snapshot is closed")
	}
	out := newStreamWriter(w)
	err := s.write(out)
	if err == nil {
		err = out.end(s.state.digest)
	}
	return out.written, err
}

func (s *snapshot) write(out *streamWriter) error {
	walk, err := s.reader.NewIterator(s.all())
	if err != nil {
		return err
	}
	defer walk.Close()
	if err := out.begin(s.state.applied); err != nil {
		return err
	}
	for ok := walk.First(); ok; ok = walk.Next() {
		if walk.Key()[groupSize] == spaceCensus {
			continue // who restores it counts by himself
		}
		if err := out.record(walk.Key()[groupSize:], walk.Value()); err != nil {
			return err
		}
	}
	return walk.Error()
}

func (s *snapshot) Close() error {
	if s.reader == nil {
		return nil
	}
	defer s.state.engine.leave()
	reader := s.reader
	s.reader = nil
	return reader.Close()
}
