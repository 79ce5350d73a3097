package sim

// tally counts how often an invariant had something to judge. One that is never asked, or finds each time that the question does
// not arise, holds whatever happens: so a campaign reports how often each has judged, and never is a floor that is missed.
// Invariants embed it, and call judges where they compare what happened with what must be.
type tally struct{ judged uint64 }

func (t *tally) judges() { t.judged++ }

func (t *tally) judgements() uint64 { return t.judged }

// counted is an invariant that has a tally. All have.
type counted interface {
	invariant
	judgements() uint64
}

// judgedBy is the counter of an invariant's judgements.
func judgedBy(invariant string) string { return judgedPrefix + invariant }

const judgedPrefix = "judged: "

// countJudgements adds up what the invariants of a run have judged. One that has judged nothing has a zero, rather than no counter.
func (r *run) countJudgements() {
	for _, i := range r.checks {
		if c, is := i.(counted); is {
			r.counters[judgedBy(c.name())] += c.judgements()
		}
	}
}
