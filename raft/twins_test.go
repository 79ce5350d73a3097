package raft

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Data structures against naive twins.

// twinLog is a log as one would write it without thinking of memory: all entries, and what is known of each.
type twinLog struct {
	before Position
	terms  []Term // of (before, last]
}

func (l *twinLog) last() Index { return l.before.Index + Index(len(l.terms)) }

func (l *twinLog) term(index Index) (Term, bool) {
	switch {
	case index < l.before.Index || index > l.last():
		return 0, false
	case index == l.before.Index:
		return l.before.Term, true
	}
	return l.terms[index-l.before.Index-1], true
}

func (l *twinLog) discard(upTo Index) {
	term, _ := l.term(upTo)
	l.terms = l.terms[upTo-l.before.Index:]
	l.before = Position{upTo, term}
}

func (l *twinLog) lastNotAbove(upTo Index, term Term) Position {
	for i := min(upTo, l.last()); i > l.before.Index; i-- {
		if at, _ := l.term(i); at <= term {
			return Position{i, at}
		}
	}
	return l.before
}

func TestLogAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := Position{Index(rapid.IntRange(0, 3).Draw(t, "before")), 1}
		if before.Index == 0 {
			before.Term = 0
		}
		l, twin := newLog(before, nil, before.Index), twinLog{before: before}
		term := Term(1)
		// What was handed out is never changed afterwards.
		type loan struct {
			entries []Entry
			was     []Position
		}
		var loans []loan
		var unwritten, stable = before.Index + 1, before.Index
		cached := before.Index // the last index that may have been evicted

		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var entries []Entry
				own := rapid.Bool().Draw(t, "own")
				bytes := 0
				for range rapid.IntRange(1, 20).Draw(t, "count") {
					if !own || len(entries) == 0 {
						term += Term(rapid.IntRange(0, 8).Draw(t, "step") / 7)
					}
					e := entryAt(twin.last()+1, term)
					entries, bytes = append(entries, e), bytes+len(e)
					twin.terms = append(twin.terms, term)
				}
				if own {
					l.appendOwn(entries, term, bytes)
				} else {
					l.append(entries)
				}
			},
			"truncate": func(t *rapid.T) {
				if twin.last() == twin.before.Index {
					return
				}
				at := Index(rapid.Uint64Range(uint64(twin.before.Index+1), uint64(twin.last())).Draw(t, "at"))
				twin.terms = twin.terms[:at-twin.before.Index-1]
				unwritten, stable = min(unwritten, at), min(stable, at-1)
				l.truncate(at)
				term++
			},
			"write": func(t *rapid.T) {
				entries := l.takeUnwritten()
				if len(entries) != int(twin.last()+1-unwritten) {
					t.Fatalf("%d entries to write, want [%d, %d]", len(entries), unwritten, twin.last())
				}
				loans = append(loans, loan{entries, positions(entries)})
				unwritten = twin.last() + 1
			},
			"stable": func(t *rapid.T) {
				if unwritten-1 > stable {
					stable = Index(rapid.Uint64Range(uint64(stable), uint64(unwritten-1)).Draw(t, "stable"))
					l.setStable(stable)
				}
			},
			"discard": func(t *rapid.T) {
				if stable > twin.before.Index {
					upTo := Index(rapid.Uint64Range(uint64(twin.before.Index+1), uint64(stable)).Draw(t, "upTo"))
					twin.discard(upTo)
					l.discard(upTo)
					cached = max(cached, upTo)
				}
			},
			"evict": func(t *rapid.T) {
				limit := rapid.IntRange(0, 5000).Draw(t, "limit")
				l.cache.evict(stable, limit)
				cached = max(cached, stable)
				if l.cache.bytes > limit && l.cache.first <= stable {
					t.Fatalf("%d bytes are left of [%d, ..], the limit is %d, stable %d", l.cache.bytes, l.cache.first, limit, stable)
				}
			},
			"lend": func(t *rapid.T) {
				if len(l.cache.entries) == 0 {
					return
				}
				low := Index(rapid.Uint64Range(uint64(l.cache.first), uint64(l.cache.next()-1)).Draw(t, "low"))
				limit := rapid.IntRange(0, 1000).Draw(t, "limit")
				high, bytes := l.cache.fit(low, l.cache.next(), limit)
				entries := l.cache.slice(low, high)
				size := 0
				for _, e := range entries {
					size += len(e)
				}
				if len(entries) == 0 || size != bytes || len(entries) > 1 && size > limit || cap(entries) != len(entries) {
					t.Fatalf("%d entries of %d bytes (said: %d) for a limit of %d", len(entries), size, bytes, limit)
				}
				loans = append(loans, loan{entries, positions(entries)})
			},
			"": func(t *rapid.T) {
				if l.last != twin.last() || l.stable != stable || l.writeFrom != unwritten {
					t.Fatalf("last %d stable %d unwritten %d, want %d %d %d", l.last, l.stable, l.writeFrom, twin.last(), stable, unwritten)
				}
				for i := Index(0); i <= twin.last()+2; i++ {
					got, ok := l.term(i)
					if want, wantOK := twin.term(i); got != want || ok != wantOK {
						t.Fatalf("term(%d) = %d %v, want %d %v", i, got, ok, want, wantOK)
					}
				}
				upTo, above := Index(rapid.IntRange(0, 60).Draw(t, "upTo")), Term(rapid.IntRange(0, 12).Draw(t, "term"))
				if l.before != twin.before || len(l.runs) > 0 != (l.last > l.before.Index) {
					t.Fatalf("it begins after %v with terms %v, want %v", l.before, l.runs, twin.before)
				}
				if upTo >= twin.before.Index {
					if got, want := l.lastNotAbove(upTo, above), twin.lastNotAbove(upTo, above); got != want {
						t.Fatalf("lastNotAbove(%d, %d) = %v, want %v", upTo, above, got, want)
					}
				}
				if l.cache.first > cached+1 && l.cache.first > stable+1 {
					t.Fatalf("the cache begins at %d, stable is %d", l.cache.first, stable)
				}
				for i, e := range l.cache.entries {
					if want, _ := twin.term(l.cache.first + Index(i)); e.Position() != (Position{l.cache.first + Index(i), want}) {
						t.Fatalf("cache has %v at %d", e.Position(), l.cache.first+Index(i))
					}
				}
				if l.cache.size(0, noEntries) != l.cache.bytes || l.cache.size(stable+1, noEntries) != l.unstable {
					t.Fatalf("bytes %d, unstable %d", l.cache.bytes, l.unstable)
				}
				for _, loan := range loans {
					if !slices.Equal(positions(loan.entries), loan.was) {
						t.Fatalf("%v was changed to %v after it was handed out", loan.was, positions(loan.entries))
					}
				}
			},
		})
	})
}

func positions(entries []Entry) (all []Position) {
	for _, e := range entries {
		all = append(all, e.Position())
	}
	return all
}

func TestMajorityAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(0, 9), 1, 9).Draw(t, "values")
		// Naive: the largest value that more than half of them have reached.
		want := uint64(0)
		for candidate := range uint64(10) {
			reached := 0
			for _, v := range values {
				if v >= candidate {
					reached++
				}
			}
			if 2*reached > len(values) {
				want = candidate
			}
		}
		if got := reachedByMajority(slices.Clone(values)); got != want {
			t.Fatalf("%v: %d, want %d", values, got, want)
		}
	})
}

func TestBallotsAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ballots := rapid.SliceOfN(rapid.SampledFrom([]ballot{unanswered, granted, refused}), 1, 9).Draw(t, "ballots")
		// Naive: won if it is won whatever the others say, lost likewise.
		tally := func(unansweredCounts bool) bool {
			grants := 0
			for _, b := range ballots {
				if b == granted || b == unanswered && unansweredCounts {
					grants++
				}
			}
			return 2*grants > len(ballots)
		}
		want := undecided
		if tally(false) {
			want = won
		} else if !tally(true) {
			want = lost
		}
		if got := count(ballots); got != want {
			t.Fatalf("%v: %v, want %v", ballots, got, want)
		}
	})
}

func TestInflightAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{InflightMessages: rapid.IntRange(1, 30).Draw(t, "messages"), InflightBytes: rapid.IntRange(1, 1000).Draw(t, "bytes")}
		var f inflight
		var twin []sent
		last := Index(0)
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if f.full(&limits) {
					return
				}
				last += Index(rapid.IntRange(1, 5).Draw(t, "entries"))
				bytes := rapid.IntRange(1, 300).Draw(t, "size")
				f.add(last, bytes)
				twin = append(twin, sent{last, bytes})
			},
			"acknowledge": func(t *rapid.T) {
				match := Index(rapid.Uint64Range(0, uint64(last)+2).Draw(t, "match"))
				f.acknowledge(match)
				for len(twin) > 0 && twin[0].last <= match {
					twin = twin[1:]
				}
			},
			"reset": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "sure") == 0 {
					f.reset()
					twin = nil
				}
			},
			"": func(t *rapid.T) {
				bytes := 0
				for _, s := range twin {
					bytes += s.bytes
				}
				full := len(twin) >= limits.InflightMessages || bytes >= limits.InflightBytes
				if f.count != len(twin) || f.bytes != bytes || f.empty() != (len(twin) == 0) || f.full(&limits) != full {
					t.Fatalf("%+v, want %v", f, twin)
				}
			},
		})
	})
}
