package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
)

// restoreBatch is how many bytes of a snapshot are applied to the new engine at once.
const restoreBatch = 256 << 10

// Restore implements balsa.Snapshotter. The snapshot is loaded into a new engine, and compared with itself and with
// what its position promises, before that takes the place of the current one. Reads go on all the while; those that have
// begun end with the state that they began with. Apply and Restore have one caller.
func (s *Store) Restore(at balsa.Position, r io.Reader) error {
	if err := s.restore(at, r); err != nil {
		return fmt.Errorf("store: restoring group %d at index %d: %w", s.group, at.Index, err)
	}
	return nil
}

func (s *Store) restore(at balsa.Position, r io.Reader) error {
	if err := s.mayRestore(at); err != nil {
		return err
	}
	next, err := s.home.Begin()
	if err != nil {
		return err
	}
	found, err := s.fill(next, at, r)
	if err == nil {
		err = s.turnTo(next, found)
	}
	if err != nil {
		return errors.Join(err, s.home.Abort(next))
	}
	return nil
}

func (s *Store) mayRestore(at balsa.Position) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	switch applied := s.writer.applied; {
	case s.home != nil && s.lost != nil:
		return nil
	case s.failure != nil:
		return s.failure
	case s.home == nil:
		return errors.New("the engine is shared with others and cannot be replaced: open the store with OpenHome")
	case at.Index <= applied.Index:
		return fmt.Errorf("index %d is applied already (E25)", applied.Index)
	}
	return nil
}

// turnTo commits the new engine and lets the store go on with it.
func (s *Store) turnTo(next engine.Engine, found contents) error {
	s.collection.step.Lock()
	defer s.collection.step.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.home.Commit(next); err != nil {
		if errors.Is(err, engine.ErrUncertain) {
			s.failure = err // what is written now, a restart may not find, though the log is cut behind it
		}
		return err
	}
	former, batch := s.engine, s.writer.batch
	s.lost, s.failure = nil, nil
	s.adopt(next, found, newUnflushed(0, generationKeys))
	_ = batch.Close()
	former.retire()
	return nil
}

// fill loads a snapshot into an engine, checks it, and returns what the engine holds then.
func (s *Store) fill(next engine.Engine, at balsa.Position, r io.Reader) (contents, error) {
	in := newStreamReader(r)
	position, err := in.begin()
	if err != nil {
		return contents{}, err
	}
	if position != at {
		return contents{}, fmt.Errorf("%w: it is of index %d, term %d, not of index %d, term %d",
			errStream, position.Index, position.Term, at.Index, at.Term)
	}
	l := &loader{layout: s.layout, engine: next, batch: next.NewBatch(), audit: newAudit()}
	err = errors.Join(l.load(in), l.batch.Close())
	if err != nil {
		return contents{}, err
	}
	digest, err := in.end()
	if err == nil {
		err = l.audit.check(at, digest)
	}
	if err != nil {
		return contents{}, err
	}
	return s.load(next)
}

// loader writes the records of a snapshot into an engine, or only adds them up where it has none.
type loader struct {
	layout
	engine engine.Engine
	batch  engine.Batch // nil where nothing is written
	audit  audit
	key    []byte // the current record's
	last   []byte // the one's before
}

func (l *loader) load(in *streamReader) error {
	for {
		key, value, ok, err := in.record()
		if err != nil {
			return err
		}
		if !ok && l.batch == nil {
			return nil
		}
		if !ok {
			l.batch.Set(l.single(spaceCensus), appendCensus(nil, l.audit.census.end(), l.audit.counters.revision))
			return l.engine.Apply(l.batch)
		}
		l.key, l.last = l.last, l.key
		lower, _ := l.all()
		l.key = append(append(l.key[:0], lower...), key...)
		if bytes.Compare(l.key, l.last) <= 0 {
			return fmt.Errorf("%w: key %q comes after %q", errStream, l.key, l.last)
		}
		if err := l.audit.record(l.key, value); err != nil {
			return err
		}
		if l.batch == nil {
			continue
		}
		l.batch.Set(l.key, value)
		if l.batch.Size() < restoreBatch {
			continue
		}
		if err := l.engine.Apply(l.batch); err != nil {
			return err
		}
		l.batch.Reset()
	}
}
