package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/balsadb/balsa/raft"
)

// A group is in doubt where this member has lost entries of it that it cannot get back one by one: it may have acknowledged them. Whoever is
// in doubt does not vote (docs/decisions/0023-repair-of-the-log.md). That outlives the process in a file of its own:
//
//	16  u64  cluster, member, 16 bytes data directory
//	48  u64  number of groups
//	56       groups × u64
//
// The file is there while a group is in doubt. One that cannot be read puts all of them in doubt.

const (
	doubtName     = "doubt"
	doubtFixed    = 56
	magicDoubt    = 0x3f574c42 // "BLW?"
	damagedSuffix = ".damaged"
)

// isRepairFile reports whether a name in a log's directory is of this file's making.
func isRepairFile(name string) bool {
	return name == doubtName || name == doubtName+".new" || strings.HasSuffix(name, segmentSuffix+damagedSuffix)
}

// doubts are the groups in doubt.
type doubts struct {
	groups []raft.GroupID
	all    bool // the file was damaged
}

func (d *doubts) has(id raft.GroupID) bool { return d.all || slices.Contains(d.groups, id) }

func (f files) readDoubts(id Identity) (d doubts, err error) {
	name := f.path(doubtName)
	file, err := f.fs.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	defer file.Close()
	w := &window{file: file, name: name}
	if w.size, err = file.Size(); err != nil {
		return d, err
	}
	h, err := w.header(0, magicDoubt, doubtFixed, 0)
	if errors.As(err, new(*unsound)) {
		return doubts{all: true}, nil
	}
	if err != nil {
		return d, err
	}
	r := reader{h[prefixSize:]}
	if r.identity() != id {
		return doubts{all: true}, nil
	}
	for n := r.u64(); n > 0 && len(r.b) >= 8; n-- {
		d.groups = append(d.groups, raft.GroupID(r.u64()))
	}
	return d, nil
}

// writeDoubts makes the file say who is in doubt, durably; it is not there where nobody is.
func (f files) writeDoubts(id Identity, d doubts) error {
	if len(d.groups) == 0 {
		if err := f.fs.Remove(f.path(doubtName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return f.fs.SyncDir(f.dir)
	}
	w := writer{make([]byte, prefixSize, doubtFixed+8*len(d.groups))}
	w.identity(id)
	w.u64(uint64(len(d.groups)))
	for _, g := range d.groups {
		w.u64(uint64(g))
	}
	seal(w.b, magicDoubt, 0, 0)
	next := f.path(doubtName + ".new")
	if err := f.fs.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.fs.Create(next)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(w.b, 0); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = f.fs.Rename(next, f.path(doubtName))
	}
	if err != nil {
		return err
	}
	return f.fs.SyncDir(f.dir)
}

// Doubt notes, durably, that entries of a group are lost for good that may have been acknowledged. It belongs to the log writer.
func (l *Log) Doubt(id raft.GroupID) error {
	if l.failure != nil {
		return l.failure
	}
	if l.doubts.has(id) {
		return nil
	}
	l.doubts.groups = append(l.doubts.groups, id)
	if err := l.writeDoubts(l.identity, l.doubts); err != nil {
		return l.fail(err)
	}
	return nil
}

// Settle notes, durably, that a group is not in doubt any more. Once none is, the damaged files that were put aside are removed. It
// belongs to the log writer.
func (l *Log) Settle(id raft.GroupID) error {
	if l.failure != nil {
		return l.failure
	}
	if !l.doubts.has(id) {
		return nil
	}
	if l.doubts.all {
		l.doubts.all = false
		for _, g := range l.groups.sorted {
			l.doubts.groups = append(l.doubts.groups, g.id)
		}
	}
	l.doubts.groups = slices.DeleteFunc(l.doubts.groups, func(g raft.GroupID) bool { return g == id })
	err := l.writeDoubts(l.identity, l.doubts)
	if err == nil && len(l.doubts.groups) == 0 {
		err = l.removeDamaged()
	}
	if err != nil {
		return l.fail(err)
	}
	return nil
}

func (f files) removeDamaged() error {
	names, err := f.fs.List(f.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, damagedSuffix) {
			if err := f.fs.Remove(f.path(name)); err != nil {
				return err
			}
		}
	}
	return f.fs.SyncDir(f.dir)
}

// beginAnew puts a log aside that is damaged where nothing has a name, and makes one in its place that knows all terms and votes, and no
// entry. All groups are in doubt. Each step may be the last before the power goes: the next start finds the damage again, or the new log.
//
//	doubt, durable → new segment behind the old ones, durable → old ones renamed, the oldest first
func (r *replay) beginAnew(opts Options) error {
	d := doubts{}
	t := newGroups()
	for _, c := range r.copies {
		for _, v := range c.groups {
			g := t.get(v.group)
			if checkHardState(g.id, g.hard, v.hard) == nil {
				g.hard = v.hard
			}
		}
	}
	for _, g := range r.groups.sorted {
		known := t.get(g.id)
		if checkHardState(g.id, known.hard, g.hard) == nil {
			known.hard = g.hard
		}
		known.commit = g.commit
	}
	for _, g := range t.sorted {
		d.groups = append(d.groups, g.id)
	}
	if err := r.writeDoubts(r.identity, d); err != nil {
		return err
	}
	number := r.proof.mark.Segment
	if n := len(r.numbers); n > 0 {
		number = max(number, r.numbers[n-1])
	}
	s, err := r.create(number+1, opts.SegmentSize)
	if err != nil {
		return err
	}
	h := head{identity: r.identity, segment: s.number, groups: t.checkpoints()}
	if _, err = s.file.WriteAt(h.encode(), 0); err == nil {
		err = s.file.Sync()
	}
	if err = errors.Join(err, s.file.Close()); err != nil {
		return err
	}
	return r.putAside()
}

// putAside renames the segments, and removes their directories.
func (r *replay) putAside() error {
	for _, number := range r.numbers {
		if err := r.fs.Remove(r.path(directoryName(number))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		from := r.path(segmentName(number))
		if err := r.fs.Rename(from, from+damagedSuffix); err != nil {
			return fmt.Errorf("putting %s aside: %w", from, err)
		}
		if err := r.fs.SyncDir(r.dir); err != nil {
			return err
		}
	}
	return nil
}
