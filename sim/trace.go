package sim

import (
	"bufio"
	"io"

	"github.com/balsadb/balsa/internal/trace"
)

// Event is one line of a trace; its Detail is made only where somebody reads the trace, and is no part of the hash.
type Event = trace.Event

// note adds an event to the trace.
func (w *World) note(e Event) {
	e.At = w.now
	h := traceHash(w.hash)
	h.number(uint64(e.At))
	h.number(uint64(e.Member)<<32 ^ uint64(e.Peer))
	h.text(e.Actor)
	h.text(e.What)
	h.number(uint64(e.Term))
	h.number(uint64(e.Index))
	h.number(e.N)
	w.hash = uint64(h)
	if w.OnTrace != nil {
		w.OnTrace(e)
	}
}

// Tracing reports whether anybody reads the trace: only then are details worth making.
func (w *World) Tracing() bool { return w.OnTrace != nil }

// TraceHash identifies everything that happened so far.
func (w *World) TraceHash() uint64 { return w.hash }

// traceHash is a hash that is made as the run goes on. It must be quick, and notice differences; nobody attacks it.
type traceHash uint64

func (h *traceHash) number(n uint64) {
	x := (uint64(*h) ^ n) * 0x9e3779b97f4a7c15
	*h = traceHash(x ^ x>>29)
}

func (h *traceHash) text(s string) {
	for len(s) >= 8 {
		h.number(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
		s = s[8:]
	}
	last := uint64(len(s)) + 1
	for i := range len(s) {
		last = last<<8 | uint64(s[i])
	}
	h.number(last)
}

// TraceWriter writes events as JSON lines. Fields that are zero are left out.
type TraceWriter struct {
	out  *bufio.Writer
	line []byte
}

// NewTraceWriter returns a writer of traces. Close it.
func NewTraceWriter(w io.Writer) *TraceWriter {
	return &TraceWriter{out: bufio.NewWriterSize(w, 1<<16)}
}

// Write writes one event. Errors show in Close.
func (t *TraceWriter) Write(e Event) {
	t.line = e.AppendJSON(t.line[:0])
	_, _ = t.out.Write(t.line)
}

// Close writes what is buffered, and returns the first error.
func (t *TraceWriter) Close() error { return t.out.Flush() }
