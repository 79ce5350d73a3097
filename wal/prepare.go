package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/balsadb/balsa/vfs"
)

// preparation is what is done ahead of need, off the path of a write: the next segment, filled with zeros so that a
// sync of what is later written there changes no metadata, the directories of segments that are full, and the removal of those
// that nobody needs.
type preparation struct {
	mu     sync.Mutex
	next   *segment      // ready, or nil
	number uint64        // of the segment that is needed next
	sealed []uint64      // segments whose directory is still to be written
	free   []uint64      // segments that are out of the log, and whose files are still to be removed
	needed atomic.Uint64 // segments in front of this one are free
	wanted atomic.Bool
	ready  atomic.Int64 // bytes of next
}

// zeroChunk is how much of a prepared segment is written and synced at a time, so that it does not queue in front of
// the syncs of the active one.
const zeroChunk = 512 << 10

// NeedsPrepare reports whether Prepare has something to do.
func (l *Log) NeedsPrepare() bool { return l.prepare.wanted.Load() }

// Prepare removes segments that nobody needs, makes the next one, and writes the directories of those that are full. It may run at any time beside
// everything else, and takes some tens of milliseconds. Where nobody calls it in time, Append makes the
// segment itself and takes longer.
//
// An error that wraps vfs.ErrNoSpace says that the disk is full while the log still has Stats().Reserve bytes left. Errors
// of Prepare do not fail the log: nothing that it promised is at stake. It may be called again.
func (l *Log) Prepare() error {
	p := &l.prepare
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.number == 0 {
		return ErrClosed
	}
	p.wanted.Store(false)
	_, err := l.removeFree()
	err = errors.Join(err, l.makeNext(true))
	if err == nil {
		err = p.writeDirectories(l.files, l.identity)
	}
	if err != nil {
		p.wanted.Store(true)
	}
	return err
}

// makeNext makes the next segment's file, if it is not there. The preparation is locked.
func (l *Log) makeNext(fill bool) error {
	p := &l.prepare
	if p.next != nil {
		return nil
	}
	next, err := l.create(p.number, l.segmentSize)
	if errors.Is(err, fs.ErrExist) {
		// Left behind by an attempt that could not clean up. Nobody has used a segment of this number yet.
		if err = l.fs.Remove(l.path(segmentName(p.number))); err == nil {
			next, err = l.create(p.number, l.segmentSize)
		}
	}
	if err != nil {
		return err
	}
	if fill {
		if err := fillZeros(next.file, next.size); err != nil {
			return errors.Join(err, next.file.Close(), l.fs.Remove(l.path(segmentName(next.number))))
		}
	}
	p.next = next
	p.ready.Store(next.size)
	return nil
}

func fillZeros(file vfs.File, size int64) error {
	zeros := make([]byte, min(zeroChunk, size))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// take hands out the next segment, with room for a head and a batch of the given sizes.
func (l *Log) take(room int64) (*segment, error) {
	p := &l.prepare
	p.mu.Lock()
	defer p.mu.Unlock()
	err := l.reserve(room)
	if errors.Is(err, vfs.ErrNoSpace) {
		removed, failed := l.removeFree()
		if err = errors.Join(err, failed); removed > 0 {
			err = l.reserve(room)
		}
	}
	if err != nil {
		return nil, err
	}
	next := p.next
	p.sealed = append(p.sealed, next.number-1)
	p.next, p.number = nil, next.number+1
	p.ready.Store(0)
	p.wanted.Store(true)
	return next, nil
}

// reserve makes the next segment, if it is not there, at least as large as asked for.
func (l *Log) reserve(room int64) error {
	if err := l.makeNext(false); err != nil {
		return err
	}
	next := l.prepare.next
	if room > next.size {
		if err := next.file.Preallocate(room); err != nil {
			return err
		}
		next.size = room
	}
	return nil
}

// roll makes the next segment the active one. Where there is no room on the disk nothing has changed.
//
// The order matters: the old segment is durable before the new one's head says so, and the head before any batch.
func (l *Log) roll(batch int64) error {
	size := headSize(len(l.groups.sorted))
	next, err := l.take(size + batch + l.floorReserve())
	if errors.Is(err, vfs.ErrNoSpace) {
		return fmt.Errorf("wal: no room for the next segment: %w", err)
	}
	if err != nil {
		return l.fail(err)
	}
	if l.synced != l.tail {
		if err := l.active.file.Sync(); err != nil {
			return l.fail(errors.Join(err, next.file.Close()))
		}
		l.stats.syncs.Add(1)
	}
	if err := l.begin(next, l.tail.Offset); err != nil {
		return l.fail(errors.Join(err, next.file.Close()))
	}
	l.stats.rolls.Add(1)
	return nil
}

// begin writes the head of a segment and makes it the active one. What is before it is durable.
func (l *Log) begin(s *segment, previousEnd int64) error {
	h := head{identity: l.identity, segment: s.number, previousEnd: previousEnd, groups: l.groups.checkpoints()}
	if _, err := s.file.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	l.stats.syncs.Add(1)
	s.salt = l.identity.salt(s.number)
	l.active = s
	l.tail = Position{s.number, h.size}
	l.synced, l.marked = l.tail, true
	l.marking = h.mark()
	l.proved, l.free.changed = l.marking, true
	l.echo, l.echoAt = l.echo[:0], 0
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	l.stats.tail.Store(l.tail.Offset)
	l.stats.room.Store(s.size - l.tail.Offset)
	return nil
}

// writeDirectories writes the directories that are missing. The preparation is locked.
func (p *preparation) writeDirectories(f files, id Identity) error {
	for len(p.sealed) > 0 {
		if err := f.writeDirectory(p.sealed[0], id); err != nil {
			return fmt.Errorf("wal: writing the directory of segment %d: %w", p.sealed[0], err)
		}
		p.sealed = p.sealed[1:]
	}
	return nil
}

// close releases the next segment; its file stays, for the next start to remove. whole says that the log did not fail, so
// that directories may still be written.
func (p *preparation) close(f files, id Identity, whole bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.number == 0 {
		return nil
	}
	p.number = 0
	var err error
	if whole {
		err = p.writeDirectories(f, id)
	}
	if p.next != nil {
		err = errors.Join(err, p.next.file.Close())
		p.next = nil
	}
	return err
}
