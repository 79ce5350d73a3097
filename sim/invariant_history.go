package sim

import (
	"errors"
	"time"

	"github.com/balsadb/balsa/internal/history"
)

// linearizable: what clients were answered could have come from one machine that does one thing at a time (porcupine).
type linearizable struct {
	tally
	run *run
}

// undecided counts the histories that were too hard to check in the time for it: of those nothing is known.
const undecided = "histories not decided"

func (*linearizable) name() string { return "linearizable history" }

func (l *linearizable) finish() error {
	r := l.run
	for _, op := range r.issued { //balsa:unordered each is told for itself
		if op.applied == 0 {
			op.call.NotDone() // the run is over, and it is in no log
		}
	}
	err := r.history.Check(5 * time.Second)
	if errors.Is(err, history.ErrUndecided) {
		r.counters[undecided]++
		return nil
	}
	l.judges()
	return err
}
