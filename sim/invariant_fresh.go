package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
)

// freshReads: a read barrier has all that was answered anywhere before it was asked for, and this member has applied it. A
// history shows that only where the very key was written meanwhile; the index shows it each time.
type freshReads struct {
	tally
	acknowledged balsa.Index // the highest that a client knows of
}

func (*freshReads) name() string { return "read barriers have all that was answered before" }

func (f *freshReads) answered(_ *Host, result balsa.Result) error {
	f.acknowledged = max(f.acknowledged, result.Index)
	return nil
}

// barrier is called when one is asked for, and what it returns when that is answered.
func (f *freshReads) barrier(h *Host) func(balsa.Index) error {
	before := f.acknowledged
	return func(index balsa.Index) error {
		if before > 0 {
			f.judges()
		}
		switch applied := h.Group.Applied(); {
		case index < before:
			return fmt.Errorf("member %d answered a read with index %d; before that was asked, index %d was known to a client", h.ID, index, before)
		case applied < index:
			return fmt.Errorf("member %d answered a read with index %d and has applied up to %d", h.ID, index, applied)
		}
		return nil
	}
}
