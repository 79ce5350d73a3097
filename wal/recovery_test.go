package wal

import (
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// Every situation is in exactly one row.
func TestRecoveryTableIsComplete(t *testing.T) {
	hits := map[string]int{}
	for place := placeEmpty; place <= placeGap; place <<= 1 {
		for after := afterZeros; after <= afterBytes; after <<= 1 {
			for proved := unproved; proved <= provedMore; proved <<= 1 {
				for copies := copiesSound; copies <= copiesMissing; copies <<= 1 {
					f, rows := finding{place, after, proved, copies}, 0
					for _, row := range recoveryTable {
						if row.covers(f) {
							rows++
							hits[row.name]++
						}
					}
					if rows != 1 {
						t.Errorf("%d rows cover %+v", rows, f)
					}
				}
			}
		}
	}
	for _, row := range recoveryTable {
		if hits[row.name] == 0 || row.reason == "" {
			t.Errorf("row %q is never used, or has no reason", row.name)
		}
	}
	if _, err := decide(finding{}); err == nil {
		t.Error("a situation that does not exist was decided")
	}
}

// threeGroups is a log of some batches, synced one by one.
func threeGroups(t testing.TB) func(l *Log) {
	return func(l *Log) {
		for i := raft.Index(1); i <= 9; i += 3 {
			mustAppend(t, l, write(1, 1, 7, i, entries(1, i, i+2, 1)...), write(2, 3, 0, 0, entries(2, i, i+2, 3)...))
			mustSync(t, l)
		}
	}
}

// manySegments is a log of three segments, with some batches in the third one, and a fourth prepared.
func manySegments(t testing.TB) func(l *Log) {
	return func(l *Log) {
		for i, left := raft.Index(1), 3; left > 0; i += 5 {
			mustAppend(t, l, write(1, 1, 7, i, entries(1, i, i+4, 1)...))
			mustSync(t, l)
			if l.Stats().Segments == 3 {
				left--
			}
		}
		if err := l.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	firstSegment  = "wal/0000000000000001.wal"
	secondSegment = "wal/0000000000000002.wal"
	thirdSegment  = "wal/0000000000000003.wal"
	votesZero     = "wal/votes-0"
	votesOne      = "wal/votes-1"
)

// unsyncedBatch appends a batch and kills the process before it is synced.
func unsyncedBatch(t testing.TB, before func(l *Log)) (*vfs.Mem, BatchInfo) {
	disk := build(t, func(l *Log) {
		before(l)
		mustAppend(t, l, write(3, 1, 0, 0, entries(3, 1, 12, 1)...))
	})
	return disk, dump(t, disk).record(t)
}

// scenarios has one or more for every row of the recovery table. Each returns a disk, and what the refusal must say.
var scenarios = map[string][]func(t *testing.T) (*vfs.Mem, []string){
	"new": {func(t *testing.T) (*vfs.Mem, []string) {
		disk := vfs.NewMem()
		return disk, nil
	}},
	"all segments gone": {func(t *testing.T) (*vfs.Mem, []string) {
		disk := build(t, threeGroups(t))
		remove(t, disk, firstSegment)
		return disk, []string{firstSegment, "all segments of the log are gone"}
	}},
	"creation interrupted": {func(t *testing.T) (*vfs.Mem, []string) {
		disk := build(t, func(*Log) {})
		remove(t, disk, votesZero)
		remove(t, disk, votesOne)
		overwrite(t, disk, firstSegment, 0, make([]byte, 30))
		return disk, nil
	}},
	"first head lost": {func(t *testing.T) (*vfs.Mem, []string) {
		disk := build(t, func(*Log) {})
		disk.Flip(votesZero, 40, 1)
		disk.Flip(votesOne, 40, 1)
		disk.Flip(firstSegment, 40, 1)
		return disk, []string{firstSegment, "checksum"}
	}},
	"first head lost, proved": {
		func(t *testing.T) (*vfs.Mem, []string) {
			disk := build(t, threeGroups(t))
			disk.Flip(firstSegment, 40, 1)
			return disk, []string{firstSegment, "from byte 0", "checksum"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // of a log that was cut: what was given up is not lost
			disk, _ := cutLog(t)
			disk.Flip(thirdSegment, 40, 1)
			return disk, []string{thirdSegment, "from byte 0", "checksum", "lost: nothing that the rest of the log names"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // of a log that was cut: the segments before it were removed when it was durable
			disk, _ := cutLog(t)
			remove(t, disk, votesZero)
			remove(t, disk, votesOne)
			remove(t, disk, directoryPath(3))
			remove(t, disk, segmentPath(4))
			remove(t, disk, segmentPath(5))
			overwrite(t, disk, thirdSegment, 0, make([]byte, len(contents(t, disk, thirdSegment))))
			return disk, []string{thirdSegment, "from byte 0", "zeros", "the removal of segment 2 proves"}
		},
	},
	"clean end": {
		func(t *testing.T) (*vfs.Mem, []string) { return build(t, threeGroups(t)), nil },
		func(t *testing.T) (*vfs.Mem, []string) { return build(t, manySegments(t)), nil },
		func(t *testing.T) (*vfs.Mem, []string) { // a segment whose head was being written
			disk := build(t, manySegments(t))
			overwrite(t, disk, "wal/0000000000000004.wal", 0, []byte("BLWS and no more"))
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // votes that are damaged beside a whole log
			disk := build(t, threeGroups(t))
			disk.Flip(votesZero, 40, 1)
			remove(t, disk, votesOne)
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // cut, and removed to the end
			disk, _ := cutLog(t)
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // recorded and proved, and the power went before anything was removed
			_, disk := cutLog(t)
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // or between two segments, or in one of them
			_, disk := cutLog(t)
			remove(t, disk, directoryPath(1))
			remove(t, disk, firstSegment)
			remove(t, disk, directoryPath(2))
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // and the disk kept the names in another order
			_, disk := cutLog(t)
			remove(t, disk, firstSegment)
			return disk, nil
		},
	},
	"torn tail": {
		func(t *testing.T) (*vfs.Mem, []string) { // the end of the write is missing
			disk, last := unsyncedBatch(t, threeGroups(t))
			overwrite(t, disk, firstSegment, last.At.Offset+last.Size-600, make([]byte, 600))
			return disk, nil
		},
		func(t *testing.T) (*vfs.Mem, []string) { // its beginning is missing, and the next segment is prepared
			disk, last := unsyncedBatch(t, manySegments(t))
			overwrite(t, disk, thirdSegment, last.At.Offset, make([]byte, 512))
			return disk, nil
		},
	},
	"torn tail without votes": {func(t *testing.T) (*vfs.Mem, []string) {
		disk, last := unsyncedBatch(t, threeGroups(t))
		disk.Flip(firstSegment, last.At.Offset+last.Size/2, 4)
		disk.Flip(votesZero, 20, 1)
		return disk, []string{firstSegment, "no crash damages both"}
	}},
	"end lost": {
		func(t *testing.T) (*vfs.Mem, []string) { // the votes say that there was more
			disk := build(t, func(l *Log) {
				threeGroups(t)(l)
				mustAppend(t, l, write(1, 9, 3, 0))
				mustSync(t, l)
			})
			last := dump(t, disk).record(t)
			overwrite(t, disk, firstSegment, last.At.Offset, make([]byte, last.Size))
			return disk, []string{firstSegment, "there are zeros", "votes-"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // the next segment's head says so
			disk := build(t, manySegments(t))
			d := dump(t, disk)
			for _, b := range d.batches {
				if b.At.Offset > 2000 && b.At.Segment == 2 {
					overwrite(t, disk, secondSegment, b.At.Offset, make([]byte, d.segments[1].Size-b.At.Offset))
					break
				}
			}
			return disk, []string{secondSegment, "there are zeros", thirdSegment + " proves that"}
		},
	},
	"corruption": {
		func(t *testing.T) (*vfs.Mem, []string) { // in the middle of the only segment
			disk := build(t, threeGroups(t))
			second := dump(t, disk).batches[1]
			disk.Flip(firstSegment, second.At.Offset+20, 1)
			return disk, []string{firstSegment, "group 1 entries 4 to 6 of term 1", "group 2 entries 4 to 6 of term 3", "no torn tail"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // one frame
			disk := build(t, threeGroups(t))
			for _, e := range dump(t, disk).entries {
				if e.Group == 2 && e.Index == 5 {
					disk.Flip(firstSegment, e.At.Offset+raft.EntryHeaderSize, 1)
				}
			}
			return disk, []string{firstSegment, "lost: group 2 entry 5 of term 3;", "body checksum"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // several batches of a full segment, named by its directory
			disk := build(t, manySegments(t))
			overwrite(t, disk, secondSegment, 1000, make([]byte, 2000))
			return disk, []string{secondSegment, "of term 1;"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // the same without the directory: the gap says which
			disk := build(t, manySegments(t))
			overwrite(t, disk, secondSegment, 1000, make([]byte, 2000))
			remove(t, disk, "wal/0000000000000002.dir")
			return disk, []string{secondSegment, "lost: group 1 entries"}
		},
	},
	"head lost": {func(t *testing.T) (*vfs.Mem, []string) {
		disk := build(t, manySegments(t))
		disk.Flip(thirdSegment, 30, 1)
		return disk, []string{thirdSegment, "from byte 0", "checksum"}
	}},
	"contradiction": {
		func(t *testing.T) (*vfs.Mem, []string) { // a sound batch that does not follow
			disk := build(t, threeGroups(t))
			end := dump(t, disk).end.End
			e := entry(1, 77, 1, "from elsewhere")
			b := batch{at: end, runs: []run{{group: 1, term: 1, first: 77, count: 1, bytes: uint64(len(e))}}, frames: []frame{{uint32(len(e)), e.HeadCRC()}}}
			b.measure()
			overwrite(t, disk, firstSegment, end.Offset, append(b.appendHeader(nil, testIdentity.salt(1)), e...))
			return disk, []string{firstSegment, "entries from 77 do not follow a log that holds 1 to 9"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // a head that tells of more than is there
			disk := build(t, manySegments(t))
			b := contents(t, disk, secondSegment)
			h, err := decodeHead(b[:headSize(1)])
			if err != nil {
				t.Fatal(err)
			}
			last := h.groups[0].last.Index
			h.groups[0].last.Index += 2
			overwrite(t, disk, secondSegment, 0, h.encode())
			return disk, []string{secondSegment, "before it, group 1 had come to", LostRun{Group: 1, First: last + 1, Last: last + 2}.String()}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // a segment of an older copy of the disk
			var older []byte
			disk := build(t, func(l *Log) {
				manySegments(t)(l)
				disk := l.fs.(*vfs.Mem)
				older = contents(t, disk, thirdSegment)
				for l.Stats().Segments < 4 {
					mustAppend(t, l, write(1, 1, 7, 0, entries(1, l.groups.byID[1].last+1, l.groups.byID[1].last+3, 1)...))
					mustSync(t, l)
				}
			})
			overwrite(t, disk, thirdSegment, 0, older)
			return disk, nil
		},
	},
	"segment missing": {
		func(t *testing.T) (*vfs.Mem, []string) {
			disk := build(t, manySegments(t))
			remove(t, disk, secondSegment)
			return disk, []string{secondSegment, "segment 2 is missing", "lost: group 1 entries"}
		},
		func(t *testing.T) (*vfs.Mem, []string) {
			disk := build(t, manySegments(t))
			remove(t, disk, firstSegment)
			return disk, []string{firstSegment, "segment 1 is missing", "lost: group 1 entries 1 to"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // one more than those that nobody needs
			disk, _ := cutLog(t)
			remove(t, disk, thirdSegment)
			return disk, []string{thirdSegment, "segment 3 is missing", "lost: group 1 entries"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // in the middle of what was not removed yet
			_, disk := cutLog(t)
			remove(t, disk, secondSegment)
			return disk, []string{secondSegment, "segment 2 is missing"}
		},
		func(t *testing.T) (*vfs.Mem, []string) { // the floors that would allow it are not whole, and nothing proves that they were
			disk := build(t, func(l *Log) {
				manySegments(t)(l)
				mustDiscard(t, l, 1, l.Horizon(1, 0))
				mustAppend(t, l)
			})
			disk.Flip(thirdSegment, dump(t, disk).record(t).At.Offset+100, 1)
			remove(t, disk, firstSegment)
			return disk, []string{firstSegment, "segment 1 is missing", "lost: group 1 entries 1 to"}
		},
	},
}

// cutLog is manySegments with a fourth one, in which a floor is recorded that needs none of the first two: after their removal, and before.
func cutLog(t testing.TB) (removed, whole *vfs.Mem) {
	removed = build(t, func(l *Log) {
		manySegments(t)(l)
		mustDiscard(t, l, 1, l.Horizon(1, 0))
		for l.Stats().Segments < 4 {
			last := l.groups.byID[1].last
			mustAppend(t, l, write(1, 1, 7, last, entries(1, last+1, last+5, 1)...))
			mustSync(t, l)
		}
		whole = l.fs.(*vfs.Mem).Clone()
		mustPrepare(t, l)
		if got := segmentFiles(t, l.fs); got[0] != 3 {
			t.Fatalf("segments %v", got)
		}
	})
	return removed, whole
}

func directoryPath(number uint64) string { return "wal/" + directoryName(number) }

// verdicts repeats the table's, so that none changes by accident.
var verdicts = map[string]verdict{
	"new": create, "creation interrupted": create, "clean end": resume, "torn tail": cut,
	"all segments gone": refuse, "first head lost": refuse, "first head lost, proved": refuse, "torn tail without votes": refuse,
	"end lost": refuse, "corruption": refuse, "head lost": refuse, "contradiction": refuse, "segment missing": refuse,
}

// Each row of the table is met by a log that is really damaged so. What is refused is left as it is; what is
// opened holds what was synced, and goes on.
func TestRecoveryRows(t *testing.T) {
	for _, row := range recoveryTable {
		if len(scenarios[row.name]) == 0 || verdicts[row.name] != row.verdict {
			t.Errorf("row %q has %d scenarios, and verdict %d instead of %d", row.name, len(scenarios[row.name]), row.verdict, verdicts[row.name])
		}
		for _, scenario := range scenarios[row.name] {
			t.Run(row.name, func(t *testing.T) {
				disk, words := scenario(t)
				if row.verdict == refuse {
					if row.name == "contradiction" && words == nil {
						row, words = recoveryRow{name: "end lost"}, []string{thirdSegment}
					}
					refuses(t, disk, words...)
					if got := dump(t, disk).end.Row; got != row.name {
						t.Errorf("refused as %q", got)
					}
					return
				}
				checkGoesOn(t, disk, row)
			})
		}
	}
}

func checkGoesOn(t *testing.T, disk *vfs.Mem, row recoveryRow) {
	if err := disk.MkdirAll("wal"); err != nil {
		t.Fatal(err)
	}
	l, r := opens(t, disk, row.name)
	want := model{}
	for _, g := range r.Groups {
		want[g.Group] = modelGroup{before: g.Before}
		for i := g.Before.Index + 1; i <= g.Last; i++ {
			want.apply(write(g.Group, g.HardState.Term, g.HardState.Vote, g.Commit, entry(g.Group, i, g.Runs[0].Term, string(entries(g.Group, i, i, g.Runs[0].Term)[0].Payload()))))
		}
	}
	if row.verdict != create && (want[1].hard.Vote != 7 || want.last(1) < 9) {
		t.Fatalf("what was synced is not there: %+v", r.Groups)
	}
	if row.verdict == cut && (r.Report.CutBytes == 0 || want[3].entries != nil) {
		t.Fatalf("the torn batch was not cut: %+v", r.Report)
	}
	more := write(1, 9, 1, 3, entries(1, want.last(1)+1, want.last(1)+9, 9)...)
	want.apply(more)
	mustAppend(t, l, more)
	mustSync(t, l)
	for range 2 {
		disk = disk.PowerCut(nil)
		l, r = opens(t, disk, "clean end")
		if d := want.differs(l, r.Groups); d != "" {
			t.Fatal(d)
		}
		if len(r.Report.Notes) != 0 {
			t.Fatalf("something is repaired at every start: %q", r.Report.Notes)
		}
	}
}

func (m model) last(id raft.GroupID) raft.Index {
	return m[id].before.Index + raft.Index(len(m[id].entries))
}
