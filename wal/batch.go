package wal

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// batch is the unit of writing: what one Append makes of all groups' writes, below one header.
//
//	16  u64  size of the whole batch, frames and padding included
//	24  u64  segment, offset: where the batch is, so that one in the wrong place is not taken for a live one
//	40  u64  mark segment, mark offset: everything before this was durable when the batch was written
//	56  u32  number of states, runs, frames, echoed runs
//	72  u64  offset of the batch before this one in the segment, 0 for the first: the echoed runs are its
//	80       states × 56, runs × 40, frames × (u32 size, u32 head CRC), echoed runs × 40
//
// The frames follow as they were given, in the order of the runs, then zeros up to a multiple of 8.
//
// The echo repeats what the batch before held, so that a bad batch can be named by its successor.
type batch struct {
	at         Position
	header     int64 // size
	size       int64
	mark       Position
	states     []state
	runs       []run
	frames     []frame
	echoOffset int64
	echo       []run

	configurations []raft.Entry // that verify has met among the frames; copies
}

const (
	batchFixed = 80
	frameSize  = 8
	// maxEcho bounds the runs that are repeated: beyond it, a bad batch of very many groups is named in part.
	maxEcho = 256
)

// state is what a batch says of a group that it touches.
type state struct {
	group   raft.GroupID
	hard    raft.HardState
	commit  raft.Index
	restart bool          // the log begins anew after before
	floor   bool          // entries up to before are given up; what follows stays
	before  raft.Position // with one of the two
}

const (
	stateSize    = 56
	stateRestart = 1
	stateFloor   = 2
)

// frame identifies one entry frame: its size, and the checksum that covers its place and its body's checksum.
type frame struct {
	size, headCRC uint32
}

func (w *writer) state(s state) {
	w.u64(uint64(s.group))
	w.u64(uint64(s.hard.Term))
	w.u64(uint64(s.hard.Vote))
	w.u64(uint64(s.commit))
	w.u64(uint64(s.before.Index))
	w.u64(uint64(s.before.Term))
	flags := uint64(0)
	if s.restart {
		flags |= stateRestart
	}
	if s.floor {
		flags |= stateFloor
	}
	w.u64(flags)
}

func (r *reader) state() (s state) {
	s.group = raft.GroupID(r.u64())
	s.hard = raft.HardState{Term: raft.Term(r.u64()), Vote: raft.MemberID(r.u64())}
	s.commit = raft.Index(r.u64())
	s.before = raft.Position{Index: raft.Index(r.u64()), Term: raft.Term(r.u64())}
	flags := r.u64()
	s.restart, s.floor = flags&stateRestart != 0, flags&stateFloor != 0
	return s
}

// isMark reports whether the batch only says what is durable.
func (b *batch) isMark() bool { return len(b.states) == 0 && len(b.runs) == 0 }

// features are those that a reader must know.
func (b *batch) features() uint8 {
	for _, s := range b.states {
		if s.floor {
			return featureFloors
		}
	}
	return 0
}

// measure sets the sizes from what the batch holds.
func (b *batch) measure() {
	b.header = batchFixed + int64(len(b.states))*stateSize + int64(len(b.runs)+len(b.echo))*runSize + int64(len(b.frames))*frameSize
	size := b.header
	for _, f := range b.frames {
		size += int64(f.size)
	}
	b.size = align(size)
}

// end is where the next batch starts.
func (b *batch) end() int64 { return b.at.Offset + b.size }

// appendHeader encodes the header behind dst.
func (b *batch) appendHeader(dst []byte, salt uint32) []byte {
	start := len(dst)
	w := writer{dst}
	w.u64(0)
	w.u64(0)
	w.u64(uint64(b.size))
	w.u64(b.at.Segment)
	w.u64(uint64(b.at.Offset))
	w.u64(b.mark.Segment)
	w.u64(uint64(b.mark.Offset))
	w.u32(uint32(len(b.states)))
	w.u32(uint32(len(b.runs)))
	w.u32(uint32(len(b.frames)))
	w.u32(uint32(len(b.echo)))
	w.u64(uint64(b.echoOffset))
	for _, s := range b.states {
		w.state(s)
	}
	for _, r := range b.runs {
		w.run(r)
	}
	for _, f := range b.frames {
		w.u32(f.size)
		w.u32(f.headCRC)
	}
	for _, r := range b.echo {
		w.run(r)
	}
	seal(w.b[start:], magicBatch, salt, b.features())
	return w.b
}

// decodeHeader reads a whole header whose checksum is good. room is how many bytes there are from its offset to the
// file's end. The slices of b are used again.
func (b *batch) decodeHeader(header []byte, room int64) error {
	r := reader{header[prefixSize:]}
	b.header = int64(len(header))
	b.size = int64(r.u64())
	b.at = Position{r.u64(), int64(r.u64())}
	b.mark = Position{r.u64(), int64(r.u64())}
	states, runs, frames, echo := int64(r.u32()), int64(r.u32()), int64(r.u32()), int64(r.u32())
	b.echoOffset = int64(r.u64())
	if need := states*stateSize + (runs+echo)*runSize + frames*frameSize; need > int64(len(r.b)) {
		return fmt.Errorf("the header of %d bytes has no room for its %d states, %d runs, %d frames and %d echoed runs", len(header), states, runs, frames, echo)
	}
	if b.size < b.header || b.size > room || b.size%alignment != 0 || b.mark.Offset < 0 || b.at.Offset < 0 {
		return fmt.Errorf("the batch says that it has %d bytes, where %d are left", b.size, room)
	}
	b.states, b.runs, b.frames, b.echo = b.states[:0], b.runs[:0], b.frames[:0], b.echo[:0]
	b.configurations = nil
	for range states {
		b.states = append(b.states, r.state())
	}
	for range runs {
		b.runs = append(b.runs, r.run())
	}
	for range frames {
		f := frame{size: r.u32()}
		f.headCRC = r.u32()
		b.frames = append(b.frames, f)
	}
	for range echo {
		b.echo = append(b.echo, r.run())
	}
	return b.agree()
}

// agree checks that runs, frames and sizes tell the same.
func (b *batch) agree() error {
	next, total := 0, b.header
	for _, r := range b.runs {
		if !r.valid() || int64(r.count) > int64(len(b.frames)-next) {
			return fmt.Errorf("group %d has a run of %d entries from %d, which is not one", r.group, r.count, r.first)
		}
		bytes := uint64(0)
		for _, f := range b.frames[next : next+int(r.count)] {
			bytes += uint64(f.size)
		}
		if bytes != r.bytes {
			return fmt.Errorf("group %d has a run of %d bytes, its frames have %d", r.group, r.bytes, bytes)
		}
		next += int(r.count)
		total += int64(bytes)
	}
	if next != len(b.frames) || align(total) != b.size {
		return fmt.Errorf("the batch says that it has %d frames and %d bytes, its runs have %d and %d", len(b.frames), b.size, next, align(total))
	}
	for _, r := range b.echo {
		if !r.valid() {
			return errors.New("the echo of the batch before is not one")
		}
	}
	return nil
}

// frameError says which frame of a batch is bad.
type frameError struct {
	group  raft.GroupID
	index  raft.Index
	term   raft.Term
	offset int64
	err    error
}

func (e *frameError) Error() string {
	return fmt.Sprintf("the frame at byte %d (group %d entry %d of term %d): %v", e.offset, e.group, e.index, e.term, e.err)
}

func (e *frameError) Unwrap() error { return e.err }

// eachFrame checks the frames against the header, and calls visit with each. body is the batch without its header.
// It goes on after a bad one where visit, given its error, returns nil.
func (b *batch) eachFrame(body []byte, visit func(r run, i int, offset int64, e raft.Entry, bad error) error) error {
	next, at := 0, int64(0)
	for _, r := range b.runs {
		for i := range int(r.count) {
			f := b.frames[next]
			e := raft.Entry(body[at : at+int64(f.size) : at+int64(f.size)])
			offset := b.at.Offset + b.header + at
			var bad error
			if err := checkFrame(e, f, r, i); err != nil {
				bad = &frameError{r.group, r.first + raft.Index(i), r.term, offset, err}
			}
			if err := visit(r, i, offset, e, bad); err != nil {
				return err
			}
			next++
			at += int64(f.size)
		}
	}
	return nil
}

func checkFrame(e raft.Entry, f frame, r run, i int) error {
	whole, rest, err := raft.CutEntry(e)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: its header says %d bytes, the batch says %d", raft.ErrBadEntry, len(whole), f.size)
	}
	if e.HeadCRC() != f.headCRC {
		return fmt.Errorf("%w: head checksum %08x, the batch says %08x", raft.ErrBadEntry, e.HeadCRC(), f.headCRC)
	}
	if err := e.Check(); err != nil {
		return err
	}
	if e.Group() != r.group || e.Index() != r.first+raft.Index(i) || e.Term() != r.term {
		return fmt.Errorf("%w: it says group %d entry %d of term %d", raft.ErrBadEntry, e.Group(), e.Index(), e.Term())
	}
	return nil
}
