package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Writer writes a snapshot. Each Write of the writer below gets one whole piece: the head, a chunk, or the foot, so that a
// transport may send pieces as messages. It does not keep what it is given, nor may that writer.
type Writer struct {
	to      io.Writer
	seed    uint32
	chunk   []byte // what was not written yet, behind its head
	chunks  uint64
	bytes   uint64
	written int64
	err     error // the first one; nothing is written after it
	closed  bool
}

// NewWriter writes the head.
func NewWriter(to io.Writer, meta Meta) (*Writer, error) {
	return NewWriterSize(to, meta, chunkPayload)
}

// NewWriterSize is NewWriter for chunks of another size: that many bytes of the state each, up to 1 MiB.
func NewWriterSize(to io.Writer, meta Meta, payload int) (*Writer, error) {
	payload = min(max(payload, 1), maxPayload)
	if len(meta.Runtime) > MaxRuntime {
		return nil, fmt.Errorf("snapshot: the runtime's part has %d bytes, at most %d are allowed", len(meta.Runtime), MaxRuntime)
	}
	head := meta.encode()
	w := &Writer{to: to, seed: binary.LittleEndian.Uint32(head[4:]), chunk: make([]byte, chunkSize, chunkSize+payload)}
	w.put(head)
	return w, w.err
}

// Write takes a piece of the state, of any size.
func (w *Writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, errors.New("snapshot: written after Close")
	}
	taken := 0
	for w.err == nil && taken < len(p) {
		n := min(len(p)-taken, cap(w.chunk)-len(w.chunk))
		w.chunk = append(w.chunk, p[taken:taken+n]...)
		taken += n
		if len(w.chunk) == cap(w.chunk) {
			w.flush()
		}
	}
	return taken, w.err
}

// flush writes the chunk that was gathered.
func (w *Writer) flush() {
	appendCommon(w.chunk[:0], chunkMagic, len(w.chunk))
	binary.LittleEndian.PutUint64(w.chunk[commonSize:], w.chunks)
	seal(w.chunk, w.seed)
	w.chunks++
	w.bytes += uint64(len(w.chunk) - chunkSize)
	w.put(w.chunk)
	w.chunk = w.chunk[:chunkSize]
}

// Close writes the foot; without it nobody takes what was written for a snapshot. The writer below stays open.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err == nil && len(w.chunk) > chunkSize {
		w.flush()
	}
	foot := appendCommon(make([]byte, 0, footSize), footMagic, footSize)
	foot = binary.LittleEndian.AppendUint64(foot, w.chunks)
	foot = binary.LittleEndian.AppendUint64(foot, w.bytes)
	seal(foot, w.seed)
	w.put(foot)
	return w.err
}

func (w *Writer) put(piece []byte) {
	if w.err != nil {
		return
	}
	n, err := w.to.Write(piece)
	w.written += int64(n)
	w.err = err
}

// Written returns the number of bytes that were written, heads and foot included.
func (w *Writer) Written() int64 { return w.written }
