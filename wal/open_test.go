package wal

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// A directory that is somebody else's is refused in one sentence, and nothing in it changes.
func TestOpenRefusesForeignDirectories(t *testing.T) {
	other := testIdentity
	change := map[string]func(id *Identity){
		"another cluster":        func(id *Identity) { id.Cluster++ },
		"another member":         func(id *Identity) { id.Member++ },
		"another data directory": func(id *Identity) { id.DataDir[3]++ },
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			disk := build(t, threeGroups(t))
			id := other
			change(&id)
			before := image(t, disk)
			_, _, err := Open(disk, "wal", Options{Identity: id, SegmentSize: minSegmentSize})
			var identity *IdentityError
			if !errors.As(err, &identity) || identity.Got != testIdentity || identity.Want != id || !strings.Contains(err.Error(), "nothing was changed") {
				t.Fatal(err)
			}
			if !maps.Equal(before, image(t, disk)) {
				t.Fatal("something was changed")
			}
		})
	}
}

// unknownFormat seals a file's first header anew, as another release would.
func unknownFormat(t *testing.T, disk *vfs.Mem, name string, magic uint32, version, incompatible, compatible byte) {
	b := contents(t, disk, name)
	header := b[:order.Uint32(b[12:])]
	seal(header, magic, 0, 0)
	header[8], header[10], header[11] = version, compatible, incompatible
	order.PutUint32(header[4:], crcOf(header[8:]))
	overwrite(t, disk, name, 0, header)
}

func TestOpenRefusesOtherFormats(t *testing.T) {
	for _, file := range []struct {
		name  string
		magic uint32
	}{{firstSegment, magicSegment}, {thirdSegment, magicSegment}, {votesZero, magicVotes}} {
		for _, format := range []struct{ version, incompatible, compatible byte }{{2, 0, 0}, {1, 4, 0}, {1, 0, 8}} {
			disk := build(t, manySegments(t))
			unknownFormat(t, disk, file.name, file.magic, format.version, format.incompatible, format.compatible)
			before := image(t, disk)
			_, _, err := Open(disk, "wal", powerOptions())
			if format.compatible != 0 {
				if err != nil {
					t.Fatalf("%s: a compatible feature was refused: %v", file.name, err)
				}
				continue
			}
			var version *VersionError
			if !errors.As(err, &version) || version.File != file.name || !strings.Contains(err.Error(), "use the release that wrote it") {
				t.Fatalf("%s: %v", file.name, err)
			}
			if !maps.Equal(before, image(t, disk)) {
				t.Fatal("something was changed")
			}
		}
	}
}

func TestOpenRefusesADirectoryOfSomethingElse(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "wal", "0000000000000000-0000000000000000.wal")
	if err := os.WriteFile(name, []byte("of etcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Open(vfs.NewOS(root), "wal", testOptions())
	if err == nil || !strings.Contains(err.Error(), "0000000000000000-0000000000000000.wal") || !strings.Contains(err.Error(), "nothing was changed") {
		t.Fatal(err)
	}
	found, err := os.ReadDir(filepath.Join(root, "wal"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
}

func TestOpenRefusesALockedDirectory(t *testing.T) {
	disk := vfs.NewOS(t.TempDir())
	l, _ := mustOpen(t, disk)
	_, _, err := Open(disk, "wal", testOptions())
	if !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "stop it first") {
		t.Fatal(err)
	}
	mustClose(t, l)
	l, _ = mustOpen(t, disk)
	mustClose(t, l)
}

func TestOpenRefusesOddOptions(t *testing.T) {
	for _, size := range []int64{1, minSegmentSize - 1, maxSegmentSize + 1, -5} {
		if _, _, err := Open(vfs.NewMem(), "wal", Options{Identity: testIdentity, SegmentSize: size}); err == nil {
			t.Fatalf("a segment size of %d was taken", size)
		}
	}
}

// What the disk answers while a log is opened ends the opening with the disk's own words; the next one succeeds.
func TestOpenOnAFailingDisk(t *testing.T) {
	h, err := openHistory(vfs.NewMem())
	if err == nil {
		err = h.run(scriptedHistory())
	}
	if err != nil {
		t.Fatal(err)
	}
	disk := h.disk.Kill()
	for n := uint64(0); ; n++ {
		try := disk.Clone()
		count, failed := uint64(0), false
		try.OnOp(func(vfs.Op) error {
			if count++; count == n+1 {
				failed = true
				return errDisk
			}
			return nil
		})
		_, _, err := Open(try, "wal", powerOptions())
		if !failed {
			if err != nil || n < 3 {
				t.Fatal(n, err)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("operation %d failed: %v", n, err)
		}
		try.OnOp(nil)
		if _, _, err := h.check(try); err != nil {
			t.Fatalf("operation %d had failed: %v", n, err)
		}
	}
}

// Dump tells everything, changes nothing, and needs no lock.
func TestDumpBesideAnOpenLog(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	manySegments(t)(l)
	mustAppend(t, l, write(2, 3, 4, 0, entries(2, 1, 3, 3)...))
	before := image(t, disk)
	d := dump(t, disk)
	if !maps.Equal(before, image(t, disk)) {
		t.Fatal("a dump changed something")
	}
	if len(d.segments) != 4 || d.segments[1].Directory != "ok" || d.segments[1].Groups[0].Last.Index == 0 || d.segments[0].Cluster != testIdentity.Cluster {
		t.Errorf("%+v", d.segments)
	}
	if len(d.votes) != 2 || d.votes[0].Generation+d.votes[1].Generation != 5 {
		t.Errorf("%+v", d.votes)
	}
	if len(d.bad) != 0 || d.end.Row != "clean end" || d.end.End != l.tail {
		t.Errorf("%+v, %+v", d.bad, d.end)
	}
	last := d.entries[len(d.entries)-1]
	if last.Group != 2 || last.Index != 3 || last.Term != 3 || last.Kind != "normal" || last.Error != "" || string(last.Entry.Payload()) != "g2 i3 t3" {
		t.Errorf("%+v", last)
	}
	count := raft.Index(0)
	for _, e := range d.entries {
		if e.Group == 1 {
			count++
		}
	}
	if count != l.groups.byID[1].last {
		t.Errorf("%d entries of group 1", count)
	}
}

func TestDumpOfADamagedLog(t *testing.T) {
	disk := build(t, manySegments(t))
	d := dump(t, disk)
	header, frame := d.batches[2], d.entries[22]
	disk.Flip(header.File, header.At.Offset+30, 1)
	disk.Flip(segmentPath(frame.At.Segment), frame.At.Offset+raft.EntryHeaderSize, 1)
	d = dump(t, disk)
	if len(d.bad) != 1 || d.bad[0].From != header.At.Offset || d.bad[0].To != header.At.Offset+header.Size {
		t.Errorf("%+v", d.bad)
	}
	wrong := 0
	for _, e := range d.entries {
		if e.Error != "" {
			wrong++
			if e.Index != frame.Index || !strings.Contains(e.Error, "body checksum") {
				t.Errorf("%+v", e)
			}
		}
	}
	if wrong != 1 || d.end.Row != "corruption" || !strings.Contains(d.end.Refused, "group 1 entr") {
		t.Errorf("%d bad entries, %+v", wrong, d.end)
	}
}

func segmentPath(number uint64) string { return "wal/" + segmentName(number) }

func TestDumpStopsWithItsVisitor(t *testing.T) {
	disk := build(t, manySegments(t))
	stop := errors.New("enough")
	for name, v := range map[string]Visitor{
		"votes":   {Votes: func(VotesInfo) error { return stop }},
		"segment": {Segment: func(SegmentInfo) error { return stop }},
		"batch":   {Batch: func(BatchInfo) error { return stop }},
		"entry":   {Entry: func(EntryInfo) error { return stop }},
		"end":     {End: func(EndInfo) error { return stop }},
	} {
		if err := Dump(disk, "wal", v); !errors.Is(err, stop) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Dump(disk, "nowhere", Visitor{}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
}
