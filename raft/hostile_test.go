package raft

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Nothing that a peer can say makes a member panic, or breaks what must hold inside it. Peers that lie can of course
// break the cluster's promises; only peers of the cluster can speak at all.

func TestHostilePeers(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		data := make([]byte, 4000)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		beHostile(t, data)
	}
}

func FuzzReceive(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { beHostile(t, data) })
}

// hostile makes inputs out of bytes. Numbers are mostly small, so that they hit what there is.
type hostile struct{ data []byte }

func (h *hostile) byte() byte {
	if len(h.data) == 0 {
		return 0
	}
	b := h.data[0]
	h.data = h.data[1:]
	return b
}

func (h *hostile) number() uint64 {
	b := h.byte()
	switch {
	case b < 250:
		return uint64(b % 12)
	case b < 253 || len(h.data) < 8:
		return ^uint64(0) >> (b % 4)
	}
	n := binary.LittleEndian.Uint64(h.data)
	h.data = h.data[8:]
	return n
}

func (h *hostile) position() Position { return Position{Index(h.number()), Term(h.number())} }

func (h *hostile) entries(after Position, term Term) (entries []Entry) {
	for range h.byte() % 4 {
		switch h.byte() % 16 {
		case 0:
			entries = append(entries, entryAt(Index(h.number()), Term(h.number())))
		case 1:
			entries = append(entries, Entry("short"))
		default: // one that fits
			if h.byte()%2 == 0 {
				after.Term = min(after.Term+1, term)
			}
			after.Index++
			entries = append(entries, entryAt(after.Index, after.Term))
		}
	}
	return entries
}

func (h *hostile) message() Message {
	term := Term(h.number())
	switch h.byte() % 11 {
	case 0:
		return &PreVoteRequest{Term: term, NextTerm: Term(h.number()), Last: h.position()}
	case 1:
		return &PreVoteResponse{Term: term, NextTerm: Term(h.number()), Granted: h.byte()%2 == 0}
	case 2:
		return &RequestVote{Term: term, Last: h.position(), Transfer: h.byte()%2 == 0}
	case 3:
		return &VoteResponse{Term: term, Granted: h.byte()%2 == 0}
	case 4, 5:
		prev := h.position()
		return &AppendEntries{Term: term, Prev: prev, Commit: Index(h.number()), Round: Round(h.number()), Entries: h.entries(prev, term)}
	case 6, 7:
		return &AppendResponse{
			Term: term, Round: Round(h.number()), Match: Index(h.number()), Rejected: h.byte()%2 == 0,
			Prev: Index(h.number()), Conflict: h.position(), Last: Index(h.number()),
		}
	case 8:
		return &TimeoutNow{Term: term}
	case 9:
		return &ReadIndexRequest{Term: term, ID: ReadID(h.number())}
	}
	return &ReadIndexResponse{Term: term, ID: ReadID(h.number()), Index: Index(h.number())}
}

func beHostile(t *testing.T, data []byte) {
	w := newWorld(t, 3, Limits{MessageBytes: 100, CacheBytes: 200, InflightMessages: 2, BufferedBytes: 500})
	m := w.member(1)
	m.slow = true
	h := &hostile{data}
	for len(h.data) > 0 {
		switch h.byte() % 16 {
		case 0:
			w.timeout(m)
		case 1:
			m.raft.Propose(w.now, commandEntries("x", "y"))
		case 2:
			m.raft.Read(w.now, ReadID(h.number()))
		case 3:
			w.persist(m, 1+int(h.byte()%3))
		case 4:
			m.raft.Transfer(w.now, MemberID(h.byte()%4))
		case 5:
			m.raft.PeerBroken(w.now, MemberID(h.byte()%4), h.byte()%2 == 0)
		case 6:
			w.serve(m)
		case 7:
			f := Fetch{For: MemberID(h.byte() % 4), Low: Index(h.number()), High: Index(h.number())}
			m.raft.Fetched(w.now, f, h.entries(Position{f.Low - 1, 0}, 9))
		default:
			from := MemberID(h.byte()%5 + 1)
			m.raft.Receive(w.now, Envelope{Group: 1, From: from, To: 1, FromLife: 1, ToLife: 1, Message: h.message()})
		}
		if h.byte()%2 == 0 {
			w.said(m)
		}
		for _, check := range []func() error{m.raft.CheckInvariants, m.raft.CheckEntries} {
			if err := check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
