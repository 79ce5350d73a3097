package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// monotonic: term, commit and applied index never go back, nor the vote within a term. Across a restart that holds of
// what a member has said: it may forget a term that it told nobody of (E01, E02).
type monotonic struct {
	tally
	members map[balsa.MemberID]*memory
}

// memory is what is known of one member.
type memory struct {
	life            *life
	term            raft.Term
	vote            raft.MemberID
	commit, applied raft.Index

	saidTerm raft.Term                   // the largest in which it sent anything
	votes    map[raft.Term]raft.MemberID // to whom it sent its vote
	durable  balsa.Index                 // how far its state was durable when its last life ended
}

func newMonotonic() *monotonic { return &monotonic{members: map[balsa.MemberID]*memory{}} }

// of returns what is known of a member.
func (m *monotonic) of(id balsa.MemberID) *memory {
	k := m.members[id]
	if k == nil {
		k = &memory{votes: map[raft.Term]raft.MemberID{}}
		m.members[id] = k
	}
	return k
}

func (*monotonic) name() string { return "term, vote, commit and applied never go back" }

func (m *monotonic) turned(h *Host, s *raft.Status) error {
	k := m.of(h.ID)
	if k.life == h.life {
		switch {
		case s.Term < k.term:
			return fmt.Errorf("member %d went from term %d to %d", h.ID, k.term, s.Term)
		case s.Term == k.term && k.vote != 0 && s.Vote != k.vote:
			return fmt.Errorf("member %d had voted for %d in term %d, and now for %d", h.ID, k.vote, s.Term, s.Vote)
		case s.Commit < k.commit:
			return fmt.Errorf("member %d's commit index went from %d to %d", h.ID, k.commit, s.Commit)
		case s.Applied < k.applied:
			return fmt.Errorf("member %d's applied index went from %d to %d", h.ID, k.applied, s.Applied)
		}
	}
	k.life, k.term, k.vote, k.commit, k.applied = h.life, s.Term, s.Vote, s.Commit, s.Applied
	return nil
}

// said remembers what a member has promised to everybody.
func (m *monotonic) said(from *life, to balsa.MemberID, packets []wire.Packet) error {
	k := m.of(from.member)
	for _, p := range packets {
		if p.Envelope.Message == nil {
			continue
		}
		k.saidTerm = max(k.saidTerm, p.Envelope.Message.SenderTerm())
		var voted raft.MemberID
		var term raft.Term
		switch message := p.Envelope.Message.(type) {
		case *raft.VoteResponse:
			if message.Granted {
				voted, term = to, message.Term
			}
		case *raft.RequestVote:
			voted, term = from.member, message.Term
		}
		if voted == 0 {
			continue
		}
		if before, is := k.votes[term]; is && before != voted {
			return fmt.Errorf("member %d voted for %d in term %d, and for %d", from.member, before, term, voted)
		}
		k.votes[term] = voted
	}
	return nil
}

func (m *monotonic) began(h *Host, s *raft.Status) error {
	k := m.of(h.ID)
	if k.saidTerm > 0 {
		m.judges()
	}
	switch {
	case s.Term < k.saidTerm:
		return fmt.Errorf("member %d had sent messages in term %d, and started again in term %d", h.ID, k.saidTerm, s.Term)
	case k.votes[s.Term] != 0 && s.Vote != k.votes[s.Term]:
		return fmt.Errorf("member %d had voted for %d in term %d, and started again with a vote for %d", h.ID, k.votes[s.Term], s.Term, s.Vote)
	case s.Applied < k.durable:
		return fmt.Errorf("member %d's state was durable up to %d, and starts again at %d", h.ID, k.durable, s.Applied)
	}
	return nil
}

func (m *monotonic) ended(h *Host) error {
	m.of(h.ID).durable = h.durable()
	return nil
}
