package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/balsadb/balsa/vfs"
)

func seeded(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, 1)).Uint64 }

func TestPowerCutLosesWhatWasNotSynced(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d"))
	kept := create(t, disk, "d/kept", "old")
	must(t, kept.Sync())
	must(t, disk.SyncDir("d"))
	_, err := kept.WriteAt([]byte("new"), 0)
	must(t, err)
	lost := create(t, disk, "d/lost", "synced, but its name is not")
	must(t, lost.Sync())

	after := disk.PowerCut(nil)
	list(t, after, "d", "kept")
	if got := contents(t, after, "d/kept"); got != "old" {
		t.Fatalf("%q", got)
	}
	if _, err := kept.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrPowerOff) {
		t.Fatal(err)
	}
	if _, err := disk.List("d"); !errors.Is(err, vfs.ErrPowerOff) {
		t.Fatal(err)
	}
}

func TestKillLosesNothingAndMakesNothingDurable(t *testing.T) {
	disk := vfs.NewMem()
	create(t, disk, "f", "written")
	lock, err := disk.Lock("LOCK")
	must(t, err)
	next := disk.Kill()
	if got := contents(t, next, "f"); got != "written" {
		t.Fatalf("%q", got)
	}
	lock2, err := next.Lock("LOCK")
	must(t, err)
	must(t, lock2.Close())
	must(t, lock.Close())
	list(t, next.PowerCut(nil), ".")
}

// What a power cut leaves of a file of two versions of eight sectors must be, sector by sector, one of the
// versions; and the seeds between them must show: all lost, all kept, torn in order, and out of order.
func TestPowerCutTearsAndReorders(t *testing.T) {
	const sectors = 8
	seen := map[string]int{}
	for seed := range uint64(400) {
		disk := vfs.NewMem()
		file := create(t, disk, "f", strings.Repeat("0", sectors*vfs.SectorSize))
		must(t, file.Sync())
		must(t, disk.SyncDir("."))
		for i := range sectors {
			_, err := file.WriteAt(bytes.Repeat([]byte("1"), vfs.SectorSize), int64(i*vfs.SectorSize))
			must(t, err)
		}
		got := contents(t, disk.PowerCut(seeded(seed)), "f")
		pattern := ""
		for i := range sectors {
			s := got[i*vfs.SectorSize : (i+1)*vfs.SectorSize]
			if strings.Trim(s, s[:1]) != "" {
				t.Fatalf("seed %d: sector %d is torn", seed, i)
			}
			pattern += s[:1]
		}
		switch {
		case pattern == "00000000":
			seen["lost"]++
		case pattern == "11111111":
			seen["kept"]++
		case strings.Contains(pattern, "01"):
			seen["reordered"]++
		default:
			seen["in order"]++
		}
	}
	for _, kind := range []string{"lost", "kept", "reordered", "in order"} {
		if seen[kind] == 0 {
			t.Errorf("no seed shows %q: %v", kind, seen)
		}
	}
}

func TestPowerCutReplays(t *testing.T) {
	run := func() string {
		disk := vfs.NewMem()
		var all string
		for i := range 20 {
			file := create(t, disk, fmt.Sprintf("f%d", i), strings.Repeat("x", i*100))
			if i%3 == 0 {
				must(t, file.Sync())
			}
			if i%7 == 0 {
				must(t, disk.SyncDir("."))
			}
		}
		after := disk.PowerCut(seeded(5))
		names, err := after.List(".")
		must(t, err)
		for _, name := range names {
			all += name + contents(t, after, name)
		}
		return all
	}
	if first, second := run(), run(); first != second {
		t.Fatal("the same seed gives different disks")
	}
}

// A failed sync dooms what it should have covered: readable, and not durable even after a sync that succeeds.
func TestFailedSyncIsFinalForWhatItShouldHaveCovered(t *testing.T) {
	disk := vfs.NewMem()
	file := create(t, disk, "f", "old")
	must(t, file.Sync())
	must(t, disk.SyncDir("."))
	_, err := file.WriteAt([]byte("new"), 0)
	must(t, err)
	disk.OnOp(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			return errors.New("the disk says no")
		}
		return nil
	})
	if err := file.Sync(); err == nil {
		t.Fatal("the sync did not fail")
	}
	disk.OnOp(nil)
	must(t, file.Sync())
	if got := contents(t, disk, "f"); got != "new" {
		t.Fatalf("%q", got)
	}
	if got := contents(t, disk.Clone().PowerCut(nil), "f"); got != "old" {
		t.Fatalf("after the cut: %q", got)
	}
	_, err = file.WriteAt([]byte("new"), 0)
	must(t, err)
	must(t, file.Sync())
	if got := contents(t, disk.PowerCut(nil), "f"); got != "new" {
		t.Fatalf("written again and synced: %q", got)
	}
}

// What a failed Sync should have covered may reach the platter or not, but never on top of what was synced later.
func TestFailedSyncDoesNotComeBack(t *testing.T) {
	for seed := range uint64(50) {
		disk := vfs.NewMem()
		file := create(t, disk, "f", strings.Repeat("old ", 300))
		must(t, disk.SyncDir("."))
		disk.OnOp(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return errors.New("broken")
			}
			return nil
		})
		if file.Sync() == nil {
			t.Fatal("the sync did not fail")
		}
		disk.OnOp(nil)
		want := strings.Repeat("new ", 400)
		_, err := file.WriteAt([]byte(want), 0)
		must(t, err)
		must(t, file.Sync())
		if got := contents(t, disk.PowerCut(seeded(seed)), "f"); got != want {
			t.Fatalf("seed %d: %d bytes, of them %d old", seed, len(got), strings.Count(got, "old "))
		}
	}
}

func TestHookFailsOperations(t *testing.T) {
	disk := vfs.NewMem()
	file := create(t, disk, "f", "")
	var ops []vfs.Op
	disk.OnOp(func(op vfs.Op) error {
		ops = append(ops, op)
		if op.Kind == vfs.OpWrite {
			return &vfs.PartialError{Written: 2, Err: vfs.ErrNoSpace}
		}
		return nil
	})
	n, err := file.WriteAt([]byte("full"), 0)
	if n != 2 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatal(n, err)
	}
	if got := contents(t, disk, "f"); got != "fu" {
		t.Fatalf("%q", got)
	}
	if len(ops) != 1 || ops[0].Name != "f" || ops[0].Size != 4 {
		t.Fatal(ops)
	}
}

func TestIgnoredSyncSavesNothing(t *testing.T) {
	disk := vfs.NewMem()
	disk.IgnoreSync(true)
	file := create(t, disk, "f", "x")
	must(t, file.Sync())
	must(t, disk.SyncDir("."))
	list(t, disk.PowerCut(nil), ".")
}

func TestFlip(t *testing.T) {
	disk := vfs.NewMem()
	file := create(t, disk, "f", "a")
	must(t, disk.SyncDir("."))
	must(t, file.Sync())
	if !disk.Flip("f", 0, 2) || disk.Flip("f", 1, 2) || disk.Flip("g", 0, 2) {
		t.Fatal("wrong about which bytes there are")
	}
	if got := contents(t, disk, "f"); got != "c" {
		t.Fatal(got)
	}
	if got := contents(t, disk.PowerCut(nil), "f"); got != "c" {
		t.Fatal(got)
	}
}

// Killing a process whose files are Unsynced is a power cut: what the files below hold is what was synced.
func TestUnsyncedHoldsBack(t *testing.T) {
	below := vfs.NewMem()
	disk := vfs.NewUnsynced(below)
	must(t, disk.MkdirAll("d"))
	file := create(t, disk, "d/f", strings.Repeat("1", 10000))
	list(t, disk, "d", "f")
	list(t, vfs.NewUnsynced(below.Clone()), "d")
	must(t, file.Sync())
	list(t, vfs.NewUnsynced(below.Clone()), "d")
	must(t, disk.SyncDir("d"))
	_, err := file.WriteAt([]byte("22"), 4095)
	must(t, err)
	must(t, disk.Rename("d/f", "d/g"))

	if got := contents(t, below, "d/f"); got != strings.Repeat("1", 10000) {
		t.Fatalf("below: %q", got)
	}
	if got := contents(t, disk, "d/g"); got[4094:4098] != "1221" {
		t.Fatalf("above: %q", got[4090:4100])
	}
	disk.IgnoreSync(true)
	must(t, file.Sync())
	must(t, disk.SyncDir("d"))
	list(t, below, "d", "f")
	disk.IgnoreSync(false)
	must(t, file.Sync())
	must(t, disk.SyncDir("d"))
	if got := contents(t, below, "d/g"); got[4094:4098] != "1221" {
		t.Fatalf("below, after the sync: %q", got[4090:4100])
	}
}
