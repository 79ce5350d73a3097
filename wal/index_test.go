package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
	"pgregory.net/rapid"
)

// The index against a naive twin: groups whose entries are appended, replaced from anywhere, and restarted, in batches of any
// mixture, with syncs, marks, rolls and restarts of the process in between.
func TestIndexAgainstNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, err := openHistory(vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			if err := h.step(drawStep(t, h.states[len(h.states)-1])); err != nil {
				t.Fatal(err)
			}
			checkReads(t, h)
		}
		disk := h.disk.Kill()
		l, r, err := Open(disk, "wal", powerOptions())
		if err != nil {
			t.Fatal(err)
		}
		if d := h.states[len(h.states)-1].differs(l, r.Groups); d != "" {
			t.Fatal(d)
		}
	})
}

func drawStep(t *rapid.T, m model) step {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return step{sync: true}
	case 1:
		return step{idle: true}
	case 2:
		return step{prepare: true}
	case 3:
		return step{reopen: true}
	}
	s, now := step{}, m.clone()
	for id := raft.GroupID(1); id <= 3; id++ {
		if n := len(now[id].entries); n > 0 && rapid.IntRange(0, 4).Draw(t, "discard") == 0 {
			upTo := now[id].before.Index + raft.Index(rapid.IntRange(1, n).Draw(t, "up to"))
			now.discard(id, upTo)
			s.discard = append(s.discard, floor{id, upTo})
		}
	}
	for range rapid.IntRange(1, 4).Draw(t, "writes") {
		w := drawWrite(t, now)
		now.apply(w)
		s.append = append(s.append, w)
	}
	return s
}

func drawWrite(t *rapid.T, m model) GroupWrite {
	id := raft.GroupID(rapid.IntRange(1, 3).Draw(t, "group"))
	g := m[id]
	last := m.last(id)
	hard := g.hard
	if rapid.IntRange(0, 3).Draw(t, "new term") == 0 {
		hard = raft.HardState{Term: g.hard.Term + 1, Vote: raft.MemberID(rapid.IntRange(0, 3).Draw(t, "vote"))}
	}
	w := &raft.Write{HardState: hard, Commit: raft.Index(rapid.IntRange(0, int(last)).Draw(t, "commit"))}
	first, term := last+1, hard.Term
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0:
		w.Restart = raft.Position{Index: last + raft.Index(rapid.IntRange(1, 9).Draw(t, "gap")), Term: term}
		first = w.Restart.Index + 1
	case 1, 2:
		if n := len(g.entries); n > 0 {
			first -= raft.Index(rapid.IntRange(0, n).Draw(t, "replaced"))
		}
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "entries") {
		size := rapid.SampledFrom([]int{0, 3, 100, 700}).Draw(t, "size")
		w.Entries = append(w.Entries, entry(id, first+raft.Index(i), term, strings.Repeat("p", size)+fmt.Sprint(i)))
	}
	return GroupWrite{Group: id, Write: w}
}

// checkReads reads a range of each group, and what is not there.
func checkReads(t *rapid.T, h *history) {
	now := h.states[len(h.states)-1]
	for id := raft.GroupID(1); id <= 3; id++ {
		g, last := now[id], now.last(id)
		if first := g.before.Index; first > 0 {
			if _, err := h.log.Read(id, first, first+1, 100); !errors.Is(err, ErrCompacted) {
				t.Fatalf("read at the floor: %v", err)
			}
		}
		if _, err := h.log.Read(id, last+1, last+2, 100); !errors.Is(err, ErrNotInLog) {
			t.Fatalf("read beyond the end: %v", err)
		}
		if len(g.entries) == 0 {
			continue
		}
		low := rapid.IntRange(0, len(g.entries)-1).Draw(t, "low")
		high := rapid.IntRange(low+1, len(g.entries)).Draw(t, "high")
		limit := rapid.SampledFrom([]int{0, 200, 5000, 1 << 20}).Draw(t, "limit")
		got, err := h.log.Read(id, g.before.Index+1+raft.Index(low), g.before.Index+1+raft.Index(high), limit)
		if err != nil {
			t.Fatal(err)
		}
		want := g.entries[low:high]
		bytes := 0
		for i, e := range got {
			if bytes += len(e); string(e) != string(want[i]) {
				t.Fatalf("group %d entry %d: %v, want %v", id, i, e.Position(), want[i].Position())
			}
		}
		if len(got) == 0 || len(got) > 1 && bytes > limit {
			t.Fatalf("%d entries of %d bytes, the limit is %d", len(got), bytes, limit)
		}
	}
}

// Random histories, the power cut at a random operation, again and again on the same disk.
func TestRandomPowerCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, err := openHistory(vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "lives") {
			reached := cutAt(h.disk, rapid.Uint64Range(1, 60).Draw(t, "cut"))
			for range 40 {
				if err = h.step(drawStep(t, h.states[len(h.states)-1])); err != nil {
					break
				}
			}
			if err != nil && !reached() {
				t.Fatal(err)
			}
			disk := cutWith(h.disk, rapid.Uint64().Draw(t, "seed"))
			l, found, err := h.check(disk)
			if err != nil {
				t.Fatal(err)
			}
			h = &history{disk: disk, log: l, states: []model{h.states[found]}}
		}
	})
}

// Readers run beside the writer, and beside segments that are prepared and rolled.
func TestReadBesideAppend(t *testing.T) {
	l, _ := mustOpen(t, vfs.NewOS(t.TempDir()))
	want := entries(1, 1, 2000, 1)
	var written atomic.Uint64
	var group sync.WaitGroup
	for reader := range 3 {
		group.Go(func() {
			for at := raft.Index(1); at < 2000; {
				last := raft.Index(written.Load())
				if last <= at {
					continue
				}
				got, err := l.Read(1, at, last+1, 1000+5000*reader)
				if err != nil {
					t.Error(err)
					return
				}
				for i, e := range got {
					if string(e) != string(want[int(at)+i-1]) {
						t.Errorf("entry %d: %v", int(at)+i, e.Position())
						return
					}
				}
				at += raft.Index(len(got))
				_ = l.Stats()
			}
		})
	}
	group.Go(func() {
		for written.Load() < 2000 {
			if l.NeedsPrepare() {
				if err := l.Prepare(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := 0; i < 2000; i += 20 {
		mustAppend(t, l, write(1, 1, 7, 0, want[i:i+20]...))
		if i%200 == 0 {
			mustSync(t, l)
		}
		written.Store(uint64(i + 20))
	}
	group.Wait()
	mustClose(t, l)
	if _, err := l.Read(1, 1, 2, 10); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if err := l.Append(nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if err := l.Prepare(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	mustClose(t, l)
}

// A frame that rots while the log is open is named by the read that meets it.
func TestReadNamesWhatRotted(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, write(1, 2, 7, 0, entries(1, 1, 20, 2)...))
	mustSync(t, l)
	for _, e := range dump(t, disk).entries {
		if e.Index == 7 {
			disk.Flip(firstSegment, e.At.Offset+int64(e.Size)-1, 1)
		}
	}
	got, err := l.Read(1, 1, 7, 1<<20)
	if err != nil || len(got) != 6 {
		t.Fatal(got, err)
	}
	var corruption *CorruptionError
	if got, err = l.Read(1, 3, 20, 1<<20); err != nil || len(got) != 4 { // what is sound in front of it
		t.Fatal(got, err)
	}
	if _, err := l.Read(1, 7, 20, 1<<20); !errors.As(err, &corruption) || !slices.Equal(corruption.Lost, []LostRun{{Group: 1, First: 7, Last: 7, Term: 2}}) {
		t.Fatal(err)
	}
}

// Large writes: entries that fill several batches, and one that is larger than a segment.
func TestLargeWrites(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, disk)
	want := model{}
	var list []raft.Entry
	for i := raft.Index(1); i <= 9; i++ {
		list = append(list, entry(1, i, 1, strings.Repeat("x", 3<<20+int(i))))
	}
	w := write(1, 1, 7, 9, list...)
	want.apply(w)
	mustAppend(t, l, w)
	mustSync(t, l)
	if b := l.Stats().Batches; b != 2 {
		t.Fatalf("%d batches", b)
	}
	mustAppend(t, l, write(2, 1, 7, 0, entries(2, 1, 3, 1)...))
	want.apply(write(2, 1, 7, 0, entries(2, 1, 3, 1)...))
	mustClose(t, l)
	l, r := mustOpen(t, disk)
	if d := want.differs(l, r.Groups); d != "" {
		t.Fatal(d)
	}
}
