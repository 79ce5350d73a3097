package wal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// twoBatches is a log of one synced batch and one that was written and not synced.
func twoBatches(t testing.TB) func(l *Log) {
	return func(l *Log) {
		mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
		mustSync(t, l)
		mustAppend(t, l, write(1, 1, 7, 5, entries(1, 11, 20, 1)...))
	}
}

func TestE43TornTailIsCut(t *testing.T) {
	whole := build(t, twoBatches(t))
	last := dump(t, whole).record(t)
	for missing := int64(1); missing < last.Size; missing += 13 {
		disk := whole.Clone()
		overwrite(t, disk, firstSegment, last.At.Offset+last.Size-missing, make([]byte, missing))
		l, r, err := Open(disk, "wal", powerOptions())
		if err != nil {
			t.Fatalf("%d bytes of the last batch are missing: %v", missing, err)
		}
		checkEntries(t, l, 1, entries(1, 1, 10, 1))
		// The padding is zero anyway.
		if got := r.Groups[0].Last; got != 10 && missing >= alignment {
			t.Fatalf("%d bytes of the last batch are missing, and it ends at entry %d", missing, got)
		}
	}
}

func TestE43BadRecordInTheMiddleIsNotCut(t *testing.T) {
	disk := build(t, threeGroups(t))
	first := dump(t, disk).batches[0]
	disk.Flip(firstSegment, first.At.Offset+first.Size-20, 0x80)
	e := refuses(t, disk, firstSegment, "group 2 entry 3 of term 3")
	if e.Offset != first.At.Offset || len(e.Lost) != 1 || e.Lost[0] != (LostRun{Group: 2, First: 3, Last: 3, Term: 3}) {
		t.Fatalf("%+v", e)
	}
}

func TestE43ZeroedSectorsAreNotAnEnd(t *testing.T) {
	whole := build(t, func(l *Log) {
		threeGroups(t)(l)
		if err := l.Idle(); err != nil {
			t.Fatal(err)
		}
	})
	d := dump(t, whole)
	end := d.batches[len(d.batches)-1].At.Offset
	for sector := int64(0); (sector+1)*vfs.SectorSize <= end; sector++ {
		disk := whole.Clone()
		overwrite(t, disk, firstSegment, sector*vfs.SectorSize, make([]byte, vfs.SectorSize))
		refuses(t, disk, firstSegment)
	}
}

func TestE43PreallocatedTailIsTheEnd(t *testing.T) {
	disk := build(t, threeGroups(t))
	if size := len(contents(t, disk, firstSegment)); size != minSegmentSize {
		t.Fatalf("the segment has %d bytes: it was not preallocated", size)
	}
	l, r := opens(t, disk, "clean end")
	if r.Report.CutBytes != 0 || r.Report.Batches != 3 {
		t.Fatalf("%+v", r.Report)
	}
	mustClose(t, l)
}

// A batch that was cut must not come back when later writes end just where it begins. With sectors lost in front of it, it
// is whole, has the right offset and segment, and follows from what is before it.
func TestE43StaleBatchDoesNotComeBack(t *testing.T) {
	for _, prepared := range []bool{false, true} {
		t.Run(fmt.Sprintf("next segment prepared: %v", prepared), func(t *testing.T) {
			disk := build(t, func(l *Log) {
				if prepared {
					if err := l.Prepare(); err != nil {
						t.Fatal(err)
					}
				}
				mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
				mustSync(t, l)
				mustAppend(t, l, write(1, 1, 7, 0, padded(1, 11, 20, 50)...))
				mustAppend(t, l, write(1, 1, 7, 0, entries(1, 21, 22, 1)...))
			})
			second := dump(t, disk).batches[1]
			overwrite(t, disk, firstSegment, second.At.Offset, make([]byte, 64))

			l, r := opens(t, disk, "torn tail")
			if r.Groups[0].Last != 10 {
				t.Fatalf("%+v", r.Groups)
			}
			// Recovery's own mark of 120 bytes and a new batch that is smaller by as much end where the stale one begins.
			again := padded(1, 11, 20, 38)
			mustAppend(t, l, write(1, 1, 7, 5, again...))
			mustSync(t, l)
			if at := l.tail.Offset; at != second.At.Offset+second.Size {
				t.Fatalf("the test is wrong: the new batch ends at %d, the stale one begins at %d", at, second.At.Offset+second.Size)
			}
			l, r = opens(t, disk.PowerCut(nil), "clean end")
			if r.Groups[0].Last != 20 {
				t.Fatalf("a stale batch came back: %+v", r.Groups)
			}
			checkEntries(t, l, 1, append(entries(1, 1, 10, 1), again...))
		})
	}
}

// padded returns entries [first, last] of term 1 with payloads of the given size.
func padded(group raft.GroupID, first, last raft.Index, size int) (list []raft.Entry) {
	for i := first; i <= last; i++ {
		list = append(list, entry(group, i, 1, strings.Repeat("x", size)))
	}
	return list
}

func TestE43FullDiskInMidRecord(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
	mustSync(t, l)
	disk.OnOp(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return &vfs.PartialError{Written: 700, Err: vfs.ErrNoSpace}
		}
		return nil
	})
	err = l.Append([]GroupWrite{write(1, 1, 7, 0, entries(1, 11, 20, 1)...)})
	if !errors.Is(err, vfs.ErrNoSpace) || !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	disk.OnOp(nil)
	if err := l.Sync(); !errors.Is(err, ErrFailed) {
		t.Fatalf("half a record was acknowledged: %v", err)
	}
	l, r := opens(t, disk.Kill(), "torn tail")
	if r.Groups[0].Last != 10 {
		t.Fatalf("%+v", r.Groups)
	}
	mustAppend(t, l, write(1, 1, 7, 0, entries(1, 11, 20, 1)...))
	mustSync(t, l)
}

// A disk that is full when a segment is needed refuses the write and harms nothing: the same write is taken once there is space.
func TestFullDiskAtARollIsRefusedNotFailed(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	full := true
	disk.OnOp(func(op vfs.Op) error {
		if full && op.Kind == vfs.OpPreallocate {
			return vfs.ErrNoSpace
		}
		return nil
	})
	if err := l.Prepare(); !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) || !l.NeedsPrepare() {
		t.Fatalf("preparing on a full disk: %v", err)
	}
	if s := l.Stats(); s.Reserve == 0 || s.Reserve >= minSegmentSize {
		t.Fatalf("a reserve of %d bytes", s.Reserve)
	}
	want := model{}
	for i := raft.Index(1); i < 200; i += 10 {
		w := write(1, 1, 7, i, entries(1, i, i+9, 1)...)
		want.apply(w)
		for {
			err := l.Append([]GroupWrite{w})
			if err == nil {
				break
			}
			if !full || !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) {
				t.Fatal(err)
			}
			if names, _ := disk.List("wal"); len(names) != 3 {
				t.Fatalf("a refused roll left %q", names)
			}
			full = false
		}
		mustSync(t, l)
	}
	if full {
		t.Fatal("the disk was never full")
	}
	l, r := opens(t, disk.PowerCut(nil), "clean end")
	if d := want.differs(l, r.Groups); d != "" {
		t.Fatal(d)
	}
}

// An Append that is refused half way takes up where it stopped: what is in the log already must not be written again behind
// what followed it, in a term that would go back.
func TestRefusedAppendGoesOnWhereItStopped(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	full := true
	disk.OnOp(func(op vfs.Op) error {
		if full && op.Kind == vfs.OpPreallocate {
			return vfs.ErrNoSpace
		}
		return nil
	})
	writes := []GroupWrite{
		write(1, 1, 7, 0, entries(1, 1, 3, 1)...),
		write(1, 2, 8, 0, entries(1, 2, 5, 2)...),
		write(1, 3, 9, 0, entry(1, 3, 3, strings.Repeat("x", 4000))),
	}
	for range 3 {
		if err := l.Append(writes); !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	full = false
	writes = append(writes, write(2, 1, 1, 0, entries(2, 1, 2, 1)...))
	mustAppend(t, l, writes...)
	mustSync(t, l)
	if n := l.Stats().Batches; n != 3 {
		t.Fatalf("%d batches, want 3", n)
	}
	want := model{}
	for _, w := range writes {
		want.apply(w)
	}
	l, r := opens(t, disk.PowerCut(nil), "clean end")
	if d := want.differs(l, r.Groups); d != "" {
		t.Fatal(d)
	}
}

var errDisk = errors.New("input/output error")

// After a failed sync the log is of no use any more, its files are not touched again, and what was in flight is gone
// unless it is found, and written again, by the next start.
func TestE45FailedSyncIsFinal(t *testing.T) {
	for _, what := range []struct {
		name string
		fail func(vfs.Op) bool
	}{
		{"log", func(op vfs.Op) bool { return op.Kind == vfs.OpSync && op.Name == firstSegment }},
		{"votes", func(op vfs.Op) bool { return op.Kind == vfs.OpSync && strings.Contains(op.Name, "votes") }},
		{"write", func(op vfs.Op) bool { return op.Kind == vfs.OpWrite }},
	} {
		t.Run(what.name, func(t *testing.T) {
			disk := vfs.NewMem()
			l, _, err := Open(disk, "wal", powerOptions())
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
			mustSync(t, l)
			failed, after := false, 0
			disk.OnOp(func(op vfs.Op) error {
				if failed {
					after++
				}
				if !failed && what.fail(op) {
					failed = true
					return errDisk
				}
				return nil
			})
			err = l.Append([]GroupWrite{write(1, 2, 8, 0, entries(1, 11, 20, 2)...)})
			if err == nil {
				err = l.Sync()
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			for _, again := range []error{l.Sync(), l.Idle(), l.Append([]GroupWrite{write(1, 2, 8, 0)}), l.Close()} {
				if !errors.Is(again, ErrFailed) {
					t.Fatalf("the log went on: %v", again)
				}
			}
			if after != 0 {
				t.Fatalf("%d operations after the failure", after)
			}
			if _, err := l.Read(1, 1, 2, 100); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			// Whatever the machine's next start finds, it holds what was acknowledged.
			disk.OnOp(nil)
			l, r, err := Open(disk.PowerCut(nil), "wal", powerOptions())
			if err != nil {
				t.Fatal(err)
			}
			checkEntries(t, l, 1, entries(1, 1, 10, 1))
			if what.name == "log" && r.Groups[0].Last != 10 {
				t.Fatalf("%+v", r.Groups)
			}
		})
	}
}

// The commit index that was last recorded is found again: it rides on every batch, never goes back, and never names
// an entry that the log does not hold.
func TestE50CommitIndexIsRecorded(t *testing.T) {
	disk := build(t, func(l *Log) {
		for _, commit := range []raft.Index{0, 4, 3, 99} {
			last := l.groups.get(1).last
			mustAppend(t, l, write(1, 1, 7, commit, entries(1, last+1, last+5, 1)...))
			mustSync(t, l)
			want := map[raft.Index]raft.Index{0: 0, 4: 4, 3: 4, 99: 20}[commit]
			if _, r := opens(t, l.fs.(*vfs.Mem).Clone(), "clean end"); r.Groups[0].Commit != want {
				t.Fatalf("recorded %d, found %d, want %d", commit, r.Groups[0].Commit, want)
			}
		}
		mustAppend(t, l, write(1, 1, 7, 0, entries(1, 21, 25, 1)...))
		mustAppend(t, l, write(1, 1, 7, 23)) // no entries: a commit index and nothing else
		mustSync(t, l)
	})
	if _, r := opens(t, disk.PowerCut(nil), "clean end"); r.Groups[0].Commit != 23 {
		t.Fatalf("%+v", r.Groups)
	}
}

// What a start finds in the page cache is on the disk before anybody is told of it: after a process was killed between
// write and sync, and after a sync that failed and left pages that look written.
func TestE52ReadableIsNotDurable(t *testing.T) {
	for _, failedSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("after a failed sync: %v", failedSync), func(t *testing.T) {
			disk := build(t, func(l *Log) {
				twoBatches(t)(l)
				if !failedSync {
					return
				}
				mem := l.fs.(*vfs.Mem)
				mem.OnOp(func(op vfs.Op) error {
					if op.Kind == vfs.OpSync {
						return errDisk
					}
					return nil
				})
				if err := l.Sync(); !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
			})
			if got := readableLast(t, disk.Clone().PowerCut(nil)); got != 10 {
				t.Fatalf("the test is wrong: the second batch was durable: %d", got)
			}
			_, r := opens(t, disk, "clean end")
			told := r.Groups[0].Last
			if told != 20 {
				t.Fatalf("%+v", r.Groups)
			}
			if got := readableLast(t, disk.PowerCut(nil)); got != told {
				t.Fatalf("the start told of entry %d, the disk has %d", told, got)
			}
		})
	}
}

func readableLast(t *testing.T, disk *vfs.Mem) raft.Index {
	t.Helper()
	_, r, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	return r.Groups[0].Last
}

// The last record, once acknowledged and then damaged, is not taken for a torn tail: not after a mark, whether the power
// went or not, and not after a clean end.
func TestE53LastRecordDamaged(t *testing.T) {
	ends := map[string]func(l *Log, disk *vfs.Mem) *vfs.Mem{
		"mark, process killed": func(l *Log, disk *vfs.Mem) *vfs.Mem {
			if err := l.Idle(); err != nil {
				t.Fatal(err)
			}
			return disk.Kill()
		},
		"mark synced, power cut": func(l *Log, disk *vfs.Mem) *vfs.Mem {
			if err := l.Idle(); err != nil {
				t.Fatal(err)
			}
			mustSync(t, l)
			return disk.PowerCut(nil)
		},
		"closed": func(l *Log, disk *vfs.Mem) *vfs.Mem {
			mustClose(t, l)
			return disk.PowerCut(nil)
		},
		"found by a start": func(l *Log, disk *vfs.Mem) *vfs.Mem {
			disk = disk.PowerCut(nil)
			opens(t, disk, "clean end")
			return disk.PowerCut(nil)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			l, _, err := Open(disk, "wal", powerOptions())
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
			mustSync(t, l)
			mustAppend(t, l, write(1, 1, 7, 0, entries(1, 11, 13, 1)...))
			mustSync(t, l)
			whole := end(l, disk)
			d := dump(t, whole)
			last, lastEntry := d.record(t), d.entries[len(d.entries)-1]
			for off := last.At.Offset; off < lastEntry.At.Offset+int64(lastEntry.Size); off++ {
				disk := whole.Clone()
				disk.Flip(firstSegment, off, 0x10)
				refuses(t, disk, firstSegment, "group 1 entr", "of term 1", "no torn tail")
			}
			disk = whole.Clone()
			overwrite(t, disk, firstSegment, last.At.Offset, make([]byte, last.Size))
			refuses(t, disk, "group 1 entries 11 to 13 of term 1")
		})
	}
}

// The same for a vote, which is known to be durable from its second copy at once, without a mark.
func TestE53LastVoteDamaged(t *testing.T) {
	whole := build(t, func(l *Log) {
		mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
		mustSync(t, l)
		mustAppend(t, l, write(1, 2, 8, 0))
		mustSync(t, l)
	}).PowerCut(nil)
	last := dump(t, whole).record(t)
	for off := last.At.Offset; off < last.At.Offset+last.Size; off++ {
		disk := whole.Clone()
		disk.Flip(firstSegment, off, 1)
		refuses(t, disk, firstSegment, "votes-")
	}
	// And a damaged copy costs nothing while the log is whole.
	for _, name := range voteNames {
		for off := range int64(len(contents(t, whole, "wal/"+name))) {
			disk := whole.Clone()
			disk.Flip("wal/"+name, off, 1)
			l, r := opens(t, disk, "clean end")
			if r.Groups[0].HardState != (raft.HardState{Term: 2, Vote: 8}) || len(r.Report.Notes) != 1 {
				t.Fatalf("%+v", r)
			}
			mustClose(t, l)
			if _, bad, err := (files{disk, "wal"}).readCopies(testIdentity); err != nil || bad != [2]error{} {
				t.Fatal(bad, err)
			}
		}
	}
}

// Entries that are written again, ABA: the index finds the latest, whatever was there before, from in front of it or from
// the middle of it (E19's completions are the protocol's).
func TestE19RewrittenEntries(t *testing.T) {
	want := model{}
	disk := build(t, func(l *Log) {
		for i, part := range [][2]raft.Index{{1, 12}, {5, 12}, {3, 8}, {9, 12}, {6, 6}, {7, 20}, {2, 4}, {5, 5}} {
			term := raft.Term(i + 1)
			w := write(1, term, 0, 0, entries(1, part[0], part[1], term)...)
			want.apply(w)
			mustAppend(t, l, w)
			if d := want[1].differsEntries(l, 1, want.last(1)); d != "" {
				t.Fatal(d)
			}
		}
		mustSync(t, l)
	})
	l, r := opens(t, disk, "clean end")
	if d := want.differs(l, r.Groups); d != "" {
		t.Fatal(d)
	}
}

// Batches of another place, as a recycled segment or a misdirected write leaves them, are whole, sound in themselves, and go on
// just where the log ends; they are taken for what they are: garbage.
func TestE43RecordOfAnotherPlaceIsNotTaken(t *testing.T) {
	whole := build(t, manySegments(t))
	d := dump(t, whole)
	end, last := d.end.End, d.entries[len(d.entries)-1]
	other := testIdentity
	other.Member++
	for _, place := range []struct {
		name string
		at   Position
		id   Identity
		row  string
	}{
		{"this place", end, testIdentity, "clean end"},
		{"another segment", Position{1, end.Offset}, testIdentity, "torn tail"},
		{"another offset", Position{end.Segment, end.Offset - 64}, testIdentity, "torn tail"},
		{"another member", end, other, "torn tail"},
	} {
		t.Run(place.name, func(t *testing.T) {
			e := entry(1, last.Index+1, 1, "the next one")
			b := batch{at: place.at, runs: []run{{group: 1, term: 1, first: e.Index(), count: 1, bytes: uint64(len(e))}}, frames: []frame{{uint32(len(e)), e.HeadCRC()}}}
			b.measure()
			disk := whole.Clone()
			overwrite(t, disk, thirdSegment, end.Offset, append(b.appendHeader(nil, place.id.salt(place.at.Segment)), e...))
			_, r := opens(t, disk, place.row)
			if taken := r.Groups[0].Last == e.Index(); taken != (place.row == "clean end") {
				t.Fatalf("%+v", r.Groups)
			}
		})
	}
}
