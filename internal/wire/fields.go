package wire

import (
	"encoding/binary"

	"github.com/balsadb/balsa/raft"
)

// writer fills a slice of known size from the front.
type writer struct{ b []byte }

func (w *writer) u8(v uint8) {
	w.b[0] = v
	w.b = w.b[1:]
}

func (w *writer) u16(v uint16) {
	binary.LittleEndian.PutUint16(w.b, v)
	w.b = w.b[2:]
}

func (w *writer) u32(v uint32) {
	binary.LittleEndian.PutUint32(w.b, v)
	w.b = w.b[4:]
}

func (w *writer) u64(v uint64) {
	binary.LittleEndian.PutUint64(w.b, v)
	w.b = w.b[8:]
}

func (w *writer) bool(v bool) {
	if v {
		w.u8(1)
	} else {
		w.u8(0)
	}
}

func (w *writer) position(p raft.Position) {
	w.u64(uint64(p.Index))
	w.u64(uint64(p.Term))
}

// reader takes fields off the front of a slice that is known to be long enough: whoever makes one has checked
// the size. Flags that are neither 0 nor 1 are remembered, since there is one way only to write a message.
type reader struct {
	b       []byte
	badFlag bool
}

func (r *reader) u8() uint8 {
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) u16() uint16 {
	v := binary.LittleEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) u32() uint32 {
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 {
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) bool() bool {
	v := r.u8()
	r.badFlag = r.badFlag || v > 1
	return v == 1
}

func (r *reader) take(n int) []byte {
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) index() raft.Index { return raft.Index(r.u64()) }
func (r *reader) term() raft.Term   { return raft.Term(r.u64()) }
func (r *reader) round() raft.Round { return raft.Round(r.u64()) }

func (r *reader) position() raft.Position {
	index := r.index()
	return raft.Position{Index: index, Term: r.term()}
}
