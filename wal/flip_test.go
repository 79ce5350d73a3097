package wal

import (
	"errors"
	"strings"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// provedLog is a small log of three segments with all that there is, whose every record is proved durable, and what it holds.
func provedLog(t testing.TB, steps []step) (*vfs.Mem, model) {
	h := provedHistory(t, steps)
	return h.disk.PowerCut(nil), h.states[h.acked]
}

func provedHistory(t testing.TB, steps []step) *history {
	t.Helper()
	h, err := openHistory(vfs.NewMem())
	if err == nil {
		err = h.run(steps)
	}
	if err == nil {
		err = h.run([]step{{sync: true}, {prepare: true}, {idle: true}, {sync: true}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A byte rots somewhere, in any file of a log: either nothing is lost, or the start is refused. What was
// acknowledged never goes missing in silence.
func TestFlipsAreHarmlessOrNoticed(t *testing.T) {
	for least, steps := range map[int][]step{10000: scriptedHistory(), 4000: cutHistory()} {
		flipsAreHarmlessOrNoticed(t, steps, least)
	}
}

// cutHistory ends with a log whose first segments are removed, and which holds entries above its floors in several ones.
func cutHistory() []step {
	return append(cuttingHistory(),
		step{append: []GroupWrite{write(1, 4, 9, 140, entries(1, 143, 160, 4)...), write(2, 4, 9, 140, entries(2, 61, 70, 4)...)}}, step{sync: true},
		step{discard: []floor{{1, 150}}, append: []GroupWrite{write(1, 4, 9, 140, entries(1, 161, 190, 4)...)}}, step{sync: true})
}

func flipsAreHarmlessOrNoticed(t *testing.T, steps []step, least int) {
	whole, want := provedLog(t, steps)
	harmless, refused := map[string]int{}, map[string]int{}
	const step = 5 // of the bytes; each with another bit than the one before
	for name, bytes := range image(t, whole) {
		for off := int64(0); off < int64(len(bytes)); off += step {
			disk := whole.Clone()
			disk.Flip("wal/"+name, off, 1<<(off%8))
			kind := name[strings.LastIndexAny(name, ".-")+1:]
			l, r, err := Open(disk, "wal", powerOptions())
			if errors.As(err, new(*CorruptionError)) {
				refused[kind]++
				continue
			}
			if err != nil {
				t.Fatalf("%s byte %d: %v", name, off, err)
			}
			if d := want.differs(l, r.Groups); d != "" {
				t.Fatalf("%s byte %d: silently %s", name, off, d)
			}
			harmless[kind]++
		}
	}
	// Every byte of the batches is covered; what is harmless is padding, the preallocated tail and the last mark.
	if refused["wal"] < least/step || refused["dir"] != 0 || refused["0"]+refused["1"] != 0 {
		t.Fatalf("refused %v, harmless %v", refused, harmless)
	}
}

// The same for whole sectors that read as zeros, and for files that became shorter.
func TestZeroedSectorsAndShorterFiles(t *testing.T) {
	for _, steps := range [][]step{scriptedHistory(), cutHistory()} {
		zeroedSectorsAndShorterFiles(t, steps)
	}
}

func zeroedSectorsAndShorterFiles(t *testing.T, steps []step) {
	whole, want := provedLog(t, steps)
	end := dump(t, whole)
	mark := end.batches[len(end.batches)-1].At
	check := func(disk *vfs.Mem, name string, from, to int64) {
		l, r, err := Open(disk, "wal", powerOptions())
		if errors.As(err, new(*CorruptionError)) {
			return
		}
		if err != nil {
			t.Fatalf("%s [%d,%d): %v", name, from, to, err)
		}
		// The last record and the mark that proves it, both gone at once: the last window (docs/formats-wal.md).
		if name == segmentName(mark.Segment) && from <= mark.Offset && mark.Offset < to {
			return
		}
		if d := want.differs(l, r.Groups); d != "" {
			t.Fatalf("%s [%d,%d): silently %s", name, from, to, d)
		}
	}
	for name, bytes := range image(t, whole) {
		size := int64(len(bytes))
		for off := int64(0); off < size; off += vfs.SectorSize {
			disk := whole.Clone()
			overwrite(t, disk, "wal/"+name, off, make([]byte, min(vfs.SectorSize, size-off)))
			check(disk, name, off, off+vfs.SectorSize)
			disk = whole.Clone()
			file, err := disk.Open("wal/" + name)
			if err == nil {
				err = errors.Join(file.Truncate(off), file.Sync())
			}
			if err != nil {
				t.Fatal(err)
			}
			check(disk, name, off, size)
		}
	}
}

// FuzzRecover: whatever bytes are in the files, a start ends with a log or with an error, never with a panic; and as long as the
// newest segment is as it was, what was acknowledged is there, or the start is refused.
func FuzzRecover(f *testing.F) {
	whole, want := provedLog(f, scriptedHistory())
	cut, wantCut := provedLog(f, cutHistory())
	f.Add(uint8(0), uint16(100), []byte{1, 2, 3}, false)
	f.Add(uint8(2), uint16(72), make([]byte, 600), true)
	f.Add(uint8(4), uint16(0), []byte("BLWS"), false)
	f.Add(uint8(129), uint16(500), make([]byte, 300), false)
	f.Add(uint8(130), uint16(30), []byte{7}, false)
	f.Fuzz(func(t *testing.T, which uint8, off uint16, bytes []byte, shorter bool) {
		disk, want := whole.Clone(), want
		if which >= 128 {
			disk, want = cut.Clone(), wantCut
		}
		names, _ := disk.List("wal")
		name := names[int(which%128)%len(names)]
		file, err := disk.Open("wal/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if shorter {
			err = file.Truncate(int64(off))
		} else {
			_, err = file.WriteAt(bytes, int64(off))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := Dump(disk, "wal", Visitor{}); err != nil && !errors.As(err, new(*VersionError)) && !errors.As(err, new(*IdentityError)) {
			t.Fatalf("a dump of damaged files: %v", err)
		}
		l, r, err := Open(disk, "wal", powerOptions())
		if err != nil {
			return
		}
		if name != newestSegment(names) {
			if d := want.differs(l, r.Groups); d != "" {
				t.Fatalf("%s changed at %d: silently %s", name, off, d)
			}
		}
		w := write(9, 1, 1, 0, entries(9, 1, 3, 1)...)
		if err := l.Append([]GroupWrite{w}); err != nil {
			t.Fatalf("a log that was opened does not go on: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// newestSegment is the segment that holds the end of the log: the one before the prepared one.
func newestSegment(names []string) string {
	var segments []string
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			segments = append(segments, name)
		}
	}
	return segments[len(segments)-2]
}

// FuzzDecode: any bytes give a record or an error.
func FuzzDecode(f *testing.F) {
	b := batch{at: Position{1, 72}, states: []state{{group: 1}}, runs: []run{{group: 1, term: 1, first: 1, count: 1, bytes: 60}}, frames: []frame{{60, 1}}}
	b.measure()
	f.Add(b.appendHeader(nil, 0))
	f.Add((&head{segment: 3, groups: make([]checkpoint, 2)}).encode())
	f.Add((&voteCopy{generation: 2, groups: make([]vote, 2)}).encode(nil))
	f.Add((&directory{segment: 1, runs: []located{{run{group: 1, term: 1, first: 1, count: 1, bytes: 60}, 72}}}).encode())
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if len(bytes) >= batchFixed {
			var b batch
			if err := b.decodeHeader(bytes, 1<<20); err == nil {
				b.measure() // a later version's header may be longer than what this one writes
				again := b.appendHeader(nil, 0)
				var c batch
				if err := c.decodeHeader(again, 1<<20); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = decodeVotes(bytes)
		}
		if len(bytes) >= headFixed {
			_, _ = decodeHead(bytes)
			_, _ = decodeDirectory(bytes)
		}
	})
}

// Frames that a caller must not append: each is refused, and nothing is written.
func TestInvalidWritesAreRefused(t *testing.T) {
	wrong := map[string]GroupWrite{
		"a gap":                  write(1, 1, 7, 0, entries(1, 12, 13, 1)...),
		"a falling term":         write(1, 2, 7, 0, entries(1, 11, 13, 0)...),
		"a term that goes back":  write(1, 0, 9, 0),
		"another vote":           write(1, 1, 9, 0),
		"another group's entry":  write(1, 1, 7, 0, entries(2, 11, 11, 1)...),
		"a hole":                 write(1, 1, 7, 0, entry(1, 11, 1, ""), entry(1, 13, 1, "")),
		"no entry at all":        write(1, 1, 7, 0, raft.Entry("short")),
		"a wrong length":         write(1, 1, 7, 0, entry(1, 11, 1, "longer")[:60]),
		"index 0":                write(2, 1, 7, 0, entry(2, 0, 1, "")),
		"a restart, then a hole": {Group: 1, Write: &raft.Write{Restart: raft.Position{Index: 20, Term: 1}, Entries: entries(1, 11, 12, 1)}},
	}
	for name, w := range wrong {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			l, _, err := Open(disk, "wal", powerOptions())
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, write(1, 1, 7, 0, entries(1, 1, 10, 1)...))
			before := image(t, disk)
			if err := l.Append([]GroupWrite{w}); !errors.Is(err, ErrInvalidWrite) || !errors.Is(err, ErrFailed) {
				t.Fatalf("%v", err)
			}
			for name, was := range before {
				if string(contents(t, disk, "wal/"+name)) != was {
					t.Fatal("something was written")
				}
			}
			if _, r := opens(t, disk.Kill(), "clean end"); r.Groups[0].Last != 10 {
				t.Fatalf("%+v", r.Groups)
			}
		})
	}
}
