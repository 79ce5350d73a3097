package wire

import (
	"fmt"
	"slices"

	"github.com/balsadb/balsa/raft"
)

// Encoder builds frames out of packets. It belongs to one goroutine; the zero value is ready to use.
//
// What it writes itself goes into an arena that many frames share: bytes of it are written once, before the frame
// that they belong to is handed out, and never again, so that frames may be read while later ones are being built.
type Encoder struct {
	arena []byte
	parts [][]byte
	tail  int // where the last part begins in the arena; -1 where it is not the arena's end
	size  int
}

// arenaSize is how much room is allocated at once: some thirty messages. It is small since a frame pins it.
const arenaSize = 4096

// copyLimit is the size up to which a result's value is copied rather than made a part of its own: below it the
// copy costs less than one more element of a gathered write.
const copyLimit = 512

// Size returns the number of bytes of the frame so far.
func (e *Encoder) Size() int { return e.size }

// Frame returns the parts of the frame and begins the next one; nil where nothing was added. The parts belong to the
// caller, their bytes to nobody: they must not be written to.
func (e *Encoder) Frame() [][]byte {
	parts := e.parts
	e.parts, e.size = nil, 0
	return parts
}

// Message adds a message of the protocol. Entries become parts of the frame.
func (e *Encoder) Message(env raft.Envelope) {
	switch m := env.Message.(type) {
	case *raft.AppendEntries:
		e.appendEntries(env, m)
	case *raft.AppendResponse:
		w := e.fixed(kindAppendResponse, env)
		w.u64(uint64(m.Term))
		w.u64(uint64(m.Round))
		w.u64(uint64(m.Match))
		w.bool(m.Rejected)
		w.u64(uint64(m.Prev))
		w.position(m.Conflict)
		w.u64(uint64(m.Last))
	case *raft.PreVoteRequest:
		w := e.fixed(kindPreVoteRequest, env)
		w.u64(uint64(m.Term))
		w.u64(uint64(m.NextTerm))
		w.position(m.Last)
	case *raft.PreVoteResponse:
		w := e.fixed(kindPreVoteResponse, env)
		w.u64(uint64(m.Term))
		w.u64(uint64(m.NextTerm))
		w.bool(m.Granted)
	case *raft.RequestVote:
		w := e.fixed(kindRequestVote, env)
		w.u64(uint64(m.Term))
		w.position(m.Last)
		w.bool(m.Transfer)
	case *raft.VoteResponse:
		w := e.fixed(kindVoteResponse, env)
		w.u64(uint64(m.Term))
		w.bool(m.Granted)
	case *raft.TimeoutNow:
		w := e.fixed(kindTimeoutNow, env)
		w.u64(uint64(m.Term))
	case *raft.ReadIndexRequest:
		w := e.fixed(kindReadIndexRequest, env)
		w.u64(uint64(m.Term))
		w.u64(uint64(m.ID))
	case *raft.ReadIndexResponse:
		w := e.fixed(kindReadIndexResponse, env)
		w.u64(uint64(m.Term))
		w.u64(uint64(m.ID))
		w.u64(uint64(m.Index))
	default:
		panic(fmt.Sprintf("wire: no encoding for a message of type %T: the set is closed, and this build's", m))
	}
}

// Proposals adds forwarded proposals. Their entries become parts of the frame.
func (e *Encoder) Proposals(p ForwardProposals) {
	body := proposalsHeader + proposalRow*len(p.Items)
	head := body
	for i := range p.Items {
		body += len(p.Items[i].Entry)
	}
	w := e.packet(kindForwardProposals, head, body)
	w.u64(uint64(p.Group))
	w.u64(uint64(p.From))
	w.u32(uint32(len(p.Items)))
	e.parts = slices.Grow(e.parts, len(p.Items))
	for i := range p.Items {
		w.u64(p.Items[i].ID)
		w.u64(uint64(max(p.Items[i].Remaining, 0)))
		e.part(p.Items[i].Entry)
	}
}

// Results adds results of forwarded proposals. Large values become parts of the frame.
func (e *Encoder) Results(r ForwardResults) {
	head := resultsHeader + resultRow*len(r.Items)
	body := head
	for i := range r.Items {
		body += min(len(r.Items[i].Text), MaxText) + len(r.Items[i].Value)
	}
	w := e.packet(kindForwardResults, head, body)
	w.u64(uint64(r.Group))
	w.u32(uint32(len(r.Items)))
	for i := range r.Items {
		item := &r.Items[i]
		text := item.Text[:min(len(item.Text), MaxText)]
		w.u64(item.ID)
		w.u64(uint64(item.Index))
		w.u64(uint64(item.Term))
		w.u16(uint16(item.Code))
		w.u16(uint16(len(text)))
		w.u32(uint32(len(item.Value)))
		copy(e.room(len(text)), text)
		if len(item.Value) > copyLimit {
			e.part(item.Value)
		} else {
			copy(e.room(len(item.Value)), item.Value)
		}
	}
}

func (e *Encoder) appendEntries(env raft.Envelope, m *raft.AppendEntries) {
	body := envelopeHeader + appendHeader
	for _, entry := range m.Entries {
		body += len(entry)
	}
	w := e.packet(kindAppendEntries, envelopeHeader+appendHeader, body)
	w.envelope(env)
	w.u64(uint64(m.Term))
	w.position(m.Prev)
	w.u64(uint64(m.Commit))
	w.u64(uint64(m.Round))
	w.u32(uint32(len(m.Entries)))
	e.parts = slices.Grow(e.parts, len(m.Entries))
	for _, entry := range m.Entries {
		e.part(entry)
	}
}

// fixed begins a packet for a message without a variable part, up to and with its addresses.
func (e *Encoder) fixed(k kind, env raft.Envelope) writer {
	size := envelopeHeader + fixedSizes[k]
	w := e.packet(k, size, size)
	w.envelope(env)
	return w
}

// packet writes a packet's header and returns the head bytes that follow it, to be filled; body counts those, and
// the parts that the caller adds after them.
func (e *Encoder) packet(k kind, head, body int) writer {
	w := writer{e.room(packetHeader + head)}
	w.u8(Version)
	w.u8(uint8(k))
	w.u8(0) // compatible flags
	w.u8(0) // incompatible flags
	w.u32(uint32(body))
	return w
}

func (w *writer) envelope(env raft.Envelope) {
	w.u64(uint64(env.Group))
	w.u64(uint64(env.From))
	w.u64(uint64(env.To))
	w.u64(uint64(env.FromLife))
	w.u64(uint64(env.ToLife))
}

// room adds n bytes of the arena to the frame, as part of the last part where they follow it.
func (e *Encoder) room(n int) []byte {
	if n == 0 {
		return nil
	}
	if cap(e.arena)-len(e.arena) < n {
		e.arena, e.tail = make([]byte, 0, max(arenaSize, n)), -1
	}
	start := len(e.arena)
	e.arena = e.arena[:start+n]
	if len(e.parts) > 0 && e.tail >= 0 {
		e.parts[len(e.parts)-1] = e.arena[e.tail : start+n : start+n]
	} else {
		e.tail = start
		e.parts = append(e.parts, e.arena[start:start+n:start+n])
	}
	e.size += n
	return e.arena[start : start+n : start+n]
}

// part adds bytes that are not copied.
func (e *Encoder) part(b []byte) {
	if len(b) == 0 {
		return
	}
	e.parts = append(e.parts, b)
	e.tail = -1
	e.size += len(b)
}
