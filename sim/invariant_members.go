package sim

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// configurations: who takes part in the group changes by the rules (paper §6, E32 to E37). On each member the last configuration in its log is
// in force; a leader changes nothing before an entry of its own term is committed, nor before the last change is, and leaves a joint
// configuration once majorities of both have it; each follows from the one before it; ids are given once; who leads was elected by majorities of
// the configuration that it has, by votes that were really given; and who knows for certain that it does not vote does not ask for votes.
type configurations struct {
	tally
	run     *run
	ballots *monotonic // knows to whom each member has sent its vote
	// entries are those that were ever in a log, in the order of their indexes.
	entries []configurationEntry
	views   map[balsa.MemberID]*membersView
	// committed is the last one that anybody knew to be committed, and all of them by their indexes.
	committed raft.ConfigurationAt
	history   []raft.Index
	// rulings say under which configuration entries were committed, in the order of their indexes.
	rulings []ruling
	refused map[balsa.MemberID]bool // whom a client was told not to have been added
	seated  map[balsa.MemberID]bool // who ever had a seat
}

// configurationEntry is an entry with a configuration.
type configurationEntry struct {
	raft.Position
	raft.Configuration
	sum uint64
}

// membersView is the last that was seen of one member's idea.
type membersView struct {
	life   *life
	c      raft.ConfigurationAt
	term   raft.Term // of its entry
	led    raft.Term // it was leader of this term
	commit raft.Index
	role   raft.Role
}

// ruling is the configuration by which a leader committed the entries from first on.
type ruling struct {
	first raft.Index
	c     raft.ConfigurationAt
}

func newConfigurations(r *run, said *monotonic) *configurations {
	x := &configurations{
		run: r, ballots: said, views: map[balsa.MemberID]*membersView{}, refused: map[balsa.MemberID]bool{}, seated: map[balsa.MemberID]bool{},
		committed: raft.ConfigurationAt{Configuration: r.cluster.first},
	}
	x.seat(&x.committed.Configuration)
	x.rulings = []ruling{{0, x.committed}}
	return x
}

func (*configurations) name() string { return "members change by the rules" }

func (x *configurations) turned(h *Host, s *raft.Status) error {
	v := x.view(h)
	m := h.life.protocol.Membership()
	before := *v
	v.c, v.role, v.commit = m.ConfigurationAt, s.Role, s.Commit
	if before.life != h.life {
		before = membersView{life: h.life, c: m.ConfigurationAt, commit: s.Commit}
		v.life, v.led = h.life, 0
	}
	v.term, _ = h.life.protocol.TermAt(m.Index)
	if err := x.checkInForce(h, s, v); err != nil {
		return err
	}
	if s.Role == raft.Leader {
		if err := x.checkLeader(h, s, &before, v); err != nil {
			return err
		}
	}
	return x.checkCommitted(h, s)
}

func (x *configurations) view(h *Host) *membersView {
	v := x.views[h.ID]
	if v == nil {
		v = &membersView{}
		x.views[h.ID] = v
	}
	return v
}

// checkInForce: a member's configuration is that of an entry in its log, and no later one is there (E34).
func (x *configurations) checkInForce(h *Host, s *raft.Status, v *membersView) error {
	if v.c.Index > s.Last {
		return fmt.Errorf("member %d's configuration is that of index %d, and its log ends at %d", h.ID, v.c.Index, s.Last)
	}
	for i := len(x.entries) - 1; i >= 0 && x.entries[i].Index > v.c.Index; i-- {
		e := &x.entries[i]
		if term, ok := h.life.protocol.TermAt(e.Index); e.Index <= s.Last && ok && term == e.Term && e.Index > s.First {
			return fmt.Errorf("member %d's configuration is that of index %d, and its log has a later one at %d", h.ID, v.c.Index, e.Index)
		}
	}
	if v.c.Index < s.First || v.term == 0 {
		return nil
	}
	return x.seen(raft.Position{Index: v.c.Index, Term: v.term}, v.c.Configuration, h.ID)
}

// seen takes note of an entry with a configuration.
func (x *configurations) seen(at raft.Position, c raft.Configuration, by balsa.MemberID) error {
	i := len(x.entries)
	for ; i > 0 && x.entries[i-1].Index >= at.Index; i-- {
		if x.entries[i-1].Position != at {
			continue
		}
		if known := &x.entries[i-1]; !same(&known.Configuration, &c) && known.sum != xxhash.Sum64(c.Encode()) {
			return fmt.Errorf("member %d has another configuration at index %d of term %d than others", by, at.Index, at.Term)
		}
		return nil
	}
	x.entries = slices.Insert(x.entries, i, configurationEntry{at, c, xxhash.Sum64(c.Encode())})
	return nil
}

// same reports quickly whether two are the same value in memory; where it says no they may be equal all the same.
func same(a, b *raft.Configuration) bool {
	return len(a.Seats) == len(b.Seats) && len(a.Seats) > 0 && &a.Seats[0] == &b.Seats[0]
}

// checkLeader: how it came to lead, and by which right it changes the members.
func (x *configurations) checkLeader(h *Host, s *raft.Status, before, now *membersView) error {
	if now.led != s.Term {
		now.led = s.Term
		x.judges()
		q := x.run.quorum(&now.c, func(o *Host) bool { return o == h || x.ballots.of(o.ID).votes[s.Term] == h.ID })
		if !q.holds() {
			return fmt.Errorf("member %d leads in term %d with the votes of %v of the configuration of index %d", h.ID, s.Term, q, now.c.Index)
		}
	} else if now.c.Index > before.c.Index {
		if err := x.checkChange(h, s, before, now); err != nil {
			return err
		}
	}
	if s.Commit > before.commit {
		x.rule(before.commit+1, now.c)
	}
	return nil
}

// checkChange: a leader has appended a configuration.
func (x *configurations) checkChange(h *Host, s *raft.Status, before, now *membersView) error {
	x.judges()
	x.run.counters["configurations appended"]++
	if now.c.Joint {
		x.run.counters["joint configurations"]++
	}
	if term, ok := h.life.protocol.TermAt(s.Commit); ok && term != s.Term {
		return fmt.Errorf("member %d, leader of term %d, changes the members at index %d, and has committed nothing of its term yet (E32)", h.ID, s.Term, now.c.Index)
	}
	if before.c.Index > s.Commit {
		return fmt.Errorf("member %d changes the members at index %d, and the change of index %d is not committed (E33)", h.ID, now.c.Index, before.c.Index)
	}
	q := x.run.quorum(&before.c, func(o *Host) bool {
		return !o.Up() || o.has(raft.Position{Index: before.c.Index, Term: before.term}) || before.term == 0
	})
	if !q.holds() {
		return fmt.Errorf("member %d leaves the configuration of index %d, which is durable in the logs of %v, for that of index %d", h.ID, before.c.Index, q, now.c.Index)
	}
	if err := x.follows(&before.c.Configuration, &now.c.Configuration); err != nil {
		return fmt.Errorf("member %d changes the members from index %d to index %d: %w", h.ID, before.c.Index, now.c.Index, err)
	}
	return nil
}

// rule remembers by which configuration entries were committed.
func (x *configurations) rule(first raft.Index, c raft.ConfigurationAt) {
	if last := &x.rulings[len(x.rulings)-1]; last.c.Index < c.Index {
		x.rulings = append(x.rulings, ruling{max(first, last.first), c})
	}
}

// ruling returns the configuration of which a majority must have what was acknowledged at an index: that by which it was
// committed, or the last that was committed since, whose majorities have all that came before it.
func (x *configurations) ruling(index balsa.Index) *raft.ConfigurationAt {
	for i := len(x.rulings) - 1; i >= 0; i-- {
		if r := &x.rulings[i]; r.first <= raft.Index(index) {
			if r.c.Index > x.committed.Index {
				return &r.c
			}
			break
		}
	}
	return &x.committed
}

// checkCommitted follows what members know to be committed.
func (x *configurations) checkCommitted(h *Host, s *raft.Status) error {
	for i := range x.entries {
		e := &x.entries[i]
		if e.Index <= x.committed.Index || e.Index > s.Commit {
			continue
		}
		if term, ok := h.life.protocol.TermAt(e.Index); !ok || term != e.Term {
			continue
		}
		x.judges()
		if err := x.follows(&x.committed.Configuration, &e.Configuration); err != nil {
			return fmt.Errorf("the configuration of index %d follows that of index %d, as member %d knows it: %w", e.Index, x.committed.Index, h.ID, err)
		}
		x.committed = raft.ConfigurationAt{Index: e.Index, Configuration: e.Configuration}
		x.history = append(x.history, e.Index)
		x.seat(&x.committed.Configuration)
	}
	for i := len(x.history) - 1; i >= 0; i-- {
		if at := x.history[i]; at <= s.Commit {
			if has := x.views[h.ID].c.Index; has < at {
				return fmt.Errorf("member %d's configuration is that of index %d, and it knows index %d to be committed, where there is a later one (E29)", h.ID, has, at)
			}
			break
		}
	}
	return nil
}

// seat remembers who had a seat.
func (x *configurations) seat(c *raft.Configuration) {
	for i := range c.Seats {
		x.seated[c.Seats[i].ID] = true
	}
}

// follows says why a configuration cannot come after another.
func (x *configurations) follows(before, next *raft.Configuration) error {
	voters := func(c *raft.Configuration, former bool) (ids []raft.MemberID) {
		for i := range c.Seats {
			if s := &c.Seats[i]; former && s.Former || !former && s.Role == raft.Voter {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	if next.Joint && before.Joint {
		return fmt.Errorf("both are joint")
	}
	if want, got := voters(before, false), voters(next, next.Joint); !slices.Equal(want, got) {
		return fmt.Errorf("%v voted, and %v go on", want, got)
	}
	for i := range next.Seats {
		seat := &next.Seats[i]
		switch {
		case before.Seat(seat.ID) != nil:
		case x.seated[seat.ID] || before.WasRemoved(seat.ID):
			return fmt.Errorf("the id %d is used again", seat.ID)
		case seat.Life <= before.Lives:
			return fmt.Errorf("member %d has life %d, and %d was given before", seat.ID, seat.Life, before.Lives)
		case x.refused[seat.ID]:
			return fmt.Errorf("member %d is there, which its client was told not to have been added", seat.ID)
		case seat.Role != raft.Learner:
			return fmt.Errorf("member %d is new and a %v", seat.ID, seat.Role)
		}
	}
	for i := range before.Seats {
		if id := before.Seats[i].ID; next.Seat(id) == nil && !next.WasRemoved(id) {
			return fmt.Errorf("member %d has no seat any more, and is not among the removed", id)
		}
	}
	return nil
}

// said: who is certain not to vote does not ask for votes (E35, E36).
func (x *configurations) said(from *life, _ balsa.MemberID, packets []wire.Packet) error {
	for _, p := range packets {
		switch m := p.Envelope.Message.(type) {
		case *raft.RequestVote, *raft.PreVoteRequest:
			c := from.protocol.Membership()
			if seat := c.Seat(from.member); c.Committed && (seat == nil || seat.Role != raft.Voter && !seat.Former) {
				return fmt.Errorf("member %d asks for votes, and knows for certain that it has none", from.member)
			}
		case *raft.AppendEntries:
			for _, e := range m.Entries {
				if e.Kind() != raft.EntryConfiguration {
					continue
				}
				c, err := raft.DecodeConfiguration(e.Payload())
				if err == nil {
					err = x.seen(e.Position(), c, from.member)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// answered compares what a client was told to be in force with what is committed.
func (x *configurations) answered(c *raft.ConfigurationAt) error {
	x.judges()
	if c.Joint {
		return fmt.Errorf("a client was told that its change is made, with a joint configuration at index %d", c.Index)
	}
	sum := xxhash.Sum64(c.Encode())
	for i := range x.entries {
		if e := &x.entries[i]; e.Index == c.Index && e.sum == sum && e.Index <= x.committed.Index {
			return nil
		}
	}
	return fmt.Errorf("a client was told that its change is made by the configuration at index %d, which is not committed", c.Index)
}
