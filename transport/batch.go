package transport

import (
	"encoding/binary"
	"net"
	"time"
)

// batch gathers frames into as few buffers as a gathered write likes best: small parts are copied next to each other
// (a copy of a few hundred bytes costs less than an element of a gathered write), large ones are referred to where they are.
type batch struct {
	inline  int    // parts up to this size are copied
	scratch []byte // headers and small parts
	run     int    // where the bytes of scratch that are not in buffers yet begin
	buffers [][]byte
	size    int
	chunk   [][]byte    // what one write call is given
	writing net.Buffers // the same, which the call consumes; a field so that it is not allocated for each call
}

const (
	// inlineTCP is where the copy and the extra element cost about the same; see BenchmarkInline.
	inlineTCP = 512
	// inlineTLS is a TLS record: less than that in a write of its own would be a record, and a system call, of its own.
	inlineTLS = 16 << 10
	// batchBytes is how much is gathered before it is written. The rest waits in the queue, where it can be dropped.
	batchBytes = 1 << 20
	// writeBytes is the most that one call writes: the deadline is for that much.
	writeBytes = 1 << 20
)

func newBatch(inline int) *batch { return &batch{inline: inline, scratch: make([]byte, 0, 64<<10)} }

func (b *batch) reset() {
	clear(b.buffers)
	b.scratch, b.run, b.buffers, b.size = b.scratch[:0], 0, b.buffers[:0], 0
}

// add appends a frame.
func (b *batch) add(t frameType, size int, parts [][]byte) {
	start := len(b.scratch)
	b.scratch = append(b.scratch, make([]byte, frameHeader)...)
	putHeader(b.scratch[start:], t, size, parts...)
	for _, part := range parts {
		if len(part) <= b.inline {
			b.scratch = append(b.scratch, part...)
			continue
		}
		b.endRun()
		b.buffers = append(b.buffers, part)
	}
	b.size += frameHeader + size
}

// addPing appends a ping that was sent at an instant.
func (b *batch) addPing(at time.Duration) {
	var body [pingBytes]byte
	binary.LittleEndian.PutUint64(body[:], uint64(at))
	b.add(framePing, pingBytes, [][]byte{body[:]})
}

// addProgress appends how far this host's log is.
func (b *batch) addProgress(progress Progress) {
	var body [pingBytes]byte
	binary.LittleEndian.PutUint64(body[:], uint64(progress))
	b.add(frameProgress, pingBytes, [][]byte{body[:]})
}

// endRun makes what was copied since the last large part a buffer. Scratch may move when it grows; a buffer
// that was cut from it before keeps the bytes, which do not change.
func (b *batch) endRun() {
	if b.run < len(b.scratch) {
		b.buffers = append(b.buffers, b.scratch[b.run:len(b.scratch):len(b.scratch)])
		b.run = len(b.scratch)
	}
}

// write writes the batch, in calls of at most writeBytes each; before is called ahead of each.
func (b *batch) write(conn net.Conn, before func() error) error {
	b.endRun()
	left := b.buffers
	for len(left) > 0 {
		if err := before(); err != nil {
			return err
		}
		left = b.cut(left)
		b.writing = b.chunk
		if _, err := b.writing.WriteTo(conn); err != nil {
			return err
		}
	}
	return nil
}

// cut moves up to writeBytes from the front of buffers to chunk, and returns the rest.
func (b *batch) cut(buffers [][]byte) [][]byte {
	b.chunk = b.chunk[:0]
	for room := writeBytes; room > 0 && len(buffers) > 0; {
		n := min(len(buffers[0]), room)
		b.chunk = append(b.chunk, buffers[0][:n])
		room -= n
		if n < len(buffers[0]) {
			buffers[0] = buffers[0][n:]
		} else {
			buffers = buffers[1:]
		}
	}
	return buffers
}
