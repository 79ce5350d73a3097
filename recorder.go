package balsa

import (
	"fmt"
	"io"
	"strings"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/trace"
	"github.com/balsadb/balsa/raft"
)

// recorder is a group's flight recorder: a ring of what happened last, for the day on which somebody asks why. Adding an
// event costs some nanoseconds and allocates nothing. It belongs to the loop.
type recorder struct {
	ring  []event
	count uint64
}

// event is one thing that happened. What the fields say hangs on what.
type event struct {
	at    raft.Instant
	what  string
	peer  MemberID
	term  Term
	index Index
	n     uint64
}

// defaultRecorded is how many events are kept where GroupConfig does not say.
const defaultRecorded = 256

func newRecorder(events int) recorder { return recorder{ring: make([]event, events)} }

func (c *recorder) add(e event) {
	c.ring[c.count%uint64(len(c.ring))] = e
	c.count++
}

// last returns up to n of the most recent events, oldest first.
func (c *recorder) last(n int) []event {
	size := uint64(len(c.ring))
	n = int(min(uint64(n), size, c.count))
	events := make([]event, 0, n)
	for i := c.count - uint64(n); i < c.count; i++ {
		events = append(events, c.ring[i%size])
	}
	return events
}

// String has the last events, for the log of a group that is fenced.
func (c *recorder) String() string {
	var b strings.Builder
	for _, e := range c.last(64) {
		fmt.Fprintf(&b, "%d: %s, peer %x, term %d, index %d, %d\n", e.at, e.what, uint64(e.peer), e.term, e.index, e.n)
	}
	return b.String()
}

// note records an event of now.
func (r *replica) note(e event) {
	e.at = r.now()
	r.recorder.add(e)
}

// WriteTrace writes what the group's flight recorder holds, oldest first, as the simulator writes its traces: a JSON object a
// line (docs/testing.md). The first line tells that it is unixNanos by the caller's clock at an instant that the others count from. It
// works on a fenced group too.
func (g *Group) WriteTrace(w io.Writer, unixNanos int64) error {
	type answer struct {
		events []event
		now    raft.Instant
	}
	answered := make(chan answer, 1)
	r := g.replica
	if !g.host.loop.control.Post(func() { answered <- answer{r.recorder.last(len(r.recorder.ring)), r.now()} }) {
		return ErrClosed
	}
	a := <-answered
	line := trace.Event{
		Member: g.Member(), Actor: "host", What: "time of day", N: uint64(unixNanos), Detail: "nanoseconds since 1970 at this instant",
	}
	line.At = actor.Instant(a.now)
	out := line.AppendJSON(nil)
	for _, e := range a.events {
		line = trace.Event{
			At: actor.Instant(e.at), Member: g.Member(), Actor: "protocol", What: e.what, Peer: e.peer, Term: e.term, Index: e.index, N: e.n,
		}
		if out = line.AppendJSON(out); len(out) > 1<<16 {
			if _, err := w.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	_, err := w.Write(out)
	return err
}
