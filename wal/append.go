package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// maxBatchBytes bounds the frames of one batch, so that recovery needs no more memory than that, or one entry's.
const maxBatchBytes = 16 << 20

// Append writes what the groups ask for, in order, as one batch (or several, where it is very large), and the floors that were
// given to Discard since the last one. It is readable at once, and durable after the next Sync.
//
// Where the disk is full, the error wraps vfs.ErrNoSpace and not ErrFailed: what was not written yet is refused. The next
// Append must begin with the same writes, once there is space; those of them that were written are not written again. Any
// other error is final.
func (l *Log) Append(writes []GroupWrite) error {
	if l.failure != nil {
		return l.failure
	}
	written := min(l.taken, len(writes)) // of the writes, wholly
	l.taken = 0
	for i := written; i < len(writes); i++ {
		flushed, err := l.add(writes[i].Group, writes[i].Write)
		if flushed {
			written = i
		}
		if err != nil {
			return l.refuse(written, err)
		}
	}
	if err := l.flush(); err != nil {
		return l.refuse(written, err)
	}
	l.building.reset()
	return nil
}

// refuse remembers how many writes are in the log although their Append was refused: written again, in front of the later
// ones, they would undo what those did.
func (l *Log) refuse(written int, err error) error {
	l.taken = written
	l.building.reset()
	if l.isFull(err) && len(l.discarding) > 0 {
		return errors.Join(err, l.relieve())
	}
	return err
}

// builder is the batch that is being put together. Its slices are used again for the next one.
type builder struct {
	batch
	number  uint64 // of the batch, so that a group knows whether it is in it
	touched []*group
	entries []raft.Entry
	bytes   int
}

// slot is a group's place in the batch that is being built.
type slot struct {
	batch uint64
	state int
	last  raft.Position // of the group's log with the batch
}

func (b *builder) reset() {
	clear(b.entries)
	clear(b.touched)
	b.entries, b.touched, b.bytes = b.entries[:0], b.touched[:0], 0
	b.states, b.runs, b.frames = b.states[:0], b.runs[:0], b.frames[:0]
	b.echo, b.echoOffset = nil, 0
	b.number++
}

// slot returns the group's place in the batch, making it where the batch does not touch the group yet.
func (b *builder) slot(g *group) *slot {
	if g.building.batch != b.number {
		g.building = slot{batch: b.number, state: len(b.states), last: g.lastPosition()}
		b.states = append(b.states, state{group: g.id, hard: g.hard})
		b.touched = append(b.touched, g)
	}
	return &g.building
}

// add puts one write into the batch. A group that the batch touches already must go on where it stopped; where it does
// not, the batch is written first. flushed says that everything in front of this write is in the log.
func (l *Log) add(id raft.GroupID, w *raft.Write) (flushed bool, err error) {
	b, g := &l.building, l.writerGroup(id)
	again := g.building.batch == b.number
	restart := w.Restart != (raft.Position{})
	if again && (restart || len(w.Entries) > 0 && w.Entries[0].Index() != g.building.last.Index+1) {
		if err := l.flush(); err != nil {
			return false, err
		}
		b.reset()
		again, flushed = false, true
	}
	at := b.slot(g)
	if err := l.setHardState(g, w.HardState); err != nil {
		return flushed, err
	}
	if restart {
		g.discarding = raft.Position{}
		b.states[at.state].restart, b.states[at.state].before = true, w.Restart
		at.last = w.Restart
	}
	for i, e := range w.Entries {
		if b.bytes > 0 && b.bytes+len(e) > maxBatchBytes {
			b.commit(at, w.Commit)
			if err := l.flush(); err != nil {
				return flushed, err
			}
			b.reset()
			flushed = true
			at = b.slot(g)
		}
		if err := l.place(g, at, e, i == 0 && !again && !restart); err != nil {
			return flushed, err
		}
	}
	b.commit(at, w.Commit)
	return flushed, nil
}

// commit records a group's commit index, as far as the log holds the entries.
func (b *builder) commit(at *slot, commit raft.Index) {
	s := &b.states[at.state]
	s.commit = max(s.commit, min(commit, at.last.Index))
}

func (l *Log) writerGroup(id raft.GroupID) *group {
	if g := l.groups.byID[id]; g != nil {
		return g
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groups.get(id)
}

func (l *Log) setHardState(g *group, hard raft.HardState) error {
	s := &l.building.states[g.building.state]
	if hard == (raft.HardState{}) {
		return nil
	}
	if err := checkHardState(g.id, s.hard, hard); err != nil {
		return l.invalid(err)
	}
	s.hard = hard
	return nil
}

func (l *Log) invalid(err error) error { return l.fail(fmt.Errorf("%w: %w", ErrInvalidWrite, err)) }

// place puts one entry into the batch. first allows it to replace entries.
func (l *Log) place(g *group, at *slot, e raft.Entry, first bool) error {
	if len(e) < raft.EntryHeaderSize || uint64(binary.LittleEndian.Uint32(e[4:]))+raft.EntryHeaderSize != uint64(len(e)) {
		return l.invalid(fmt.Errorf("group %d: %d bytes are not an entry frame", g.id, len(e)))
	}
	b, r := &l.building, run{group: g.id, term: e.Term(), first: e.Index(), count: 1, bytes: uint64(len(e))}
	if e.Group() != g.id {
		return l.invalid(fmt.Errorf("group %d: an entry says that it is of group %d", g.id, e.Group()))
	}
	if first {
		if err := g.follows(r); err != nil {
			return l.invalid(err)
		}
		if r.first <= g.discarding.Index {
			return l.invalid(fmt.Errorf("group %d: entries from %d would replace what was given up to %d", g.id, r.first, g.discarding.Index))
		}
	} else if r.first != at.last.Index+1 || r.term < at.last.Term {
		return l.invalid(fmt.Errorf("group %d: entry %d of term %d does not follow entry %d of term %d", g.id, r.first, r.term, at.last.Index, at.last.Term))
	}
	at.last = raft.Position{Index: r.first, Term: r.term}
	b.frames = append(b.frames, frame{uint32(len(e)), e.HeadCRC()})
	b.entries = append(b.entries, e)
	b.bytes += len(e)
	if n := len(b.runs); n > 0 && !first && b.runs[n-1].group == g.id && b.runs[n-1].term == r.term && b.runs[n-1].last()+1 == r.first {
		b.runs[n-1].count++
		b.runs[n-1].bytes += r.bytes
		return nil
	}
	b.runs = append(b.runs, r)
	return nil
}

// flush writes the batch, if there is anything in it.
func (l *Log) flush() error {
	b := &l.building
	l.recordFloors(math.MaxInt64)
	if b.isMark() {
		return nil
	}
	b.echo, b.echoOffset = l.echo, l.echoAt
	b.measure()
	if l.tail.Offset+b.size+l.floorReserve() > l.active.size {
		if err := l.roll(b.size); err != nil {
			return err
		}
		b.echo, b.echoOffset = nil, 0
		b.measure()
	}
	return l.write()
}

// write puts the batch at the tail and takes it into account.
func (l *Log) write() error {
	b := &l.building
	b.at, b.mark = l.tail, l.synced
	l.marking = b.mark
	g := &l.gather
	g.start(l.active.file, l.tail.Offset)
	g.buf = b.appendHeader(g.buf, l.active.salt)
	for _, e := range b.entries {
		g.add(e)
	}
	g.pad(b.end() - g.offset())
	if err := g.flush(); err != nil {
		return l.fail(err)
	}
	return l.wrote()
}

// wrote takes the batch that was written into account.
func (l *Log) wrote() error {
	b := &l.building
	for i, g := range b.touched {
		l.votes.changed = l.votes.changed || g.hard != b.states[i].hard
		l.free.changed = l.free.changed || b.states[i].floor || b.states[i].restart
	}
	l.mu.Lock()
	err := l.groups.apply(&b.batch)
	l.mu.Unlock()
	if err != nil {
		return l.invalid(err)
	}
	l.recorded()
	l.tail.Offset, l.marked = b.end(), b.isMark()
	if !b.isMark() {
		l.echo = append(l.echo[:0], b.runs[:min(len(b.runs), maxEcho)]...)
		l.echoAt = b.at.Offset
		l.stats.batches.Add(1)
	}
	l.stats.entries.Add(uint64(len(b.entries)))
	l.stats.appended.Add(uint64(b.size))
	l.stats.tail.Store(l.tail.Offset)
	l.stats.room.Store(l.active.size - l.tail.Offset)
	return nil
}

// gather collects what goes to consecutive bytes of a file, so that a batch of many small frames is one write. Large
// frames are written from where they are.
type gather struct {
	file vfs.File
	at   int64 // where buf goes
	buf  []byte
	err  error
}

// gatherSize is how much is collected at most; a frame of more than a quarter of it is not copied.
const gatherSize = 1 << 20

func (g *gather) start(file vfs.File, at int64) {
	g.file, g.at, g.buf, g.err = file, at, g.buf[:0], nil
}

// offset is where the next byte goes.
func (g *gather) offset() int64 { return g.at + int64(len(g.buf)) }

func (g *gather) add(b []byte) {
	if len(g.buf) > 0 && len(g.buf)+len(b) > gatherSize {
		g.spill()
	}
	if len(b) > gatherSize/4 {
		g.spill()
		g.put(b)
		return
	}
	g.buf = append(g.buf, b...)
}

func (g *gather) pad(n int64) {
	for range n {
		g.buf = append(g.buf, 0)
	}
}

func (g *gather) spill() {
	g.put(g.buf)
	g.buf = g.buf[:0]
}

func (g *gather) put(b []byte) {
	if g.err != nil || len(b) == 0 {
		return
	}
	_, g.err = g.file.WriteAt(b, g.at)
	g.at += int64(len(b))
}

func (g *gather) flush() error {
	g.spill()
	g.file = nil
	if cap(g.buf) > 2*gatherSize {
		g.buf = nil
	}
	return g.err
}
