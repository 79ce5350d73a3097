package transport

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// The protocol versions of a handshake are the levels that a build speaks (raft.Level): the cluster's rises once all members are known to
// speak the next one, and from then on nobody who speaks less is let in.

// upTo is the dialect of a build that claims to be no newer than highest; 0 changes nothing.
func (d dialect) upTo(highest raft.Level) dialect {
	if highest > 0 && highest < raft.Level(d.highest) {
		d.highest = uint16(highest)
	}
	return d
}

// speaks is what this member speaks now.
func (t *TCP) speaks() dialect {
	d := t.dialect
	d.lowest = max(d.lowest, uint16(t.level.Load()))
	return d
}

// SetLevel says which level the cluster has reached. Who speaks less is refused from now on, and told so.
func (t *TCP) SetLevel(level raft.Level) {
	if uint32(level) <= t.level.Load() {
		return
	}
	t.level.Store(uint32(level))
	for _, p := range t.members() {
		if spoken := t.PeerLevel(p.id); spoken > 0 && spoken < level {
			p.reject(fmt.Errorf("it speaks levels up to %d, and the cluster is at level %d: upgrade its build", spoken, level))
		}
	}
}

// PeerLevel returns the highest level that another member speaks, as its build has told last; 0 where it has told nothing.
func (t *TCP) PeerLevel(id raft.MemberID) raft.Level {
	p := t.peer(id)
	if p == nil {
		return 0
	}
	p.who.mu.Lock()
	defer p.who.mu.Unlock()
	return p.who.level
}
