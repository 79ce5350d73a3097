package wal

import (
	"errors"
	"fmt"
	"io"

	"github.com/balsadb/balsa/raft"
)

// Read returns entries [low, high) of a group: at least one, and no more than maxBytes of them otherwise. It may be called
// by anybody at any time, beside Append too. The frames are checked; they share buffers of at most some hundred KiB
// among each other and with nobody else.
//
// Entries at or below the floor are ErrCompacted, what the log does not hold otherwise is ErrNotInLog. What was cut off,
// replaced or given up meanwhile may still be returned by a Read that began before: entries are never changed.
func (l *Log) Read(id raft.GroupID, low, high raft.Index, maxBytes int) ([]raft.Entry, error) {
	l.reading.RLock()
	defer l.reading.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	plan, err := l.plan(id, low, high, maxBytes)
	if err != nil {
		return nil, err
	}
	var entries []raft.Entry
	bytes := 0
	for len(plan) > 0 {
		n := together(plan)
		full := false
		if entries, bytes, full, err = l.readPieces(plan[:n], low, entries, bytes, maxBytes); err != nil {
			return nil, err
		}
		if full {
			break
		}
		plan = plan[n:]
	}
	return entries, nil
}

// piece is a span with what is needed to read it without the lock.
type piece struct {
	span
	group raft.GroupID
	end   raft.Index // the span's entries end before it
	file  *segment
}

func (l *Log) plan(id raft.GroupID, low, high raft.Index, maxBytes int) ([]piece, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.groups.byID[id]
	if g == nil {
		return nil, fmt.Errorf("wal: group %d: %w", id, ErrNotInLog)
	}
	if low <= g.before.Index {
		return nil, fmt.Errorf("wal: group %d entries from %d, where the first one is %d: %w", id, low, g.before.Index+1, ErrCompacted)
	}
	if low >= high || high > g.last+1 {
		return nil, fmt.Errorf("wal: group %d entries %d up to %d, where it has %d to %d: %w", id, low, high, g.before.Index+1, g.last, ErrNotInLog)
	}
	spans, end := g.locate(nil, low, high, maxBytes)
	pieces := make([]piece, len(spans))
	for i, s := range spans {
		next := end
		if i+1 < len(spans) {
			next = spans[i+1].first
		}
		pieces[i] = piece{s, id, next, l.segments[uint64(s.segment)-l.segments[0].number]}
	}
	return pieces, nil
}

const (
	// joinGap is what may lie between two spans that are read at once: a batch header, other groups' entries.
	joinGap  = 4 << 10
	joinSize = 512 << 10
)

// together returns how many of the first pieces are read with one read.
func together(plan []piece) int {
	n := 1
	for n < len(plan) && plan[n].segment == plan[0].segment {
		gap := int64(plan[n].offset) - int64(plan[n-1].offset) - int64(plan[n-1].bytes)
		if gap < 0 || gap > joinGap || int64(plan[n].offset)+int64(plan[n].bytes)-int64(plan[0].offset) > joinSize {
			break
		}
		n++
	}
	return n
}

func (l *Log) readPieces(pieces []piece, low raft.Index, entries []raft.Entry, bytes, maxBytes int) ([]raft.Entry, int, bool, error) {
	start, last := int64(pieces[0].offset), pieces[len(pieces)-1]
	buf := make([]byte, int64(last.offset)+int64(last.bytes)-start)
	if n, err := last.file.file.ReadAt(buf, start); n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, false, fmt.Errorf("wal: reading %s at byte %d: %w", l.path(segmentName(last.file.number)), start, err)
	}
	for _, p := range pieces {
		rest := buf[int64(p.offset)-start:][:p.bytes]
		for index := p.first; index < p.end; index++ {
			e, after, err := cutChecked(rest, p.group, index)
			if err != nil && len(entries) > 0 {
				return entries, bytes, true, nil // who asks for the rest is told
			}
			if err != nil {
				return nil, 0, false, l.badRead(p, index, int64(p.offset)+int64(p.bytes)-int64(len(rest)), err)
			}
			rest = after
			if index < low {
				continue
			}
			if len(entries) > 0 && bytes+len(e) > maxBytes {
				return entries, bytes, true, nil
			}
			entries = append(entries, e)
			bytes += len(e)
		}
	}
	return entries, bytes, false, nil
}

func cutChecked(b []byte, group raft.GroupID, index raft.Index) (e raft.Entry, rest []byte, err error) {
	if e, rest, err = raft.CutEntry(b); err != nil {
		return nil, nil, err
	}
	if err := e.Check(); err != nil {
		return nil, nil, err
	}
	if e.Group() != group || e.Index() != index {
		return nil, nil, fmt.Errorf("%w: it says group %d entry %d", raft.ErrBadEntry, e.Group(), e.Index())
	}
	return e, rest, nil
}

// badRead names an entry that was sound when the log was opened or written, and is not any more.
func (l *Log) badRead(p piece, index raft.Index, offset int64, err error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	lost := LostRun{Group: p.group, First: index, Last: index}
	if g := l.groups.byID[p.group]; g != nil && index <= g.last && index > g.before.Index {
		lost.Term = g.termAt(index)
	}
	return &CorruptionError{
		Segment: p.file.number, File: l.path(segmentName(p.file.number)), Offset: offset, End: int64(p.offset) + int64(p.bytes),
		Why: err.Error(), Proof: "the frame was sound when it was written", Lost: []LostRun{lost},
	}
}
