package wal

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

func mendOptions() Options {
	o := powerOptions()
	o.Mend = true
	return o
}

// healed is how a damaged log came to be whole again.
type healed struct {
	entries int  // that had to be fetched
	doubt   bool // it was put aside
}

// heal opens a damaged log, gives it what it misses from what the peers hold, and checks that nothing differs then, nor at the next start.
// Its progress, which the others remember (E21), never shrinks by that.
func heal(t *testing.T, place string, disk *vfs.Mem, peers model, progress uint64) (h healed) {
	t.Helper()
	l, r, err := Open(disk, "wal", mendOptions())
	if err != nil {
		t.Fatalf("%s: %v", place, err)
	}
	if now := l.Progress(); now < progress {
		t.Fatalf("%s: progress %x, and it was %x", place, now, progress)
	}
	for _, g := range r.Groups {
		if g.Doubt {
			checkDoubt(t, r.Groups, peers)
			return healed{doubt: true}
		}
		for _, run := range g.Damaged {
			if _, err := l.Read(g.Group, run.First, run.First+1, 1); !errors.As(err, new(*CorruptionError)) {
				t.Fatalf("reading a lost entry: %v", err)
			}
			want := peers[g.Group]
			list := want.entries[run.First-want.before.Index-1 : run.Last-want.before.Index]
			if list[0].Term() != run.Term || list[len(list)-1].Term() != run.Term {
				t.Fatalf("%v is said to be lost, it is of term %d", run, list[0].Term())
			}
			if n, err := l.Mend(ofAnotherTerm(list)); n != 0 || err != nil {
				t.Fatalf("%s: %d entries of another term were taken, %v", place, n, err)
			}
			n, err := l.Mend(list)
			if err != nil || n < len(list) {
				t.Fatalf("%v: mended %d, %v", run, n, err)
			}
			h.entries += len(list)
		}
		if left := l.Damaged(g.Group); len(left) > 0 {
			t.Fatalf("still damaged: %v", left)
		}
	}
	check := func(l *Log, groups []GroupState) {
		t.Helper()
		for i := range groups { // a commit index is a lower bound, and what a lost header said of it is not missed
			want := peers[groups[i].Group]
			if groups[i].Commit > want.commit {
				t.Fatalf("commit index %d, want at most %d", groups[i].Commit, want.commit)
			}
			groups[i].Commit, groups[i].Damaged = want.commit, nil
			if g := &groups[i]; g.Before.Index < want.before.Index { // so is a floor, as long as what is above it is there
				g.Before, g.Runs[0].First = want.before, want.before.Index+1
			}
		}
		if d := peers.differs(l, groups); d != "" {
			t.Fatalf("%s: %s", place, d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check(l, r.Groups)
	l, r, err = Open(disk, "wal", mendOptions()) // what is damaged and was replaced, or given up, stays so
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range r.Groups {
		if g.Damaged != nil || g.Doubt {
			t.Fatalf("at the next start: %+v", g)
		}
	}
	check(l, r.Groups)
	return h
}

// ofAnotherTerm makes entries that differ from others in nothing but their term.
func ofAnotherTerm(list []raft.Entry) (others []raft.Entry) {
	for _, e := range list {
		others = append(others, entry(e.Group(), e.Index(), e.Term()+1, string(e.Payload())))
	}
	return others
}

// checkDoubt: what could not be named is not there, and terms and votes are.
func checkDoubt(t *testing.T, groups []GroupState, want model) {
	t.Helper()
	if len(groups) != len(want) {
		t.Fatalf("%d groups, want %d", len(groups), len(want))
	}
	for _, g := range groups {
		if g.HardState != want[g.Group].hard || !g.Doubt || g.Last != 0 {
			t.Fatalf("got %+v, want hard state %+v, in doubt, and empty", g, want[g.Group].hard)
		}
	}
}

// TestE44FlipsAreMended: whatever byte of a log rots, the log opens, what is lost is named or known to be doubtful, and once it is fetched
// the log is what it was, at this start and at the next.
func TestE44FlipsAreMended(t *testing.T) {
	for least, steps := range map[int][]step{10000: scriptedHistory(), 4000: cutHistory()} {
		proved := provedHistory(t, steps)
		whole, want, progress := proved.disk.PowerCut(nil), proved.states[proved.acked], proved.log.Progress()
		outcomes := map[string]int{}
		const step = 37
		for name, bytes := range image(t, whole) {
			if name == lockName {
				continue
			}
			for off := int64(0); off < int64(len(bytes)); off += step {
				disk := whole.Clone()
				disk.Flip("wal/"+name, off, 1<<(off%8))
				h := heal(t, fmt.Sprintf("%s byte %d", name, off), disk, want, progress)
				switch {
				case h.doubt:
					outcomes["put aside"]++
				case h.entries > 0:
					outcomes["fetched"]++
				default:
					outcomes["nothing to fetch"]++
				}
			}
		}
		t.Log(outcomes)
		if outcomes["fetched"] < least/2/step {
			t.Errorf("%v", outcomes)
		}
	}
}

// TestMendOfWhatWasCutMeanwhile: the log is cut behind what was lost, its segments go, and then the lost entries come after all.
func TestMendOfWhatWasCutMeanwhile(t *testing.T) {
	whole, peers := provedLog(t, scriptedHistory())
	cut := 0
	for off := int64(headFixed); off < 4000; off += 97 {
		disk := whole.Clone()
		disk.Flip(segmentPath(1), off, 1)
		l, r, err := Open(disk, "wal", mendOptions())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Groups, func(g GroupState) bool { return len(g.Damaged) > 0 }) {
			mustClose(t, l)
			continue
		}
		first := l.segments[0].number
		for _, g := range r.Groups {
			if list := peers[g.Group].entries; len(list) > 0 {
				mustDiscard(t, l, g.Group, list[len(list)-1].Position())
			}
		}
		for i := range raft.Index(3) {
			mustAppend(t, l, write(9, 1, 0, 0, entries(9, i+1, i+1, 1)...)) // the floors go with it
			prove(t, l)
			mustPrepare(t, l)
		}
		if l.segments[0].number == first {
			t.Fatal("no segment is gone")
		}
		for _, g := range r.Groups {
			if len(g.Damaged) == 0 {
				continue
			}
			cut++
			if n, err := l.Mend(peers[g.Group].entries); n > 0 || err != nil {
				t.Errorf("a flip at %d: mended %d, %v", off, n, err)
			}
			if left := l.Damaged(g.Group); len(left) > 0 {
				t.Errorf("a flip at %d: %v are still missed", off, left)
			}
		}
		if err := l.Examine(first); err != nil {
			t.Errorf("a flip at %d: %v", off, err)
		}
		mustClose(t, l)
	}
	if cut == 0 {
		t.Error("nothing was damaged")
	}
}

// TestE44AnotherTermsEntryFillsNoGap: where a header is lost, an entry's index alone does not say that it is the one that was there.
func TestE44AnotherTermsEntryFillsNoGap(t *testing.T) {
	lost := entry(1, 5, 1, "lost")
	v, err := named(Position{1, 4096}, 7, []run{{group: 1, term: 1, first: 5, count: 2, bytes: uint64(2 * len(lost))}}, make([]byte, 512))
	if err != nil || v.left != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if v.offer(entry(1, 5, 2, "lost")); v.left != 2 {
		t.Fatal("an entry of another term was taken")
	}
	if v.offer(lost); v.left != 1 {
		t.Fatal("the entry that was lost was not taken")
	}
}
