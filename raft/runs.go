package raft

import "sort"

// termRuns knows the term of every entry of a log in a few words: entries of one term lie together, and terms
// only grow, so the first index of each term says it all. The entries themselves may be anywhere.
type termRuns []TermRun

// term returns the term at index, which must be at or above the first run's First.
func (runs termRuns) term(index Index) Term {
	if last := runs[len(runs)-1]; index >= last.First {
		return last.Term
	}
	return runs[runs.find(index)].Term
}

// find returns the run that index lies in, -1 where it is below the first.
func (runs termRuns) find(index Index) int {
	return sort.Search(len(runs), func(i int) bool { return runs[i].First > index }) - 1
}

// append notes that the entry at index has the term. Indexes come in order, terms never go back.
func (runs termRuns) append(index Index, term Term) termRuns {
	if n := len(runs); n > 0 && runs[n-1].Term == term {
		return runs
	}
	return append(runs, TermRun{Term: term, First: index})
}

// truncate forgets index and all above it.
func (runs termRuns) truncate(index Index) termRuns {
	for n := len(runs); n > 0 && runs[n-1].First >= index; n-- {
		runs = runs[:n-1]
	}
	return runs
}

// lastNotAbove returns the largest index at or below upTo whose term is at most term, with its term; ok is
// false where there is none among the runs.
func (runs termRuns) lastNotAbove(upTo Index, term Term) (Position, bool) {
	for i := runs.find(upTo); i >= 0; i-- {
		if runs[i].Term <= term {
			return Position{Index: upTo, Term: runs[i].Term}, true
		}
		upTo = runs[i].First - 1
	}
	return Position{}, false
}

// discard forgets all at or below upTo, in a list of terms that ends at last.
func (runs termRuns) discard(upTo, last Index) termRuns {
	if upTo >= last {
		return runs[:0]
	}
	runs = runs[:copy(runs, runs[max(runs.find(upTo+1), 0):])]
	runs[0].First = max(runs[0].First, upTo+1)
	return runs
}
