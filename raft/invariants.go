package raft

import "fmt"

// What must hold, as functions with names. The simulator calls them after every step.

type invariant struct {
	name  string
	check func(*Raft) error
}

var invariants = []invariant{
	{"order of indexes", (*Raft).checkOrder},
	{"term runs", (*Raft).checkRuns},
	{"durability", (*Raft).checkDurability},
	{"role", (*Raft).checkRole},
	{"progress", (*Raft).checkProgress},
	{"bounds", (*Raft).checkBounds},
}

// costlyInvariants look at every entry in memory.
var costlyInvariants = []invariant{
	{"cache", (*Raft).checkCache},
	{"byte counts", (*Raft).checkBytes},
}

// CheckInvariants checks what must hold within one member, in a few words per member of the group. The error names
// the invariant and gives the values.
func (r *Raft) CheckInvariants() error { return r.checkAll(invariants) }

// CheckEntries checks in the same way what must hold of the entries in memory; it looks at each of them.
func (r *Raft) CheckEntries() error { return r.checkAll(costlyInvariants) }

func (r *Raft) checkAll(list []invariant) error {
	for _, invariant := range list {
		if err := invariant.check(r); err != nil {
			return fmt.Errorf("group %d, member %x, %v of term %d: %s: %w",
				r.config.Group, uint64(r.config.Self), r.role, r.hard.Term, invariant.name, err)
		}
	}
	return nil
}

func (r *Raft) checkOrder() error {
	l := &r.log
	if l.before.Index <= r.apply.applied && r.apply.applied <= r.apply.handed && r.apply.handed <= r.commit &&
		r.commit <= l.last && l.before.Index <= l.stable && l.stable < l.writeFrom && l.writeFrom <= l.last+1 {
		return nil
	}
	return fmt.Errorf("not before %d ≤ applied %d ≤ handed out %d ≤ commit %d ≤ last %d, stable %d < first to write %d",
		l.before.Index, r.apply.applied, r.apply.handed, r.commit, l.last, l.stable, l.writeFrom)
}

func (r *Raft) checkRuns() error {
	l := &r.log
	if (len(l.runs) == 0) != (l.last == l.before.Index) {
		return fmt.Errorf("%v for (%d, %d]", l.runs, l.before.Index, l.last)
	}
	previous := l.before.Term
	for i, run := range l.runs {
		if i == 0 && run.First != l.before.Index+1 || i > 0 && (run.First <= l.runs[i-1].First || run.Term <= previous) ||
			run.Term < previous || run.First > l.last || run.Term > r.hard.Term {
			return fmt.Errorf("%v for (%d, %d] in term %d", l.runs, l.before.Index, l.last, r.hard.Term)
		}
		previous = run.Term
	}
	return nil
}

func (r *Raft) checkCache() error {
	l, c := &r.log, &r.log.cache
	if c.next() != l.last+1 || c.first > l.stable+1 {
		return fmt.Errorf("holds [%d, %d), the log ends at %d and is stable up to %d", c.first, c.next(), l.last, l.stable)
	}
	for i, e := range c.entries {
		if index := c.first + Index(i); e.Index() != index || !l.holds(e.Position()) {
			return fmt.Errorf("entry %v at index %d", e.Position(), index)
		}
	}
	return nil
}

func (r *Raft) checkBytes() error {
	l, c := &r.log, &r.log.cache
	if bytes := c.size(c.first, c.next()); bytes != c.bytes {
		return fmt.Errorf("%d bytes are cached, counted as %d", bytes, c.bytes)
	}
	if bytes := c.size(l.stable+1, c.next()); bytes != l.unstable {
		return fmt.Errorf("%d bytes are not stable, counted as %d", bytes, l.unstable)
	}
	if bytes := c.size(r.commit+1, c.next()); r.role == Leader && bytes != r.reign.uncommitted {
		return fmt.Errorf("%d bytes are not committed, counted as %d", bytes, r.reign.uncommitted)
	}
	return nil
}

func (r *Raft) checkDurability() error {
	d := &r.durable
	previous := d.doneSeq
	for _, w := range d.pending {
		if w.seq <= previous || w.seq > d.lastSeq {
			return fmt.Errorf("write %d is pending after %d, done %d, last %d", w.seq, previous, d.doneSeq, d.lastSeq)
		}
		if w.first <= r.log.stable {
			return fmt.Errorf("stable up to %d, while write %d from %d on is pending", r.log.stable, w.seq, w.first)
		}
		previous = w.seq
	}
	if d.hardDurable() && len(d.held) > 0 {
		return fmt.Errorf("%d messages are held for a hard state that is durable", len(d.held))
	}
	return nil
}

func (r *Raft) checkRole() error {
	self := r.config.Self
	switch {
	case r.role == Leader && (r.leader != self || r.hard.Vote != self || !r.durable.hardDurable()):
		return fmt.Errorf("leader is %x, vote for %x, durable %v", r.leader, r.hard.Vote, r.durable.hardDurable())
	case r.role == Candidate && (r.hard.Vote != self || r.leader != 0):
		return fmt.Errorf("vote for %x, leader %x", r.hard.Vote, r.leader)
	case r.role == PreCandidate && r.leader != 0, r.role == Follower && r.leader == self:
		return fmt.Errorf("leader %x", r.leader)
	case r.role != Leader && r.reign.first != 0:
		return fmt.Errorf("a reign since index %d", r.reign.first)
	}
	return nil
}

func (r *Raft) checkProgress() error {
	if r.role != Leader {
		return nil
	}
	for _, p := range r.peers {
		if p == r.self {
			continue
		}
		f := &p.inflight
		bytes := 0
		for i := range f.count {
			bytes += f.ring[(f.head+i)%len(f.ring)].bytes
		}
		switch {
		case p.match >= p.next, p.match > r.log.last, p.next > r.log.last+1:
			return fmt.Errorf("of %x: match %d, next %d, the log ends at %d", p.ID, p.match, p.next, r.log.last)
		case bytes != f.bytes, p.state != StateReplicate && f.count > 0:
			return fmt.Errorf("of %x: %d messages under way with %d bytes, counted as %d, in state %v", p.ID, f.count, bytes, f.bytes, p.state)
		case p.state == StateSnapshot && p.wanted > r.log.before.Index:
			return fmt.Errorf("of %x: a snapshot at %d or above was asked for, the log begins after %d", p.ID, p.wanted, r.log.before.Index)
		case p.round > r.reign.round, r.reign.confirmed > r.reign.round:
			return fmt.Errorf("of %x: round %d, confirmed %d, the last one is %d", p.ID, p.round, r.reign.confirmed, r.reign.round)
		}
	}
	return nil
}

// checkBounds checks that nothing has grown beyond its limit. A single item larger than a limit is let through, so
// each bound may be exceeded by one.
func (r *Raft) checkBounds() error {
	limits := &r.config.Limits
	entry := limits.EntryBytes
	switch {
	case r.reign.uncommitted > limits.UncommittedBytes+entry:
		return fmt.Errorf("%d bytes are not committed, the limit is %d", r.reign.uncommitted, limits.UncommittedBytes)
	case r.role != Leader && r.log.unstable > max(limits.BufferedBytes, limits.UncommittedBytes)+limits.MessageBytes+entry:
		return fmt.Errorf("%d bytes wait for the disk, the limit is %d", r.log.unstable, limits.BufferedBytes)
	case r.apply.bytes > limits.ApplyingBytes+entry:
		return fmt.Errorf("%d bytes are being applied, the limit is %d", r.apply.bytes, limits.ApplyingBytes)
	case len(r.reads.waiting)+len(r.reads.asked) > limits.Reads:
		return fmt.Errorf("%d reads wait, the limit is %d", len(r.reads.waiting)+len(r.reads.asked), limits.Reads)
	}
	for _, p := range r.peers {
		if p.inflight.count > limits.InflightMessages || p.inflight.bytes > limits.InflightBytes+limits.MessageBytes+entry {
			return fmt.Errorf("%d messages with %d bytes are under way to %x, the limits are %d and %d",
				p.inflight.count, p.inflight.bytes, p.ID, limits.InflightMessages, limits.InflightBytes)
		}
	}
	return nil
}

// CheckElectionSafety checks that no two of the members lead in the same term (paper §5.2).
func CheckElectionSafety(members []*Raft) error {
	for i, a := range members {
		for _, b := range members[:i] {
			if a.role == Leader && b.role == Leader && a.hard.Term == b.hard.Term {
				return fmt.Errorf("election safety: members %x and %x both lead in term %d",
					uint64(b.config.Self), uint64(a.config.Self), a.hard.Term)
			}
		}
	}
	return nil
}

// CheckLogMatching checks that where two logs have the same term at an index, they have the same terms at all
// indexes below that both know (paper §5.3). It goes through the two lists of terms, not through the entries.
func CheckLogMatching(a, b *Raft) error {
	low := max(a.log.before.Index, b.log.before.Index)
	agree := false
	for index := min(a.log.last, b.log.last); index > low; {
		ours, theirs := a.log.runs[a.log.runs.find(index)], b.log.runs[b.log.runs.find(index)]
		if agree && ours.Term != theirs.Term {
			return fmt.Errorf("log matching: at index %d member %x has term %d and member %x term %d, and above it they agree",
				index, uint64(a.config.Self), ours.Term, uint64(b.config.Self), theirs.Term)
		}
		agree = agree || ours.Term == theirs.Term
		index = max(ours.First, theirs.First) - 1
	}
	// What lies just before a log's first entry is known too, and is committed.
	ours, oursKnown := a.log.term(low)
	theirs, theirsKnown := b.log.term(low)
	if agree && oursKnown && theirsKnown && ours != theirs {
		return fmt.Errorf("log matching: before its first entry, at index %d, member %x has term %d and member %x term %d, and above it they agree",
			low, uint64(a.config.Self), ours, uint64(b.config.Self), theirs)
	}
	return nil
}

// TermAt returns the term of the entry at index, where this member's log knows it.
func (r *Raft) TermAt(index Index) (term Term, ok bool) { return r.log.term(index) }
