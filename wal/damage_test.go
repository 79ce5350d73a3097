package wal

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/balsadb/balsa/vfs"
)

// build runs a log on a new disk and kills the process: what was written is there, whether it was synced or not.
func build(t testing.TB, run func(l *Log)) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	l, _, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	run(l)
	return disk.Kill()
}

// image is every file of a disk, as one reads it.
func image(t testing.TB, disk vfs.FS) map[string]string {
	t.Helper()
	names, err := disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		files[name] = string(contents(t, disk, "wal/"+name))
	}
	return files
}

func contents(t testing.TB, disk vfs.FS, name string) []byte {
	t.Helper()
	file, err := disk.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

// overwrite puts bytes into a file, durably.
func overwrite(t testing.TB, disk vfs.FS, name string, off int64, b []byte) {
	t.Helper()
	file, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, disk vfs.FS, name string) {
	t.Helper()
	if err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir("wal"); err != nil {
		t.Fatal(err)
	}
}

// dumped is what Dump tells, in lists.
type dumped struct {
	votes    []VotesInfo
	segments []SegmentInfo
	batches  []BatchInfo
	entries  []EntryInfo
	bad      []BadInfo
	end      EndInfo
}

func dump(t testing.TB, disk vfs.FS) (d dumped) {
	t.Helper()
	err := Dump(disk, "wal", Visitor{
		Votes:   func(i VotesInfo) error { d.votes = append(d.votes, i); return nil },
		Segment: func(i SegmentInfo) error { d.segments = append(d.segments, i); return nil },
		Batch:   func(i BatchInfo) error { d.batches = append(d.batches, i); return nil },
		Entry: func(i EntryInfo) error {
			i.Entry = append([]byte(nil), i.Entry...)
			d.entries = append(d.entries, i)
			return nil
		},
		Bad: func(i BadInfo) error { d.bad = append(d.bad, i); return nil },
		End: func(i EndInfo) error { d.end = i; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// record returns the last batch that is not a mark.
func (d dumped) record(t testing.TB) BatchInfo {
	t.Helper()
	for i := len(d.batches) - 1; i >= 0; i-- {
		if !d.batches[i].IsMark {
			return d.batches[i]
		}
	}
	t.Fatal("there is no batch")
	return BatchInfo{}
}

// refuses opens a damaged log, which must be refused as corrupt with nothing changed, in words that hold all of want.
func refuses(t testing.TB, disk *vfs.Mem, want ...string) *CorruptionError {
	t.Helper()
	before := image(t, disk)
	_, r, err := Open(disk, "wal", powerOptions())
	var corruption *CorruptionError
	if !errors.As(err, &corruption) {
		if r != nil {
			t.Fatalf("not refused but opened as %q", r.Report.Row)
		}
		t.Fatalf("not refused as corrupt: %v", err)
	}
	for name, was := range before {
		if now := string(contents(t, disk, "wal/"+name)); now != was {
			t.Fatalf("a refused log was changed: %s", name)
		}
	}
	if names, _ := disk.List("wal"); len(names) != len(before) {
		t.Fatalf("a refused log was changed: %q", names)
	}
	for _, words := range want {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q: %v", words, err)
		}
	}
	if d := dump(t, disk); d.end.Refused != err.Error() {
		t.Errorf("a dump says %q, a start %q", d.end.Refused, err)
	}
	return corruption
}

// opens opens a log that must be taken as one row of the table says.
func opens(t testing.TB, disk *vfs.Mem, row string) (*Log, *Recovered) {
	t.Helper()
	if d := dump(t, disk); d.end.Row != row {
		t.Errorf("a dump says %q, want %q", d.end.Row, row)
	}
	l, r, err := Open(disk, "wal", powerOptions())
	if err != nil {
		t.Fatal(err)
	}
	if r.Report.Row != row {
		t.Fatalf("recovered as %q, want %q", r.Report.Row, row)
	}
	return l, r
}
