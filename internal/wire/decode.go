package wire

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/balsadb/balsa/raft"
)

// ErrMalformed is wrapped by every error that says why some bytes are not a frame.
var ErrMalformed = errors.New("malformed frame")

// Decode appends the packets of a frame to packets. Entries and values alias the frame, and every entry was checked.
// A frame is taken whole or not at all: where any of it is bad nothing is appended. Any input gives a result or
// an error, never a panic.
func Decode(packets []Packet, frame []byte) ([]Packet, error) {
	if len(frame) == 0 {
		return packets, fmt.Errorf("%w: it is empty, a frame has at least one packet", ErrMalformed)
	}
	before := len(packets)
	for rest := frame; len(rest) > 0; {
		k, body, after, err := cutPacket(rest)
		if err != nil {
			return packets[:before], fmt.Errorf("%w: at byte %d: %w", ErrMalformed, len(frame)-len(rest), err)
		}
		packet, err := decodePacket(k, body)
		if err != nil {
			return packets[:before], fmt.Errorf("%w: packet of kind %d at byte %d: %w", ErrMalformed, k, len(frame)-len(rest), err)
		}
		packets = append(packets, packet)
		rest = after
	}
	return packets, nil
}

func cutPacket(b []byte) (k kind, body, rest []byte, err error) {
	if len(b) < packetHeader {
		return 0, nil, nil, fmt.Errorf("%d bytes are left, a packet's header has %d", len(b), packetHeader)
	}
	r := reader{b: b}
	version, k, _, incompatible, size := r.u8(), kind(r.u8()), r.u8(), r.u8(), r.u32()
	if version != Version {
		return 0, nil, nil, fmt.Errorf("packet format version %d, this build reads %d", version, Version)
	}
	if incompatible != 0 {
		return 0, nil, nil, fmt.Errorf("incompatible flags %#02x are not known to this build", incompatible)
	}
	if uint64(size) > uint64(len(r.b)) {
		return 0, nil, nil, fmt.Errorf("a packet of %d bytes, %d are left", size, len(r.b))
	}
	return k, r.b[:size:size], r.b[size:], nil
}

func decodePacket(k kind, body []byte) (Packet, error) {
	switch k {
	case kindForwardProposals:
		proposals, err := decodeProposals(body)
		return Packet{Proposals: proposals}, err
	case kindForwardResults:
		results, err := decodeResults(body)
		return Packet{Results: results}, err
	case kindSnapshotChunk, kindSnapshotPiece:
		chunk, err := decodeSnapshotChunk(body, k == kindSnapshotChunk)
		return Packet{Chunk: chunk}, err
	case kindSnapshotReport, kindSnapshotAnswer:
		report, err := decodeSnapshotReport(body, k == kindSnapshotReport)
		return Packet{Report: report}, err
	case kindSnapshotOrder:
		order, err := decodeSnapshotOrder(body)
		return Packet{Order: order}, err
	case kindSnapshotNews:
		news, err := decodeSnapshotNews(body)
		return Packet{News: news}, err
	case kindLossRequest:
		loss, err := decodeLossRequest(body)
		return Packet{Loss: loss}, err
	case kindLossAnswer:
		found, err := decodeLossAnswer(body)
		return Packet{Found: found}, err
	case kindStateRequest:
		request, err := decodeStateRequest(body)
		return Packet{Request: request}, err
	case kindStateDigests:
		digests, err := decodeStateDigests(body)
		return Packet{Digests: digests}, err
	}
	if len(body) < envelopeHeader {
		return Packet{}, fmt.Errorf("%d bytes, the addresses alone have %d", len(body), envelopeHeader)
	}
	r := &reader{b: body}
	env := raft.Envelope{
		Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), To: raft.MemberID(r.u64()),
		FromLife: raft.Incarnation(r.u64()), ToLife: raft.Incarnation(r.u64()),
	}
	var err error
	if k == kindAppendEntries {
		env.Message, err = decodeAppend(r, env.Group)
	} else {
		env.Message, err = decodeFixed(k, r)
	}
	return Packet{Envelope: env}, err
}

// decodeFixed reads a message that has no variable part.
func decodeFixed(k kind, r *reader) (raft.Message, error) {
	if int(k) >= len(fixedSizes) || fixedSizes[k] == 0 {
		return nil, errors.New("this kind is not known to this build")
	}
	if len(r.b) != fixedSizes[k] {
		return nil, fmt.Errorf("a message of %d bytes, this kind has %d", len(r.b), fixedSizes[k])
	}
	m := readFixed(k, r)
	if r.badFlag {
		return nil, errors.New("a flag is neither 0 nor 1")
	}
	return m, nil
}

// readFixed relies on Go's order of evaluation: function calls in a composite literal happen left to right.
func readFixed(k kind, r *reader) raft.Message {
	switch k {
	case kindPreVoteRequest:
		return &raft.PreVoteRequest{Term: r.term(), NextTerm: r.term(), Last: r.position()}
	case kindPreVoteResponse:
		return &raft.PreVoteResponse{Term: r.term(), NextTerm: r.term(), Granted: r.bool()}
	case kindRequestVote:
		return &raft.RequestVote{Term: r.term(), Last: r.position(), Transfer: r.bool()}
	case kindVoteResponse:
		return &raft.VoteResponse{Term: r.term(), Granted: r.bool()}
	case kindAppendResponse:
		return &raft.AppendResponse{
			Term: r.term(), Round: r.round(), Match: r.index(), Rejected: r.bool(),
			Prev: r.index(), Conflict: r.position(), Last: r.index(),
		}
	case kindTimeoutNow:
		return &raft.TimeoutNow{Term: r.term()}
	case kindReadIndexRequest:
		return &raft.ReadIndexRequest{Term: r.term(), ID: raft.ReadID(r.u64())}
	default: // kindReadIndexResponse
		return &raft.ReadIndexResponse{Term: r.term(), ID: raft.ReadID(r.u64()), Index: r.index()}
	}
}

func decodeAppend(r *reader, group raft.GroupID) (raft.Message, error) {
	if len(r.b) < appendHeader {
		return nil, fmt.Errorf("a message of %d bytes, an append has at least %d", len(r.b), appendHeader)
	}
	m := &raft.AppendEntries{Term: r.term(), Prev: r.position(), Commit: r.index(), Round: r.round()}
	count := r.u32()
	if err := checkCount(count, raft.EntryHeaderSize, len(r.b)); err != nil {
		return nil, err
	}
	if count > 0 {
		m.Entries = make([]raft.Entry, count)
	}
	before := m.Prev
	for i := range m.Entries {
		entry, rest, err := raft.CutEntry(r.b)
		if err == nil {
			err = checkPlaced(entry, group, before, m.Term)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, count, err)
		}
		m.Entries[i], r.b, before = entry, rest, entry.Position()
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last entry", len(r.b))
	}
	return m, nil
}

// checkPlaced verifies that an entry is whole, and that it may follow before in the log of a leader of the given term.
func checkPlaced(entry raft.Entry, group raft.GroupID, before raft.Position, term raft.Term) error {
	if err := entry.Check(); err != nil {
		return err
	}
	if entry.Group() != group {
		return fmt.Errorf("it belongs to group %d, the message to group %d", entry.Group(), group)
	}
	if at := entry.Position(); at.Index-1 != before.Index || at.Index == 0 || at.Term < before.Term || at.Term > term {
		return fmt.Errorf("index %d of term %d cannot follow index %d of term %d in a message of term %d",
			at.Index, at.Term, before.Index, before.Term, term)
	}
	return nil
}

func decodeProposals(body []byte) (*ForwardProposals, error) {
	if len(body) < proposalsHeader {
		return nil, fmt.Errorf("%d bytes, forwarded proposals have at least %d", len(body), proposalsHeader)
	}
	r := &reader{b: body}
	p := &ForwardProposals{Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64())}
	count := r.u32()
	if err := checkCount(count, proposalRow+raft.EntryHeaderSize, len(r.b)); err != nil {
		return nil, err
	}
	p.Items = make([]Proposal, count)
	rows := reader{b: r.take(int(count) * proposalRow)}
	for i := range p.Items {
		id, remaining := rows.u64(), rows.u64()
		if remaining > math.MaxInt64 {
			return nil, fmt.Errorf("proposal %d of %d: remaining time of %d ns, the largest is %d", i+1, count, remaining, math.MaxInt64)
		}
		entry, rest, err := raft.CutEntry(r.b)
		if err == nil {
			err = entry.CheckBody()
		}
		if err != nil {
			return nil, fmt.Errorf("proposal %d of %d: %w", i+1, count, err)
		}
		p.Items[i], r.b = Proposal{ID: id, Remaining: time.Duration(remaining), Entry: entry}, rest
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last proposal", len(r.b))
	}
	return p, nil
}

func decodeResults(body []byte) (*ForwardResults, error) {
	if len(body) < resultsHeader {
		return nil, fmt.Errorf("%d bytes, forwarded results have at least %d", len(body), resultsHeader)
	}
	r := &reader{b: body}
	results := &ForwardResults{Group: raft.GroupID(r.u64())}
	count := r.u32()
	if err := checkCount(count, resultRow, len(r.b)); err != nil {
		return nil, err
	}
	results.Items = make([]Result, count)
	rows := reader{b: r.take(int(count) * resultRow)}
	for i := range results.Items {
		item := Result{ID: rows.u64(), Index: rows.index(), Term: rows.term(), Code: Code(rows.u16())}
		text, value := int(rows.u16()), uint64(rows.u32())
		if uint64(text)+value > uint64(len(r.b)) {
			return nil, fmt.Errorf("result %d of %d: text and value of %d bytes, %d are left", i+1, count, uint64(text)+value, len(r.b))
		}
		item.Text = string(r.take(text))
		if value > 0 {
			item.Value = r.take(int(value))
		}
		results.Items[i] = item
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last result", len(r.b))
	}
	return results, nil
}

// checkCount refuses a count that the bytes cannot hold, before anything is allocated for it.
func checkCount(count uint32, smallest, left int) error {
	if uint64(count)*uint64(smallest) > uint64(left) {
		return fmt.Errorf("%d items of at least %d bytes each, %d bytes are left", count, smallest, left)
	}
	return nil
}
