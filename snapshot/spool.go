package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// Spool is a directory of snapshots. Those in it are whole, verified and durable. Methods may be called concurrently.
type Spool struct {
	fsys  vfs.FS
	dir   string
	parts atomic.Uint64 // numbers the parts, so that two of the same position do not meet
}

// Entry names a snapshot in a spool.
type Entry struct {
	Group    raft.GroupID
	Position raft.Position
}

const (
	wholeSuffix = ".snap"
	partSuffix  = ".part"
)

func (e Entry) name() string {
	return fmt.Sprintf("%016x-%016x-%016x", uint64(e.Group), uint64(e.Position.Index), uint64(e.Position.Term))
}

// parseName is the inverse of name, with the suffix of a whole snapshot.
func parseName(name string) (Entry, bool) {
	var e Entry
	_, err := fmt.Sscanf(name, "%016x-%016x-%016x"+wholeSuffix, &e.Group, &e.Position.Index, &e.Position.Term)
	return e, err == nil && e.name()+wholeSuffix == name
}

// OpenSpool opens a directory, and makes it where there is none. Parts of snapshots that an earlier life left are removed, but for
// those that can be received further (Kept).
func OpenSpool(fsys vfs.FS, dir string) (*Spool, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("snapshot: making %s: %w", dir, err)
	}
	s := &Spool{fsys: fsys, dir: dir}
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: listing %s: %w", dir, err)
	}
	for _, name := range names {
		if _, resumable := parseKept(name); resumable || !strings.HasSuffix(name, partSuffix) {
			continue
		}
		if err := fsys.Remove(s.path(name)); err != nil {
			return nil, fmt.Errorf("snapshot: removing a part: %w", err)
		}
	}
	// A name that the last life left may be readable and not durable yet (E52).
	if err := fsys.SyncDir(dir); err != nil {
		return nil, fmt.Errorf("snapshot: syncing %s: %w", dir, err)
	}
	return s, nil
}

func (s *Spool) path(name string) string { return s.dir + "/" + name }

// List returns the snapshots in the spool, by group and index.
func (s *Spool) List() ([]Entry, error) {
	names, err := s.fsys.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: listing %s: %w", s.dir, err)
	}
	var all []Entry
	for _, name := range names {
		if e, ok := parseName(name); ok {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Position.Index, b.Position.Index),
			cmp.Compare(a.Position.Term, b.Position.Term))
	})
	return all, nil
}

// Newest returns the group's snapshot with the greatest index; found is false where there is none.
func (s *Spool) Newest(group raft.GroupID) (newest Entry, found bool, err error) {
	all, err := s.List()
	for _, e := range all {
		if e.Group == group {
			newest, found = e, true
		}
	}
	return newest, found, err
}

// RemoveOlder removes the group's snapshots below an index. After a power cut some may be back.
func (s *Spool) RemoveOlder(group raft.GroupID, than raft.Index) error {
	all, err := s.List()
	errs := []error{err}
	for _, e := range all {
		if e.Group == group && e.Position.Index < than {
			errs = append(errs, s.Remove(e))
		}
	}
	return errors.Join(errs...)
}

// Remove removes a snapshot. Who has it open reads on where the operating system allows that. After a power cut it may be back.
func (s *Spool) Remove(e Entry) error {
	if err := s.fsys.Remove(s.path(e.name() + wholeSuffix)); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// File is an open snapshot of a spool. One goroutine uses it.
type File struct {
	*Reader
	file vfs.File
	size int64
}

// Open opens a snapshot. Its bytes are verified again as they are read: a disk may have rotted.
func (s *Spool) Open(e Entry) (*File, error) {
	path := s.path(e.name() + wholeSuffix)
	file, err := s.fsys.OpenRead(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	f, err := readFile(file, e)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return f, nil
}

// readFile begins to read a file that should hold what e says.
func readFile(file vfs.File, e Entry) (*File, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	r, err := NewReader(io.NewSectionReader(file, 0, size))
	if err != nil {
		return nil, err
	}
	if r.meta.Group != e.Group || r.meta.Position != e.Position {
		return nil, fmt.Errorf("%w: it is of group %d, index %d, term %d, not of group %d, index %d, term %d", ErrDamaged,
			r.meta.Group, r.meta.Position.Index, r.meta.Position.Term, e.Group, e.Position.Index, e.Position.Term)
	}
	return &File{Reader: r, file: file, size: size}, nil
}

// Size returns the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Raw returns the file's own bytes from an offset on, head, chunks and foot, for sending them as they are.
func (f *File) Raw(offset int64) io.Reader { return io.NewSectionReader(f.file, offset, f.size-offset) }

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
