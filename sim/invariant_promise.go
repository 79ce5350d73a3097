package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// kept: nothing is said before what it promises is durable. A follower that has acknowledged entries to a leader finds them again
// in its next life, in its log or in its state, unless a later leader's entries have taken their place.
type kept struct {
	tally
	promises map[balsa.MemberID]*promise
}

// promise is the last that a member has acknowledged.
type promise struct {
	leader raft.Term // to the leader of this term
	match  raft.Position
}

func (*kept) name() string { return "what was acknowledged to a leader is kept" }

func (k *kept) said(from *life, _ balsa.MemberID, packets []wire.Packet) error {
	p := k.promises[from.member]
	if p == nil {
		p = &promise{}
		k.promises[from.member] = p
	}
	for _, packet := range packets {
		m, is := packet.Envelope.Message.(*raft.AppendResponse)
		if !is || m.Match == 0 || m.Term < p.leader || m.Term == p.leader && m.Match < p.match.Index {
			continue
		}
		if term, ok := from.protocol.TermAt(m.Match); ok {
			*p = promise{m.Term, raft.Position{Index: m.Match, Term: term}}
		}
	}
	return nil
}

func (k *kept) began(h *Host, s *raft.Status) error {
	p := k.promises[h.ID]
	if p == nil || p.match.Index < s.First {
		return nil // nothing is given up that the state does not hold
	}
	if p.match.Index > 0 {
		k.judges()
	}
	term, _ := h.life.protocol.TermAt(min(p.match.Index, s.Last))
	if s.Last >= p.match.Index && term == p.match.Term || term > p.leader {
		return nil
	}
	return fmt.Errorf("member %d had acknowledged index %d of term %d to the leader of term %d, and starts again with entries %d to %d, term %d",
		h.ID, p.match.Index, p.match.Term, p.leader, s.First, s.Last, term)
}

func (*kept) ended(*Host) error { return nil }
