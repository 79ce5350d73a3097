package sim

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// logMatching: two entries with the same index and term are the same, and so are all before them (paper §5.3). The members'
// lists of terms are compared whenever one of them changed; what entries hold is looked at when they are sent.
type logMatching struct {
	tally
	run     *run
	lasts   map[balsa.MemberID]raft.Position
	entries map[raft.Position]entryIdentity
}

// entryIdentity is what an entry holds, and which one comes before it.
type entryIdentity struct {
	before raft.Term
	sum    uint64
}

func (*logMatching) name() string { return "log matching" }

func (m *logMatching) turned(h *Host, s *raft.Status) error {
	protocol := h.life.protocol
	term, _ := protocol.TermAt(s.Last)
	last := raft.Position{Index: s.Last, Term: term}
	if m.lasts == nil {
		m.lasts = map[balsa.MemberID]raft.Position{}
	}
	if m.lasts[h.ID] == last {
		return nil
	}
	m.lasts[h.ID] = last
	for _, other := range m.run.cluster.Hosts {
		if other == h || !other.Up() {
			continue
		}
		if err := raft.CheckLogMatching(protocol, other.life.protocol); err != nil {
			return err
		}
	}
	return nil
}

func (m *logMatching) said(from *life, _ balsa.MemberID, packets []wire.Packet) error {
	for _, p := range packets {
		message, is := p.Envelope.Message.(*raft.AppendEntries)
		if !is {
			continue
		}
		before := message.Prev.Term
		for _, e := range message.Entries {
			identity := entryIdentity{before, xxhash.Sum64(e)}
			known, is := m.entries[e.Position()]
			if is {
				m.judges()
			}
			if is && known != identity {
				return fmt.Errorf("member %d sent another entry as index %d of term %d than was sent before, or behind one of term %d instead of %d",
					from.member, e.Index(), e.Term(), before, known.before)
			}
			m.entries[e.Position()] = identity
			before = e.Term()
		}
	}
	return nil
}
