package raft

// log is what the protocol remembers of a member's log: the term of every entry, and the entries of the tail
// themselves. What is not in the tail is durable, and is asked for with a Fetch.
//
//	before          first            stable         writeFrom         last
//	  |---- on disk ---|---- cached ----|---- being ----|---- to be -----|
//	                                        written          written
//
// An index is stable once the *latest* write that touched it has completed. durability.go keeps that rule.
type log struct {
	before    Position // the entry before the first one; nothing is known below it
	runs      termRuns // terms of (before, last]
	last      Index
	stable    Index // entries up to here are durable as they are now
	writeFrom Index // the first entry not handed out in a Write; last+1 where there is none
	cache     cache
	unstable  int // bytes of entries above stable
}

func newLog(before Position, runs []TermRun, last Index) log {
	return log{
		before:    before,
		runs:      append(termRuns(nil), runs...),
		last:      last,
		stable:    last,
		writeFrom: last + 1,
		cache:     cache{first: last + 1},
	}
}

// term returns the term at index; ok is false where the log does not know it (below before, or above last).
func (l *log) term(index Index) (term Term, ok bool) {
	switch {
	case index > l.last || index < l.before.Index:
		return 0, false
	case index == l.before.Index:
		return l.before.Term, true
	}
	return l.runs.term(index), true
}

// end returns the position of the last entry.
func (l *log) end() Position {
	term, _ := l.term(l.last)
	return Position{l.last, term}
}

// holds reports whether the log has an entry at this very position. What lies below before is committed, and so
// is the same in every log that matters.
func (l *log) holds(at Position) bool {
	term, ok := l.term(at.Index)
	return ok && term == at.Term
}

// lastNotAbove returns the last position at or below upTo whose term is at most term. It is before
// where no entry of the log is: that one is committed, so the search for a common point ends there.
func (l *log) lastNotAbove(upTo Index, term Term) Position {
	upTo = min(upTo, l.last)
	if upTo > l.before.Index {
		if at, ok := l.runs.lastNotAbove(upTo, term); ok {
			return at
		}
	}
	return l.before
}

// append adds entries that follow the last one. The slice is copied, the frames are not.
func (l *log) append(entries []Entry) {
	for _, e := range entries {
		l.last++
		l.runs = l.runs.append(l.last, e.Term())
		l.unstable += len(e)
	}
	l.cache.append(entries)
}

// appendOwn is append for a leader's new entries, which are all of one term: it reads none of them.
func (l *log) appendOwn(entries []Entry, term Term, bytes int) {
	l.runs = l.runs.append(l.last+1, term)
	l.last += Index(len(entries))
	l.unstable += bytes
	l.cache.append(entries)
}

// truncate forgets index and all entries above it, which conflict with the leader's. What comes in their
// place is to be written, and is not stable before that is done.
func (l *log) truncate(index Index) {
	if index > l.last {
		return
	}
	if l.stable+1 < index {
		l.unstable -= l.cache.size(index, l.last+1)
	} else {
		l.unstable = 0
	}
	l.runs = l.runs.truncate(index)
	l.cache.truncate(index)
	l.last = index - 1
	l.stable = min(l.stable, index-1)
	l.writeFrom = min(l.writeFrom, index)
}

// discard forgets all at or below upTo, which is stable.
func (l *log) discard(upTo Index) {
	term, _ := l.term(upTo)
	l.runs = l.runs.discard(upTo, l.last)
	l.before = Position{upTo, term}
	l.cache.evict(upTo, 0)
}

// setStable raises stable.
func (l *log) setStable(index Index) {
	if index > l.stable {
		l.unstable -= l.cache.size(l.stable+1, index+1)
		l.stable = index
	}
}

// takeUnwritten returns the entries that no Write has held yet.
func (l *log) takeUnwritten() []Entry {
	if l.writeFrom > l.last {
		return nil
	}
	entries := l.cache.slice(l.writeFrom, l.last+1)
	l.writeFrom = l.last + 1
	return entries
}
