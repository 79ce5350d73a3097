package sim

import (
	"slices"
	"time"
)

// Shorten looks for a shorter run that breaks the same invariant: without whole classes of faults, with fewer
// operations, and then without single faults. Since each fault draws from a source of its own, those that remain stay what they
// were, as long as the members do. The search ends after a while with the best that it has.
func Shorten(failed RunOptions) Result {
	best := Run(failed)
	if best.Violation == nil {
		return best
	}
	s := shortener{best: best, until: time.Now().Add(shortenFor)} //balsa:edge how long a person waits
	s.classes()
	s.operations()
	s.faults()
	return s.best
}

// shortenFor is how long the search goes on.
const shortenFor = 30 * time.Second

type shortener struct {
	best  Result
	until time.Time
}

// try makes a run, and keeps it where it breaks the same invariant.
func (s *shortener) try(options RunOptions) bool {
	if time.Now().After(s.until) { //balsa:edge how long a person waits
		return false
	}
	result := Run(options)
	if result.Violation == nil || result.Violation.Invariant != s.best.Violation.Invariant {
		return false
	}
	s.best = result
	return true
}

func (s *shortener) classes() {
	for _, class := range append([]string{"all"}, faultClasses()...) {
		options := s.best.Options
		options.Without = append(slices.Clone(options.Without), class)
		if s.try(options) && class == "all" {
			return
		}
	}
}

// operations halves the number of things that are asked.
func (s *shortener) operations() {
	for asked := int(s.best.Counters["operations asked"]) / 2; asked > 0; asked /= 2 {
		options := s.best.Options
		options.Operations = asked
		if !s.try(options) {
			return
		}
	}
}

// faults drops what came after the last fault that matters, then halves of what is left, then single ones.
func (s *shortener) faults() {
	for size := len(s.best.Faults); size > 0; size /= 2 {
		for at := 0; at < len(s.best.Faults); {
			options := s.best.Options
			options.Drop = slices.Clone(options.Drop)
			for _, f := range s.best.Faults[at:min(at+size, len(s.best.Faults))] {
				options.Drop = append(options.Drop, f.Number)
			}
			if !s.try(options) {
				at += size
			}
		}
	}
}
