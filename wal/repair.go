package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/balsadb/balsa/vfs"
)

// recover carries out a verdict. Each step may be the last one before the power goes: the next start then finds a
// situation that is in the table too, and does what is left.
func (l *Log) recover(r *replay, row recoveryRow, report *Report) error {
	l.prepare.wanted.Store(true)
	var err error
	if l.doubts, err = l.readDoubts(l.identity); err != nil {
		return err
	}
	if err := l.removeUnused(r, row); err != nil {
		return err
	}
	if err := l.votes.open(l.files); err != nil {
		return err
	}
	if row.verdict == create {
		return l.create1()
	}
	if err := l.openSegments(r); err != nil {
		return err
	}
	if row.verdict == cut {
		report.CutBytes = r.written.Offset - r.end.Offset
		if err := writeZeros(l.active.file, r.end.Offset, r.written.Offset); err != nil {
			return err
		}
	}
	if err := l.settle(r); err != nil {
		return err
	}
	if err := l.mendOnDisk(&r.damage, report); err != nil {
		return err
	}
	if err := l.repairVotes(r, report); err != nil {
		return err
	}
	if err := l.checkDirectories(report); err != nil {
		return err
	}
	// What was found is durable now; the votes say so, and from here on a mark. Segments whose removal was interrupted are found again.
	l.proved, l.free.changed = l.synced, true
	l.freeSegments()
	if err := l.Idle(); err != nil {
		return err
	}
	return l.Sync()
}

// removeUnused removes files that the log has no use for: segments that it has not got into, which are prepared ones, and one whose
// head was being written, and directories of segments that were removed.
func (l *Log) removeUnused(r *replay, row recoveryRow) error {
	used := r.used
	if row.verdict == create {
		used = 0
	}
	for _, number := range r.numbers[used:] {
		if err := l.fs.Remove(l.path(segmentName(number))); err != nil {
			return err
		}
	}
	orphans, err := l.removeOrphans(r.numbers[:used])
	if err != nil || len(r.numbers) == used && orphans == 0 {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// create1 makes a new log: its first segment, and when that is durable the copies of the votes.
func (l *Log) create1() error {
	first, err := l.create(1, l.segmentSize)
	if err != nil {
		return err
	}
	l.prepare.number = 2
	if err := l.begin(first, 0); err != nil {
		return errors.Join(err, first.file.Close())
	}
	for range l.votes.files {
		if err := l.votes.write(l.files, l.identity, l.synced, l.groups); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) openSegments(r *replay) error {
	for i, number := range r.numbers[:r.used] {
		open := l.fs.OpenRead
		if i == r.used-1 {
			open = l.fs.Open
		}
		file, err := open(l.path(segmentName(number)))
		if err != nil {
			return err
		}
		s := &segment{number: number, file: file}
		l.segments = append(l.segments, s)
		if s.size, err = file.Size(); err != nil {
			return err
		}
	}
	l.active = l.segments[r.used-1]
	l.active.salt = l.identity.salt(l.active.number)
	l.prepare.number = l.active.number + 1
	l.tail, l.marked = r.end, r.lastMark
	l.echo, l.echoAt = r.lastRuns, r.lastOffset
	l.stats.tail.Store(l.tail.Offset)
	l.stats.room.Store(l.active.size - l.tail.Offset)
	return nil
}

// settle makes what was read durable. That it can be read proves nothing: after a failed sync the page cache shows
// bytes that the disk does not have, and will not write again. So what no mark proves is written once more before it is synced.
func (l *Log) settle(r *replay) error {
	from := int64(0)
	if r.proof.mark.Segment == l.tail.Segment {
		from = r.proof.mark.Offset
	}
	buf := make([]byte, min(gatherSize, max(l.tail.Offset-from, 1)))
	for at := from; at < l.tail.Offset; {
		part := buf[:min(int64(len(buf)), l.tail.Offset-at)]
		if _, err := l.active.file.ReadAt(part, at); err != nil {
			return err
		}
		if _, err := l.active.file.WriteAt(part, at); err != nil {
			return err
		}
		at += int64(len(part))
	}
	if err := l.active.file.Sync(); err != nil {
		return err
	}
	l.stats.syncs.Add(1)
	l.synced = l.tail
	return nil
}

func writeZeros(file vfs.File, from, to int64) error {
	for at := from; at < to; {
		part := zeros[:min(int64(len(zeros)), to-at)]
		if _, err := file.WriteAt(part, at); err != nil {
			return err
		}
		at += int64(len(part))
	}
	return nil
}

// repairVotes takes the newest of what the log and the copies say, and writes copies that lack it or are damaged.
func (l *Log) repairVotes(r *replay, report *Report) error {
	v := &l.votes
	damaged := 0
	for i, c := range r.copies {
		switch {
		case c == nil:
			damaged++
			note := "was missing"
			if r.badVotes[i] != nil {
				note = r.badVotes[i].Error()
			}
			report.Notes = append(report.Notes, fmt.Sprintf("the copy of the votes in %s was written anew: %s", l.path(voteNames[i]), note))
		case c.generation > v.generation:
			v.generation = c.generation
		}
	}
	for _, c := range r.copies {
		if c != nil {
			l.takeVotes(c)
		}
	}
	// One is written in any case: the newer one may be readable and not durable, and its mark proves all that was found.
	for range max(damaged, 1) {
		if err := v.write(l.files, l.identity, l.synced, l.groups); err != nil {
			return err
		}
	}
	return nil
}

// takeVotes takes what a copy has and the log has not.
func (l *Log) takeVotes(c *voteCopy) {
	for _, found := range c.groups {
		if g := l.groups.get(found.group); checkHardState(g.id, g.hard, found.hard) == nil {
			g.hard = found.hard
		}
	}
}

// checkDirectories has those that cannot be used written anew, by and by.
func (l *Log) checkDirectories(report *Report) error {
	for _, s := range l.segments[:len(l.segments)-1] {
		_, err := l.readDirectory(s.number, l.identity)
		if !errors.As(err, new(*unsound)) {
			if err != nil {
				return err
			}
			continue
		}
		l.prepare.sealed = append(l.prepare.sealed, s.number)
		if !errors.Is(err, fs.ErrNotExist) {
			report.Notes = append(report.Notes, fmt.Sprintf("%s is damaged (%v) and will be written anew", l.path(directoryName(s.number)), err))
		}
	}
	return nil
}

// release closes what a failed recovery had opened.
func (l *Log) release() error {
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(append(errs, l.votes.close())...)
}
