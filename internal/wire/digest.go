package wire

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// StateDigests tells what the sender's state machine was at some positions, so that replicas which differ are found.
type StateDigests struct {
	Group raft.GroupID
	From  raft.MemberID
	At    []StateDigest // in the order of their indexes
}

// StateDigest is the digest of a state machine as of a position.
type StateDigest struct {
	Position raft.Position
	Digest   [16]byte
}

// MaxStateDigests is how many a packet holds at most.
const MaxStateDigests = 64

const (
	stateDigestsHeader = 20
	stateDigestRow     = 32
)

// StateDigests adds digests.
func (e *Encoder) StateDigests(d StateDigests) {
	size := stateDigestsHeader + stateDigestRow*len(d.At)
	w := e.packet(kindStateDigests, size, size)
	w.u64(uint64(d.Group))
	w.u64(uint64(d.From))
	w.u32(uint32(len(d.At)))
	for i := range d.At {
		w.position(d.At[i].Position)
		w.b = w.b[copy(w.b, d.At[i].Digest[:]):]
	}
}

func decodeStateDigests(body []byte) (*StateDigests, error) {
	if len(body) < stateDigestsHeader {
		return nil, fmt.Errorf("%d bytes, digests begin with %d", len(body), stateDigestsHeader)
	}
	r := &reader{b: body}
	d := &StateDigests{Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64())}
	n := int(r.u32())
	if n > MaxStateDigests || len(r.b) != n*stateDigestRow {
		return nil, fmt.Errorf("%d bytes for %d digests, at most %d of %d bytes each", len(r.b), n, MaxStateDigests, stateDigestRow)
	}
	d.At = make([]StateDigest, n)
	for i := range d.At {
		d.At[i].Position = r.position()
		r.b = r.b[copy(d.At[i].Digest[:], r.b):]
	}
	return d, nil
}
