// Package trace is one line for each thing that happens in a cluster: what the simulator writes, and what the flight recorder of
// a running host keeps. docs/testing.md lists the fields and what there is.
package trace

import (
	"strconv"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// Event is one line of a trace.
type Event struct {
	At     actor.Instant
	Member raft.MemberID // 0: the world's, or a client's
	Actor  string        // who: an actor's name, "disk", "network", "protocol", "client"
	What   string
	Peer   raft.MemberID // the other one; 0 for none
	Term   raft.Term
	Index  raft.Index
	N      uint64 // bytes, nanoseconds, or another number that What explains
	Detail string // for people
}

// AppendJSON appends the event as a JSON object, and a new line. Fields that are zero are left out.
func (e *Event) AppendJSON(b []byte) []byte {
	b = append(b, `{"t":`...)
	b = strconv.AppendInt(b, int64(e.At), 10)
	b = appendNumber(b, "m", uint64(e.Member))
	b = appendText(b, "a", e.Actor)
	b = appendText(b, "e", e.What)
	b = appendNumber(b, "p", uint64(e.Peer))
	b = appendNumber(b, "term", uint64(e.Term))
	b = appendNumber(b, "index", uint64(e.Index))
	b = appendNumber(b, "n", e.N)
	b = appendText(b, "d", e.Detail)
	return append(b, "}\n"...)
}

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
