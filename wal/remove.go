package wal

import (
	"errors"
	"io/fs"
	"slices"
)

// removeFree removes the segments that nobody needs, and reports how many are gone. The preparation is locked.
//
// They go one by one from the oldest on, each one durably before the next, so that the power never leaves a gap. The directory goes first: one
// without its segment would stay for ever. What fails is tried again at the next call.
func (l *Log) removeFree() (removed int, err error) {
	p := &l.prepare
	if err := l.detachFree(); err != nil {
		return 0, err
	}
	for len(p.free) > 0 {
		if err := l.removeSegment(p.free[0]); err != nil {
			return removed, err
		}
		p.free = p.free[1:]
		removed++
		l.stats.removed.Add(1)
	}
	return removed, nil
}

// detachFree takes the segments out of the log, so that no new reader finds them, waits for the readers that have, and closes them.
func (l *Log) detachFree() error {
	p, needed := &l.prepare, l.prepare.needed.Load()
	l.mu.Lock()
	n := 0
	for n < len(l.segments)-1 && l.segments[n].number < needed {
		n++
	}
	free := l.segments[:n:n]
	l.segments = l.segments[n:]
	l.mu.Unlock()
	if n == 0 {
		return nil
	}
	p.sealed = slices.DeleteFunc(p.sealed, func(number uint64) bool { return number < needed })
	l.reading.Lock()
	defer l.reading.Unlock()
	var errs []error
	for _, s := range free {
		p.free = append(p.free, s.number)
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

func (f files) removeSegment(number uint64) error {
	for _, name := range []string{directoryName(number), segmentName(number)} {
		if err := f.fs.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.fs.SyncDir(f.dir)
}

// removeOrphans removes directories whose segments were removed and which the power brought back.
func (f files) removeOrphans(segments []uint64) (removed int, err error) {
	if len(segments) == 0 {
		return 0, nil
	}
	names, err := f.fs.List(f.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if number, ok := parseName(name, directorySuffix); ok && number < segments[0] {
			if err := f.fs.Remove(f.path(name)); err != nil {
				return removed, err
			}
			removed++
		}
	}
	return removed, nil
}
