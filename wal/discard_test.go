package wal

import (
	"errors"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// cuttingHistory gives up entries in all ways: of one group while another one pins segments, of several at once, up to the last entry, in front of entries
// that replace what is in a segment that goes, by a restart, and removes one and several segments at a time.
func cuttingHistory() []step {
	sync, idle, prepare := step{sync: true}, step{idle: true}, step{prepare: true}
	return []step{
		{append: []GroupWrite{write(1, 1, 7, 0, entries(1, 1, 20, 1)...), write(2, 1, 7, 0, entries(2, 1, 3, 1)...)}}, sync,
		{append: []GroupWrite{write(1, 1, 7, 20, entries(1, 21, 40, 1)...)}}, sync, prepare,
		{append: []GroupWrite{write(1, 1, 7, 40, entries(1, 41, 60, 1)...)}}, sync,
		{discard: []floor{{1, 30}}, append: []GroupWrite{write(1, 1, 7, 60, entries(1, 61, 65, 1)...)}}, sync, idle, sync, prepare, // group 2 pins all
		{discard: []floor{{2, 3}, {1, 45}}, append: nil}, sync, idle, sync, prepare, // two at once
		{append: []GroupWrite{write(1, 1, 7, 61, entries(1, 66, 85, 1)...), write(2, 2, 8, 3, entries(2, 4, 9, 2)...)}}, sync,
		{append: []GroupWrite{write(1, 3, 7, 61, entries(1, 63, 80, 3)...)}}, sync, prepare, // replaces what is in the segments before
		{append: []GroupWrite{write(1, 3, 7, 70, entries(1, 81, 100, 3)...)}}, sync, {reopen: true},
		{discard: []floor{{1, 62}, {2, 9}}, append: []GroupWrite{write(1, 3, 7, 80, entries(1, 101, 103, 3)...)}}, sync, idle, sync, prepare,
		{append: []GroupWrite{{Group: 2, Write: &raft.Write{Restart: raft.Position{Index: 40, Term: 3}, HardState: raft.HardState{Term: 3}}}}}, sync,
		{discard: []floor{{1, 103}}, append: []GroupWrite{write(2, 3, 0, 40, entries(2, 41, 60, 3)...)}}, sync,
		{append: []GroupWrite{write(1, 4, 9, 80, entries(1, 104, 120, 4)...)}}, sync, prepare, // the sync before it proved the floor
		{append: []GroupWrite{write(1, 4, 9, 80, entries(1, 121, 140, 4)...)}}, sync, prepare,
		{discard: []floor{{1, 140}, {2, 60}}, append: nil}, sync, idle, sync, prepare, {reopen: true},
		{append: []GroupWrite{write(1, 4, 9, 140, entries(1, 141, 142, 4)...)}}, sync,
	}
}

// segmentFiles are the numbers of a disk's segments.
func segmentFiles(t testing.TB, disk vfs.FS) []uint64 {
	t.Helper()
	numbers, _, err := files{disk, "wal"}.segments()
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

func mustPrepare(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Prepare(); err != nil {
		t.Fatal(err)
	}
}

func mustDiscard(t testing.TB, l *Log, id raft.GroupID, upTo raft.Position) {
	t.Helper()
	if err := l.Discard(id, upTo); err != nil {
		t.Fatal(err)
	}
}

// prove makes everything that was appended durable, and the mark that says so.
func prove(t testing.TB, l *Log) {
	t.Helper()
	mustSync(t, l)
	if err := l.Idle(); err != nil {
		t.Fatal(err)
	}
	mustSync(t, l)
}

// The scripted history really removes segments, again and again, and what is left after it is small.
func TestCuttingHistoryRemovesSegments(t *testing.T) {
	removals := 0
	h, err := openHistory(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range cuttingHistory() {
		before := segmentFiles(t, h.disk)[0]
		if err := h.step(s); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if segmentFiles(t, h.disk)[0] > before {
			removals++
		}
	}
	numbers := segmentFiles(t, h.disk)
	if removals < 4 || len(numbers) > 2 || numbers[0] < 5 {
		t.Fatalf("%d removals, left are %v", removals, numbers)
	}
	if names, _ := h.disk.List("wal"); len(names) > 2+3 {
		t.Fatalf("left are %q", names)
	}
}

// threeSegments is a log whose first two segments are full, with group 1's entries in all of them, one of term 1, and group 2, which is idle.
func threeSegments(t testing.TB) (*vfs.Mem, *Log, raft.Index) {
	t.Helper()
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, write(2, 5, 3, 0, entries(2, 1, 2, 4)...))
	last := raft.Index(0)
	for ; l.Stats().Segments < 3; last += 5 {
		mustAppend(t, l, write(1, 1, 7, last, entries(1, last+1, last+5, 1)...))
		mustSync(t, l)
	}
	mustPrepare(t, l)
	return disk, l, last
}

// Nothing is removed before the floor is recorded, synced, and proved by a mark; then all that is not needed is.
func TestSegmentsGoWhenTheFloorIsProved(t *testing.T) {
	disk, l, last := threeSegments(t)
	stays := func(when string) {
		t.Helper()
		mustPrepare(t, l)
		if got := segmentFiles(t, disk); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
			t.Fatalf("%s: segments %v", when, got)
		}
	}
	mustDiscard(t, l, 1, raft.Position{Index: last, Term: 1})
	mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
	stays("not recorded")
	checkEntries(t, l, 1, entries(1, 1, last, 1))
	mustAppend(t, l)
	stays("not synced")
	if _, err := l.Read(1, last, last+1, 100); !errors.Is(err, ErrCompacted) || errors.Is(err, ErrNotInLog) {
		t.Fatal(err)
	}
	mustSync(t, l)
	mustSync(t, l)
	stays("not proved")
	if err := l.Idle(); err != nil {
		t.Fatal(err)
	}
	stays("the mark is not synced")
	mustSync(t, l)
	if !l.NeedsPrepare() {
		t.Fatal("nobody is told that there are segments to remove")
	}
	mustPrepare(t, l)
	if got := segmentFiles(t, disk); !slices.Equal(got, []uint64{3, 4}) || l.NeedsPrepare() || l.Stats().Removed != 2 || l.Stats().Segments != 1 {
		t.Fatalf("segments %v, %+v", got, l.Stats())
	}
	if names, _ := disk.List("wal"); slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, directorySuffix) }) {
		t.Fatalf("directories of removed segments: %q", names)
	}
	more := entries(1, last+1, last+3, 1)
	mustAppend(t, l, write(1, 1, 7, 0, more...))
	mustSync(t, l)

	// A start knows the terms and votes of both from the head of what is now the first segment.
	l, r := opens(t, disk.PowerCut(nil), "clean end")
	checkEntries(t, l, 1, more)
	one, two := r.Groups[0], r.Groups[1]
	if one.Before != (raft.Position{Index: last, Term: 1}) || one.HardState != (raft.HardState{Term: 1, Vote: 7}) ||
		!slices.Equal(one.Runs, []raft.TermRun{{Term: 1, First: last + 1}}) || one.Last != last+3 {
		t.Fatalf("%+v", one)
	}
	if two.Before != (raft.Position{Index: 2, Term: 4}) || two.HardState != (raft.HardState{Term: 5, Vote: 3}) || len(two.Runs) != 0 || two.Last != 2 {
		t.Fatalf("%+v", two)
	}
}

// One group's entry above its floor keeps its segment and those behind it, however far the others are.
func TestTheOldestEntryPins(t *testing.T) {
	disk, l, last := threeSegments(t)
	mustDiscard(t, l, 1, raft.Position{Index: last, Term: 1})
	mustDiscard(t, l, 2, raft.Position{Index: 1, Term: 4})
	mustAppend(t, l)
	prove(t, l)
	mustPrepare(t, l)
	if got := segmentFiles(t, disk); got[0] != 1 {
		t.Fatalf("the segment of group 2's entry is gone: %v", got)
	}
	checkEntries(t, l, 2, entries(2, 2, 2, 4))
	mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
	mustAppend(t, l)
	prove(t, l)
	mustPrepare(t, l)
	if got := segmentFiles(t, disk); got[0] != 3 {
		t.Fatalf("idle groups pin segments: %v", got)
	}
}

// What the log does not hold is not given up, and the log is as it was.
func TestDiscardOfWhatIsNotThere(t *testing.T) {
	disk, l, last := threeSegments(t)
	for _, wrong := range []struct {
		id   raft.GroupID
		upTo raft.Position
	}{{1, raft.Position{Index: last + 1, Term: 1}}, {1, raft.Position{Index: 3, Term: 2}}, {9, raft.Position{Index: 1, Term: 1}}} {
		if err := l.Discard(wrong.id, wrong.upTo); !errors.Is(err, ErrNotInLog) || errors.Is(err, ErrFailed) {
			t.Fatalf("%+v: %v", wrong, err)
		}
	}
	tail := l.tail
	mustAppend(t, l)
	if l.tail != tail {
		t.Fatal("something was recorded")
	}
	// Below the floor, or twice, it is nothing.
	mustDiscard(t, l, 1, raft.Position{Index: 8, Term: 1})
	mustDiscard(t, l, 1, raft.Position{Index: 5, Term: 1})
	mustAppend(t, l)
	tail = l.tail
	mustDiscard(t, l, 1, raft.Position{Index: 8, Term: 1})
	mustDiscard(t, l, 1, raft.Position{Index: 7, Term: 99})
	mustAppend(t, l)
	if l.tail != tail {
		t.Fatal("something was recorded")
	}
	checkEntries(t, l, 1, entries(1, 9, last, 1))
	if _, r := opens(t, disk.Kill(), "clean end"); r.Groups[0].Before.Index != 8 {
		t.Fatalf("%+v", r.Groups)
	}
}

// An entry that was given up cannot be replaced, recorded or not: that would be written and then not be readable.
func TestNothingReplacesWhatWasGivenUp(t *testing.T) {
	for _, recorded := range []bool{false, true} {
		disk, l, last := threeSegments(t)
		mustDiscard(t, l, 1, raft.Position{Index: 8, Term: 1})
		if recorded {
			mustAppend(t, l)
		}
		if err := l.Append([]GroupWrite{write(1, 2, 7, 0, entries(1, 8, 9, 2)...)}); !errors.Is(err, ErrInvalidWrite) {
			t.Fatalf("recorded %v: %v", recorded, err)
		}
		if _, r := opens(t, disk.Kill(), "clean end"); r.Groups[0].Last != last {
			t.Fatalf("%+v", r.Groups)
		}
	}
}

// A restart of the group overtakes a floor that waits; later floors count again.
func TestRestartOvertakesAWaitingFloor(t *testing.T) {
	disk, l, _ := threeSegments(t)
	mustDiscard(t, l, 1, raft.Position{Index: 8, Term: 1})
	restart := raft.Position{Index: 500, Term: 1}
	mustAppend(t, l, GroupWrite{Group: 1, Write: &raft.Write{Restart: restart, Entries: entries(1, 501, 505, 1)}})
	if g := l.groups.byID[1]; g.before != restart || len(l.discarding) != 0 {
		t.Fatalf("after %+v, waiting %d", g.before, len(l.discarding))
	}
	mustDiscard(t, l, 1, raft.Position{Index: 502, Term: 1})
	mustAppend(t, l, write(1, 1, 7, 0, entries(1, 506, 507, 1)...))
	checkEntries(t, l, 1, entries(1, 503, 507, 1))
	l, r := opens(t, disk.Kill(), "clean end")
	if r.Groups[0].Before.Index != 502 {
		t.Fatalf("%+v", r.Groups[0])
	}
	checkEntries(t, l, 1, entries(1, 503, 507, 1))
}

// On a full disk an append that is refused records the floors that wait, in what is kept free for them, so that segments can be
// removed: by Prepare, or by the next append itself.
func TestFullDiskGetsRoomFromFloors(t *testing.T) {
	for _, prepare := range []bool{false, true} {
		disk, l, last := threeSegments(t)
		disk.OnOp(func(op vfs.Op) error {
			if op.Kind == vfs.OpPreallocate && len(segmentFiles(t, disk)) > 4 {
				return vfs.ErrNoSpace
			}
			return nil
		})
		var refused GroupWrite
		for i := last + 1; ; i++ { // until there is no room for a small one either
			refused = write(1, 1, 7, 0, entries(1, i, i, 1)...)
			if err := l.Append([]GroupWrite{refused}); err != nil {
				break
			}
			last = i
		}
		again := func(what string) {
			t.Helper()
			if err := l.Append([]GroupWrite{refused}); !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) {
				t.Fatalf("prepare %v, %s: %v", prepare, what, err)
			}
		}
		again("no floors")
		mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
		again("group 2's floor is recorded, which frees nothing")
		mustDiscard(t, l, 1, raft.Position{Index: last - 30, Term: 1})
		again("group 1's floor is recorded")
		if prepare {
			if !l.NeedsPrepare() {
				t.Fatal("nobody is told that there are segments to remove")
			}
			mustPrepare(t, l)
		}
		mustAppend(t, l, refused)
		mustSync(t, l)
		if got := segmentFiles(t, disk); got[0] == 1 {
			t.Fatalf("segments %v", got)
		}
		disk = disk.PowerCut(nil)
		l, r := opens(t, disk, "clean end")
		if g := r.Groups[0]; g.Before.Index != last-30 || g.Last != last+1 {
			t.Fatalf("%+v", g)
		}
		checkEntries(t, l, 1, entries(1, last-29, last+1, 1))
	}
}

// Readers run beside floors that rise and segments that go: what they get is right, or no longer in the log.
func TestReadBesideDiscard(t *testing.T) {
	l, _, err := Open(vfs.NewOS(t.TempDir()), "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	const all = 1200
	want := entries(1, 1, all, 1)
	var written, floor, gone atomic.Uint64
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for written.Load() < all {
				low := raft.Index(floor.Load()) + 1
				high := raft.Index(written.Load()) + 1
				if low >= high {
					continue
				}
				got, err := l.Read(1, low, high, 3000)
				if errors.Is(err, ErrCompacted) && raft.Index(floor.Load()) >= low {
					gone.Add(1)
					continue
				}
				if err != nil || len(got) == 0 || string(got[0]) != string(want[low-1]) {
					t.Errorf("entries from %d: %d, %v", low, len(got), err)
					return
				}
			}
		})
	}
	group.Go(func() {
		for written.Load() < all {
			if l.NeedsPrepare() {
				if err := l.Prepare(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := raft.Index(0); i < all; i += 20 {
		if i > 40 {
			floor.Store(uint64(i - 40))
			mustDiscard(t, l, 1, want[i-40-1].Position())
		}
		mustAppend(t, l, write(1, 1, 7, i, want[i:i+20]...))
		mustSync(t, l)
		written.Store(uint64(i + 20))
	}
	group.Wait()
	prove(t, l)
	mustPrepare(t, l)
	if s := l.Stats(); s.Removed < 8 || s.Segments > 3 {
		t.Fatalf("%+v", s)
	}
	mustClose(t, l)
}

// Horizon names what can be given up so that whole segments become free and so much of the log stays.
func TestHorizon(t *testing.T) {
	_, l, last := threeSegments(t)
	first := func(segment int) raft.Index { // the first entry of group 1 in a segment
		for _, s := range l.groups.byID[1].spans {
			if int(s.segment) >= segment {
				return s.first
			}
		}
		return last + 1
	}
	tail := l.tail.Offset
	for _, c := range []struct {
		keep int64
		want raft.Index
	}{{0, first(3) - 1}, {tail, first(3) - 1}, {tail + 1, first(2) - 1}, {tail + minSegmentSize, first(2) - 1}, {tail + minSegmentSize + 1, 0}, {1 << 40, 0}} {
		if got := l.Horizon(1, c.keep); got.Index != c.want || got.Index > 0 && got.Term != 1 {
			t.Errorf("keeping %d bytes: %+v, want %d", c.keep, got, c.want)
		}
	}
	if got := l.Horizon(2, tail); got != (raft.Position{Index: 2, Term: 4}) {
		t.Errorf("an idle group: %+v", got)
	}
	if got := l.Horizon(7, 0); got != (raft.Position{}) {
		t.Errorf("no such group: %+v", got)
	}
	mustDiscard(t, l, 1, l.Horizon(1, tail))
	mustAppend(t, l)
	if got := l.Horizon(1, 1<<40); got.Index != first(3)-1 {
		t.Errorf("below the floor: %+v", got)
	}
}

// Whoever looks at a log from outside while segments go sees what is left.
func TestDumpBesideRemoval(t *testing.T) {
	disk, l, last := threeSegments(t)
	mustDiscard(t, l, 1, raft.Position{Index: last, Term: 1})
	mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
	mustAppend(t, l)
	prove(t, l)
	var d dumped
	err := Dump(disk, "wal", Visitor{
		Votes:   func(VotesInfo) error { return l.Prepare() }, // the names were listed before
		Segment: func(i SegmentInfo) error { d.segments = append(d.segments, i); return nil },
		Batch:   func(i BatchInfo) error { d.batches = append(d.batches, i); return nil },
		End:     func(i EndInfo) error { d.end = i; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.segments) != 2 || d.segments[0].Number != 3 || d.end.Row != "clean end" {
		t.Fatalf("%+v", d)
	}
	floors := slices.Collect(func(yield func(raft.Index) bool) {
		for _, b := range d.batches {
			for _, s := range b.States {
				if s.Floor && !yield(s.Before.Index) {
					return
				}
			}
		}
	})
	if !slices.Equal(floors, []raft.Index{last, 2}) || d.end.Groups[0].Before.Index != last || d.end.Groups[1].Before.Index != 2 {
		t.Fatalf("floors %v, %+v", floors, d.end.Groups)
	}
}

// A batch that records a floor says so in a bit that an older release refuses; one without is as it always was.
func TestFloorsAreAnIncompatibleFeature(t *testing.T) {
	disk, l, _ := threeSegments(t)
	mustDiscard(t, l, 1, raft.Position{Index: 8, Term: 1})
	mustAppend(t, l)
	for _, b := range dump(t, disk).batches {
		header := contents(t, disk, b.File)[b.At.Offset:]
		recorded := len(b.States) > 0 && b.States[0].Floor
		if bits := header[11]; bits != 0 != recorded {
			t.Fatalf("incompatible features %d of a batch with a floor: %v", bits, recorded)
		}
		if recorded {
			header = header[:order.Uint32(header[12:])]
			header[11] |= 2
			order.PutUint32(header[4:], crc32.Update(testIdentity.salt(b.At.Segment), castagnoli, header[8:]))
			overwrite(t, disk, b.File, b.At.Offset, header)
		}
	}
	var version *VersionError
	if _, _, err := Open(disk.Kill(), "wal", powerOptions()); !errors.As(err, &version) || version.Incompatible != 3 {
		t.Fatal(err)
	}
}

// What the power brought back of a removed segment is removed again.
func TestOrphansAreRemoved(t *testing.T) {
	disk, _ := cutLog(t)
	file, err := disk.Create(directoryPath(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Sync(), file.Close(), disk.SyncDir("wal")); err != nil {
		t.Fatal(err)
	}
	opens(t, disk, "clean end")
	if names, _ := disk.List("wal"); slices.Contains(names, directoryName(1)) {
		t.Fatalf("%q", names)
	}
}

// A removal that fails is told by Prepare, harms nothing, and is tried again; the log itself goes on.
func TestFailedRemovalIsTriedAgain(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpRemove, vfs.OpSyncDir} {
		disk, l, last := threeSegments(t)
		mustDiscard(t, l, 1, raft.Position{Index: last, Term: 1})
		mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
		mustAppend(t, l)
		prove(t, l)
		disk.OnOp(func(op vfs.Op) error {
			if op.Kind == kind {
				return errDisk
			}
			return nil
		})
		if err := l.Prepare(); !errors.Is(err, errDisk) || !l.NeedsPrepare() {
			t.Fatal(err)
		}
		mustAppend(t, l, write(1, 1, 7, 0, entries(1, last+1, last+1, 1)...))
		mustSync(t, l)
		disk.OnOp(nil)
		mustPrepare(t, l)
		if got := segmentFiles(t, disk); got[0] != 3 || l.Stats().Removed != 2 {
			t.Fatalf("segments %v, %+v", got, l.Stats())
		}
		mustClose(t, l)
		mustClose(t, l)
	}
}

// What was interrupted between the proof and the removal, the next start goes on with, without any new write.
func TestStartGoesOnWithRemoval(t *testing.T) {
	_, whole := cutLog(t)
	remove(t, whole, directoryPath(1))
	remove(t, whole, firstSegment)
	l, _ := opens(t, whole, "clean end")
	mustPrepare(t, l)
	if got := segmentFiles(t, whole); got[0] != 3 {
		t.Fatalf("segments %v", got)
	}
	mustClose(t, l)
	opens(t, whole, "clean end")
}

// A restart may go back, where the state machine's entry has another term (E51): what the log had behind it was in segments that are
// removed then, and is not missed.
func TestRestartBelowRemovedEntries(t *testing.T) {
	disk, l, _ := threeSegments(t)
	mustDiscard(t, l, 2, raft.Position{Index: 2, Term: 4})
	mustAppend(t, l, GroupWrite{Group: 1, Write: &raft.Write{
		HardState: raft.HardState{Term: 2}, Restart: raft.Position{Index: 8, Term: 2}, Entries: entries(1, 9, 10, 2)}})
	prove(t, l)
	mustPrepare(t, l)
	if got := segmentFiles(t, disk); got[0] != 3 {
		t.Fatalf("segments %v", got)
	}
	l, r := opens(t, disk.PowerCut(nil), "clean end")
	if g := r.Groups[0]; g.Before != (raft.Position{Index: 8, Term: 2}) || g.Last != 10 {
		t.Fatalf("%+v", g)
	}
	checkEntries(t, l, 1, entries(1, 9, 10, 2))
}

// watchedDisk calls a hook in the middle of reads of a file, and knows whether it is closed meanwhile.
type watchedDisk struct {
	vfs.FS
	inRead func()
	broken atomic.Bool
}

type watchedFile struct {
	vfs.File
	disk    *watchedDisk
	readers atomic.Int64
}

func (d *watchedDisk) Create(name string) (vfs.File, error) {
	file, err := d.FS.Create(name)
	return &watchedFile{File: file, disk: d}, err
}

func (f *watchedFile) ReadAt(b []byte, off int64) (int, error) {
	f.readers.Add(1)
	defer f.readers.Add(-1)
	if hook := f.disk.inRead; hook != nil {
		hook()
	}
	return f.File.ReadAt(b, off)
}

func (f *watchedFile) Close() error {
	if f.readers.Load() > 0 {
		f.disk.broken.Store(true)
	}
	return f.File.Close()
}

// A segment that is out of the log is closed when the last reader has left it.
func TestRemovalWaitsForReaders(t *testing.T) {
	disk := &watchedDisk{FS: vfs.NewMem()}
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	manySegments(t)(l)
	floor := l.Horizon(1, 0)
	removed := make(chan error)
	disk.inRead = func() {
		disk.inRead = nil
		mustDiscard(t, l, 1, floor)
		mustAppend(t, l)
		prove(t, l)
		go func() { removed <- l.Prepare() }()
		for l.Stats().Segments > 1 {
			runtime.Gosched()
		}
		for range 1000 { // time enough to close it, for who does not wait
			runtime.Gosched()
		}
	}
	got, err := l.Read(1, 1, 4, 1<<20)
	if err != nil || len(got) != 3 || disk.broken.Load() {
		t.Fatalf("%d entries, %v; closed while it was read: %v", len(got), err, disk.broken.Load())
	}
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(1, 1, 4, 1<<20); !errors.Is(err, ErrCompacted) {
		t.Fatal(err)
	}
}

// The power goes at each step on a full disk, too: while a refused append records floors, and while the next one removes segments.
func TestPowerCutOnAFullDisk(t *testing.T) {
	refusals := 0
	for n := uint64(0); ; n++ {
		h, refused, reached := runOnFullDisk(t, n)
		refusals = max(refusals, refused)
		for seed := range uint64(3) {
			if err := h.survives(cutWith(h.disk.Clone(), seed), seed); err != nil {
				t.Fatalf("cut after operation %d, seed %d: %v", n, seed, err)
			}
		}
		if !reached {
			break
		}
	}
	if refusals < 3 {
		t.Fatalf("an append was refused %d times: that shows too little", refusals)
	}
}

// runOnFullDisk writes to a disk that holds three segments, and discards what it can whenever it is full, until the power goes after n operations.
func runOnFullDisk(t *testing.T, n uint64) (h *history, refused int, reached bool) {
	disk, count := vfs.NewMem(), uint64(0)
	disk.OnOp(func(op vfs.Op) error {
		if count++; count > n {
			reached = true
			return errCut
		}
		if op.Kind == vfs.OpPreallocate && len(segmentFiles(t, disk)) > 3 {
			return vfs.ErrNoSpace
		}
		return nil
	})
	h, err := openHistory(disk)
	for i := raft.Index(1); err == nil && i < 200; i += 5 {
		w := write(1, 1, 7, i-1, entries(1, i, i+4, 1)...)
		err = h.step(step{append: []GroupWrite{w}})
		for ; !reached && errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, ErrFailed); err = h.log.Append([]GroupWrite{w}) {
			if refused++; refused%2 == 0 {
				continue // it has room now
			}
			next := h.states[len(h.states)-2].clone() // in front of what was refused
			if err := h.log.Discard(1, next.discard(1, i-1-10)); err != nil {
				t.Fatal(err)
			}
			last := next.clone()
			last.apply(w)
			h.states = append(h.states[:len(h.states)-1], next, last)
		}
		if err == nil {
			err = h.step(step{sync: true})
		}
	}
	if err != nil && !reached {
		t.Fatal(err)
	}
	return h, refused, reached
}
