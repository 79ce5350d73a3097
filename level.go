package balsa

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/balsadb/balsa/raft"
)

// Level says what all members of a group understand; see raft.Level.
type Level = raft.Level

// The levels, and what came with each. Members of builds whose highest levels differ by one work together: what a level brought is used
// only once the group has reached it.
//
//	1  what there was before levels were kept
//	2  configurations that hold a level
//	   store: KindAlarm and KindQuota
//
// Whoever adds an entry kind, a command kind or version, or a field of a configuration, adds it to this table, and has it refused at lower
// levels: store.Store.CommandLevel for commands, Configuration.Speaks for the protocol. What only two hosts say to each other needs no
// level but a bit of transport.Features, which one looks up before one says it. docs/decisions/0028 has the reasons.
const (
	FirstLevel = raft.FirstLevel
	BuildLevel = raft.BuildLevel
)

// ErrLevel says that a command needs a higher level than the group has: not all members run a build that knows it. It was not appended;
// it can be tried again once all members are upgraded.
var ErrLevel = errors.New("the group's level is too low")

// Leveled is a state machine some of whose commands not every build knows.
type Leveled interface {
	StateMachine
	// CommandLevel returns from which level of the group on a command may be proposed. It is quick, may be called concurrently, and
	// is given any bytes.
	CommandLevel(payload []byte) Level
}

// leveler is a transport that knows which levels other hosts speak. Without one the level of a group never rises.
type leveler interface {
	// PeerLevel returns the highest level that a host speaks, as it has told last; 0 where it has told nothing.
	PeerLevel(MemberID) Level
	// SetLevel has hosts refused that speak less.
	SetLevel(Level)
}

// Level returns the group's level, as far as it is committed and this member's state machine has applied it. It costs nothing.
func (g *Group) Level() Level { return g.settled.Load().Speaks() }

// Levels returns the highest level that each other member speaks, as far as this one knows: 0 where nothing is known.
func (g *Group) Levels() map[MemberID]Level {
	t, ok := g.host.config.Transport.(leveler)
	if !ok {
		return nil
	}
	all := map[MemberID]Level{}
	for _, seat := range g.membership.Load().Seats {
		if seat.ID != g.Member() {
			all[seat.ID] = t.PeerLevel(seat.ID)
		}
	}
	return all
}

// checkLevel refuses what not all members may know. What it lets pass is behind the entry that raised the level in every log
// that it gets into: that entry is committed, and so known to every later leader.
func (g *Group) checkLevel(entry raft.Entry) error {
	if g.leveled == nil || entry.Kind() != raft.EntryNormal {
		return nil
	}
	needs, has := g.leveled.CommandLevel(entry.Payload()), g.Level()
	if needs <= has {
		return nil
	}
	return fmt.Errorf("%w: the command needs level %d, and the group is at level %d until all members run a build that speaks it", ErrLevel, needs, has)
}

// raiseLevel raises the group's level where this member leads and every member, learners included, is connected and speaks the next one.
func (r *replica) raiseLevel() {
	m := r.group.membership.Load()
	next := m.Speaks() + 1
	if next > r.loop.host.config.Level || r.leadership.Role != raft.Leader || !m.Committed || m.Joint || !r.loop.allSpeak(m, next) {
		return
	}
	at, err := r.raft.RaiseLevel(r.now(), m.Index, next)
	if err != nil {
		return // another change is under way, or the office is: later turns try again
	}
	r.note(event{what: "level raised", term: at.Term, index: at.Index, n: uint64(next)})
	r.loop.host.config.Logger.Info("all members speak the next level: the group's rises, and older builds cannot take part any more",
		groupAttr(r.config.ID), slog.Uint64("level", uint64(next)), slog.Uint64("index", uint64(at.Index)))
}

// allSpeak reports whether all members are connected with this host, and speak a level.
func (l *loop) allSpeak(m *Membership, level Level) bool {
	t, ok := l.host.config.Transport.(leveler)
	if !ok {
		return false
	}
	for i := range m.Seats {
		id := m.Seats[i].ID
		if id == l.host.config.Member {
			continue
		}
		if o := l.outboxes[id]; o == nil || !o.connected || t.PeerLevel(id) < level {
			return false
		}
	}
	return true
}

// refuseOlder has the transport refuse hosts that speak less than the lowest level of this host's groups.
func (l *loop) refuseOlder() {
	t, ok := l.host.config.Transport.(leveler)
	if !ok || len(l.order) == 0 {
		return
	}
	lowest := BuildLevel
	for _, r := range l.order {
		if m := r.group.membership.Load(); m.Committed {
			lowest = min(lowest, m.Speaks())
		} else {
			lowest = min(lowest, r.group.Level())
		}
	}
	t.SetLevel(lowest)
}
