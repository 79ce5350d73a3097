package sim

import (
	"bufio"
	"io"
	"strconv"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
)

// Event is one line of a trace. docs/testing.md has the list of what there is.
type Event struct {
	At     actor.Instant
	Member balsa.MemberID // 0: the world's, or a client's
	Actor  string         // who: an actor's name, "disk", "network", "protocol", "client"
	What   string
	Peer   balsa.MemberID // the other one; 0 for none
	Term   balsa.Term
	Index  balsa.Index
	N      uint64 // bytes, nanoseconds, or another number that What explains
	Detail string // for people. It is made only where somebody reads the trace, and is no part of the hash
}

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
	b := append(t.line[:0], `{"t":`...)
	b = strconv.AppendInt(b, int64(e.At), 10)
	b = appendNumber(b, "m", uint64(e.Member))
	b = appendText(b, "a", e.Actor)
	b = appendText(b, "e", e.What)
	b = appendNumber(b, "p", uint64(e.Peer))
	b = appendNumber(b, "term", uint64(e.Term))
	b = appendNumber(b, "index", uint64(e.Index))
	b = appendNumber(b, "n", e.N)
	b = appendText(b, "d", e.Detail)
	t.line = append(b, "}\n"...)
	_, _ = t.out.Write(t.line)
}

// Close writes what is buffered, and returns the first error.
func (t *TraceWriter) Close() error { return t.out.Flush() }

func appendNumber(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendUint(b, n, 10)
}

// appendText leaves to JSON what Go quotes in another way: there is none of that in what we write.
func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendQuoteToASCII(b, text)
}
