package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/vfs"
	"github.com/balsadb/balsa/wal"
)

// survivor is the data directory of a member whose cluster lost its majority, as it lies there: it is held, and never written to.
type survivor struct {
	path          string
	fsys          vfs.FS
	identity      *datadir.Identity
	configuration raft.Configuration // the last one that it knew
	applied       balsa.Position     // of the state
	revision      int64              // of the state
	last          balsa.Position     // of all that it has
	committed     balsa.Index        // as far as it knew
	entries       []raft.Entry       // above applied, without gaps, up to last
	record        *datadir.Recovery  // where it came of a recovery itself
	state         *store.Store
	closers       []func() error
}

// openSurvivor reads what a directory holds. The error says what is wrong with it, and what to do.
func openSurvivor(path string) (s *survivor, err error) {
	s = &survivor{path: filepath.Clean(path)}
	s.fsys = vfs.NewOS(s.path)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.identity, err = datadir.Inspect(s.fsys, s.path); err != nil {
		return s, err
	}
	if s.identity == nil {
		return s, fmt.Errorf("%s is not a data directory: there is no identity.json in it", s.path)
	}
	release, err := datadir.Hold(s.fsys, s.path)
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() error { release(); return nil })
	if err = datadir.CheckSuperseded(s.fsys, s.path); err != nil {
		return s, err
	}
	if s.record, err = datadir.ReadRecovery(s.fsys); err != nil {
		return s, fmt.Errorf("data directory %s: %w", s.path, err)
	}
	if err = s.openState(); err != nil {
		return s, fmt.Errorf("the state in %s: %w", s.path, err)
	}
	if err = s.readLog(); err != nil {
		return s, fmt.Errorf("the log in %s: %w", s.path, err)
	}
	return s, nil
}

func (s *survivor) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *survivor) openState() error {
	engine, err := pebble.OpenReadOnly(filepath.Join(s.path, datadir.StateDir), pebble.Options{})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, engine.Close)
	if s.state, err = store.Open(engine, store.Options{Group: theGroup}); err != nil {
		return err
	}
	_, s.applied = s.state.Digest()
	s.revision, s.last = s.state.Revision(), s.applied
	if s.configuration, err = firstConfiguration(s.identity); err != nil {
		return err
	}
	kept, err := s.state.Runtime()
	if err != nil {
		return err
	}
	at, err := balsa.KeptConfiguration(kept)
	if at != nil {
		s.configuration = at.Configuration
	}
	return err
}

// placed is an entry with where it lies.
type placed struct {
	at    wal.Position
	entry raft.Entry
}

// readLog takes the entries above the state, as a start would find them.
func (s *survivor) readLog() error {
	var found []placed
	var end wal.EndInfo
	damage := ""
	err := wal.Dump(s.fsys, datadir.LogDir, wal.Visitor{
		Entry: func(i wal.EntryInfo) error {
			switch {
			case i.Group != theGroup || i.Index <= s.applied.Index:
			case i.Error != "":
				damage = fmt.Sprintf("index %d at %s: %s", i.Index, placeText(i.At), i.Error)
			default:
				found = append(found, placed{i.At, append(raft.Entry(nil), i.Entry...)})
			}
			return nil
		},
		End: func(i wal.EndInfo) error { end = i; return nil },
	})
	switch {
	case err != nil:
		return err
	case end.Refused != "":
		return fmt.Errorf("it is damaged, and what it may have lost is not known: %s; offer another member's directory, or restore a backup", end.Refused)
	}
	for _, g := range end.Groups {
		if g.Group == theGroup {
			return s.takeLog(&g, found, end.End, damage)
		}
	}
	s.committed = s.applied.Index
	return nil // it has none of this group
}

func (s *survivor) takeLog(group *wal.HardStateInfo, found []placed, end wal.Position, damage string) error {
	s.committed = max(group.Commit, s.applied.Index)
	if group.Before.Index > s.applied.Index {
		return fmt.Errorf("it begins after index %d, and the state has applied no more than index %d: the entries between are missing",
			group.Before.Index, s.applied.Index)
	}
	for _, p := range found {
		if !p.at.Less(end) {
			continue // behind a torn tail
		}
		index := p.entry.Index()
		if next := s.applied.Index + balsa.Index(len(s.entries)) + 1; index > next {
			return fmt.Errorf("entries %d to %d are not in it (%s)", next, index-1, damage)
		}
		s.entries = append(s.entries[:index-s.applied.Index-1], p.entry) // what followed it once was replaced
	}
	last := max(group.Last.Index, s.applied.Index)
	if n := s.applied.Index + balsa.Index(len(s.entries)); n < last {
		return fmt.Errorf("entries %d to %d are not in it (%s)", n+1, last, damage)
	}
	s.entries = s.entries[:last-s.applied.Index] // what was given up is behind that
	previous := s.applied.Term
	for _, e := range s.entries {
		if e.Term() < previous {
			s.entries = nil // the log ends in what others overwrote; the state is ahead of it
			return nil
		}
		previous = e.Term()
		if e.Kind() != raft.EntryConfiguration {
			continue
		}
		c, err := raft.DecodeConfiguration(e.Payload())
		if err != nil {
			return fmt.Errorf("index %d: %w", e.Index(), err)
		}
		s.configuration = c
	}
	if n := len(s.entries); n > 0 {
		s.last = s.entries[n-1].Position()
	}
	return nil
}

// further reports whether s has more than other: by the rule of elections, so that nothing is passed over which was committed.
func (s *survivor) further(other *survivor) bool {
	switch {
	case s.last.Term != other.last.Term:
		return s.last.Term > other.last.Term
	case s.last.Index != other.last.Index:
		return s.last.Index > other.last.Index
	}
	return s.committed > other.committed
}

// names says who the members were that are lost.
func (s *survivor) names() []string {
	var names []string
	for i := range s.configuration.Seats {
		id := s.configuration.Seats[i].ID
		if id == s.identity.Member {
			continue
		}
		names = append(names, s.nameOf(id))
	}
	return names
}

func (s *survivor) nameOf(id balsa.MemberID) string {
	text := hexID(uint64(id))
	for _, m := range s.state.Members() {
		if m.ID == uint64(id) && m.Name != "" {
			return m.Name + " (" + text + ")"
		}
	}
	for _, m := range s.identity.Cluster.Members {
		if m.ID == id && m.Name != "" {
			return m.Name + " (" + text + ")"
		}
	}
	return text
}
