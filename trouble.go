package balsa

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/balsadb/balsa/raft"
)

// Trouble is something that an operator must see: it stands until whoever told of it takes it back. There is one of each kind for a
// group, or for the host as a whole (Group 0). It is said once in the log when it begins, and once when it is over; Host.Troubles
// lists those that stand, and the Observer counts them.
type Trouble struct {
	// Kind names it, for metrics and scripts: one of the Trouble… constants, or an embedder's own. In small letters, with dashes.
	Kind  string
	Group GroupID
	// Warning says that nothing is lost or refused yet, but will be where nobody looks.
	Warning bool
	// Text says what is wrong, Remedy what to do about it; both without full stop. What changes with each attempt does not belong
	// there: a Text that differs is said again.
	Text, Remedy string
	// Since is when it began, on the host's own clock; For is how long ago that was when the list was made.
	Since raft.Instant
	For   time.Duration
}

// The kinds of trouble that the runtime itself tells of.
const (
	TroubleFenced   = "fenced"    // the group was stopped on this host
	TroubleDisk     = "disk"      // the log's disk failed: the host takes part in nothing
	TroubleDiskFull = "disk-full" // the log cannot be written for want of space
	TroubleState    = "state"     // this member's state is of no use, and is being rebuilt
	TroubleSnapshot = "snapshot"  // the snapshot that this member needs could not be installed
)

// troubles are those that stand, in the order in which they began. Any actor, and any goroutine of an embedder, may tell of one: the
// lock is held for moments, and never on the path of a command that goes well.
type troubles struct {
	mu    sync.Mutex
	stand []Trouble
}

func (t *troubles) find(kind string, group GroupID) int {
	return slices.IndexFunc(t.stand, func(s Trouble) bool { return s.Kind == kind && s.Group == group })
}

// SetTrouble tells of a trouble, or that it still stands. Since and For are set by the host. It may be called from anywhere, callbacks
// and state machines included.
func (h *Host) SetTrouble(trouble Trouble) { h.tell(trouble) }

// tell is SetTrouble with more that belongs in the log.
func (h *Host) tell(trouble Trouble, more ...any) {
	t := &h.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	trouble.Since, trouble.For = raft.Instant(h.scheduler.Now()), 0
	if i := t.find(trouble.Kind, trouble.Group); i >= 0 {
		was := t.stand[i]
		trouble.Since = was.Since
		if t.stand[i] = trouble; was == trouble {
			return
		}
	} else {
		t.stand = append(t.stand, trouble)
		h.config.Observer.TroubleChanged(trouble, true)
	}
	attrs := append(append(trouble.attrs(), slog.String("remedy", trouble.Remedy)), more...)
	if trouble.Warning {
		h.config.Logger.Warn(trouble.Text, attrs...)
	} else {
		h.config.Logger.Error(trouble.Text, attrs...)
	}
}

// ClearTrouble tells that a trouble is over; that is nothing where there was none. It may be called from anywhere.
func (h *Host) ClearTrouble(kind string, group GroupID) {
	t := &h.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(kind, group)
	if i < 0 {
		return
	}
	was := t.stand[i]
	t.stand = slices.Delete(t.stand, i, i+1)
	was.For = time.Duration(h.scheduler.Now()) - time.Duration(was.Since)
	h.config.Observer.TroubleChanged(was, false)
	h.config.Logger.Info("this trouble is over: "+was.Text, append(was.attrs(), slog.Duration("after", was.For))...)
}

// Troubles returns the troubles that stand, the oldest first. It costs nothing where there are none.
func (h *Host) Troubles() []Trouble {
	t := &h.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	now := raft.Instant(h.scheduler.Now())
	list := slices.Clone(t.stand)
	for i := range list {
		list[i].For = time.Duration(now - list[i].Since)
	}
	return list
}

// clearTroubles forgets the troubles of a group that is closed.
func (h *Host) clearTroubles(group GroupID) {
	for _, t := range h.Troubles() {
		if t.Group == group {
			h.ClearTrouble(t.Kind, group)
		}
	}
}

func (t *Trouble) attrs() []any {
	attrs := []any{slog.String("trouble", t.Kind)}
	if t.Group != 0 {
		attrs = append(attrs, groupAttr(t.Group))
	}
	return attrs
}
