package sim

import (
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// Commands are what clients, operators and servers of a run have replicated, beside the operations on single keys of which a
// history is kept. What each must be answered, the replay knows: since every answer is the one that it has at the command's index,
// and no command has an index below one that was known when it was asked, the history of all of them is linearizable.

// asked is a command that somebody has asked for. Some look all alike: then it is all of them.
type asked struct {
	what    string
	once    bool // there is one like this
	applied balsa.Index
	refused bool
}

// expect remembers that somebody asks for a command.
func (r *run) expect(what string, entry raft.Entry, once bool) *asked {
	hash := xxhash.Sum64(entry.Payload())
	if a := r.replay.commands[hash]; a != nil && !once {
		a.once = false
		return a
	}
	a := &asked{what: what, once: once}
	r.replay.commands[hash] = a
	return a
}

// happened is told where the replay applies the command.
func (a *asked) happened(index balsa.Index) error {
	switch {
	case !a.once:
	case a.applied != 0:
		return fmt.Errorf("%s, which was applied at index %d already", a.what, a.applied)
	case a.refused:
		return fmt.Errorf("%s, which its client was told was never appended", a.what)
	}
	a.applied = index
	return nil
}

// command has a host replicate a command, and judges the answer before done gets it. That of a host whose life is over reaches
// nobody.
func (r *run) command(h *Host, what string, entry raft.Entry, once bool, done func(balsa.Result, error)) {
	a, life, before := r.expect(what, entry, once), h.life, r.fresh.acknowledged
	hash := xxhash.Sum64(entry.Payload())
	h.Group.ProposeEntry(entry, r.patience(), func(result balsa.Result, err error) {
		switch {
		case life.over:
			return
		case err == nil:
			r.counters["commands acknowledged"]++
			r.fail(r.replay.name(), r.replay.answered(a, hash, before, result))
			r.acknowledged(h, result)
		case errors.Is(err, balsa.ErrOutcomeUnknown):
			r.counters["unknown outcomes"]++
		default:
			r.counters["commands refused"]++
			if a.refused = true; a.once && a.applied != 0 {
				r.fail(r.replay.name(), fmt.Errorf("%s was applied at index %d, and its client told that it was never appended", what, a.applied))
			}
		}
		done(result, err)
	})
}

// answered judges what a client was answered to a command that it asked for when an index was known.
func (m *replay) answered(a *asked, hash uint64, before balsa.Index, result balsa.Result) error {
	if result.Index <= before {
		return fmt.Errorf("%s was answered with index %d; before it was asked, index %d was known to a client", a.what, result.Index, before)
	}
	if int(result.Index) >= len(m.done) {
		return fmt.Errorf("%s was answered with index %d, which nobody has applied", a.what, result.Index)
	}
	if want, got := m.done[result.Index], (appliedCommand{hash, xxhash.Sum64(result.Value)}); got != want {
		return fmt.Errorf("%s was answered with index %d, where another command was applied, or with another result", a.what, result.Index)
	}
	return nil
}
