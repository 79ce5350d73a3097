package sim

import (
	"fmt"
	"strings"

	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// describe says what a frame holds, where somebody reads the trace.
func (n *Network) describe(frame []byte) string {
	if !n.world.Tracing() {
		return ""
	}
	packets, err := wire.Decode(nil, frame)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	texts := make([]string, len(packets))
	for i, p := range packets {
		texts[i] = describePacket(p)
	}
	return strings.Join(texts, "; ")
}

func describePacket(p wire.Packet) string {
	switch {
	case p.Proposals != nil:
		return fmt.Sprintf("forwarded %d proposals", len(p.Proposals.Items))
	case p.Results != nil:
		return fmt.Sprintf("results of %d proposals", len(p.Results.Items))
	}
	switch m := p.Envelope.Message.(type) {
	case *raft.AppendEntries:
		return fmt.Sprintf("append term %d prev %d/%d entries %d commit %d round %d", m.Term, m.Prev.Index, m.Prev.Term, len(m.Entries), m.Commit, m.Round)
	case *raft.AppendResponse:
		if m.Rejected {
			return fmt.Sprintf("append refused term %d prev %d conflict %d/%d last %d", m.Term, m.Prev, m.Conflict.Index, m.Conflict.Term, m.Last)
		}
		return fmt.Sprintf("appended term %d match %d round %d", m.Term, m.Match, m.Round)
	case *raft.PreVoteRequest:
		return fmt.Sprintf("pre-vote? for term %d last %d/%d", m.NextTerm, m.Last.Index, m.Last.Term)
	case *raft.PreVoteResponse:
		return fmt.Sprintf("pre-vote granted=%v for term %d", m.Granted, m.NextTerm)
	case *raft.RequestVote:
		return fmt.Sprintf("vote? term %d last %d/%d", m.Term, m.Last.Index, m.Last.Term)
	case *raft.VoteResponse:
		return fmt.Sprintf("vote granted=%v term %d", m.Granted, m.Term)
	case nil:
		return "something else"
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T term %d", m, m.SenderTerm()), "*raft.")
	}
}
