package pebble_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/enginetest"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// homeDisk is a disk with a home in the directory "state".
type homeDisk struct {
	fs      *vfs.MemFS
	options pebble.Options
}

func (d *homeDisk) Home() engine.Home {
	options := d.options
	options.FS = d.fs
	return pebble.NewHome("state", options)
}

func (d *homeDisk) Crash() enginetest.HomeDisk {
	return &homeDisk{d.fs.CrashClone(vfs.CrashCloneCfg{}), d.options}
}

// legacyDisk returns a disk with an engine directly in its directory, as builds before homes made it.
func legacyDisk(t *testing.T) *vfs.MemFS {
	fs := vfs.NewCrashableMem()
	e := open(t, pebble.Options{FS: fs})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

var small = pebble.Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20}

func TestHomeConforms(t *testing.T) {
	for name, c := range map[string]struct {
		options pebble.Options
		flushes bool
		disk    func(*testing.T) *vfs.MemFS
	}{
		"new":           {small, true, func(*testing.T) *vfs.MemFS { return vfs.NewCrashableMem() }},
		"legacy":        {small, true, legacyDisk},
		"deterministic": {pebble.Options{Deterministic: true, MemTableBytes: 1 << 20}, false, func(*testing.T) *vfs.MemFS { return vfs.NewCrashableMem() }},
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.RunHome(t, func() enginetest.HomeDisk { return &homeDisk{c.disk(t), c.options} },
				enginetest.Options{FlushesItself: c.flushes})
		})
	}
}

// turn is one replacement of a state of 3 batches by one of 200, in an existing home, and what a restart may find.
type turn struct {
	home *pebble.Home
	old  engine.Engine
	err  error // of Begin, loading or Commit
}

// replace runs the turn up to its end or its first error. The old engine is closed at the end, as its last reader would.
func (w *turn) replace() {
	next, err := w.home.Begin()
	if err != nil {
		w.err = err
		return
	}
	for i := range 200 {
		if w.err = setKey(next, fmt.Sprintf("new%03d", i), strings.Repeat("x", 1000)); w.err != nil {
			break
		}
	}
	if w.err == nil {
		w.err = w.home.Commit(next)
	}
	if w.err != nil {
		_ = w.home.Abort(next)
		return
	}
	_ = w.old.Close()
}

// startTurn opens the home on a disk and makes its state old and durable.
func startTurn(t *testing.T, fs vfs.FS) *turn {
	t.Helper()
	options := small
	options.FS = fs
	w := &turn{home: pebble.NewHome("state", options)}
	var err error
	if w.old, err = w.home.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := setKey(w.old, fmt.Sprintf("old%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.old.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

// whichState opens the home on a disk and returns which of the two states it holds. It must be all of it, and nothing
// may be left of the other.
func whichState(t *testing.T, fs *vfs.MemFS) string {
	t.Helper()
	options := small
	options.FS = fs
	home := pebble.NewHome("state", options)
	e, err := home.Open()
	if err != nil {
		t.Fatalf("%v\n%s", err, fs)
	}
	defer home.Close()
	i, err := e.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	counts := map[string]int{}
	for ok := i.First(); ok; ok = i.Next() {
		counts[string(i.Key()[:3])]++
	}
	if err := i.Error(); err != nil {
		t.Fatal(err)
	}
	checkOneState(t, fs)
	switch {
	case counts["old"] == 3 && counts["new"] == 0:
		return "old"
	case counts["old"] == 0 && counts["new"] == 200:
		return "new"
	}
	t.Fatalf("a restart finds a part: %v", counts)
	return ""
}

// checkOneState makes sure that a home's directory holds one state and nothing of another.
func checkOneState(t *testing.T, fs *vfs.MemFS) {
	t.Helper()
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	states, direct := 0, 0
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "0000") && len(name) == 16:
			states++
		case strings.HasPrefix(name, "MANIFEST"):
			direct = 1
		}
	}
	if states+direct != 1 {
		t.Fatalf("there is not one state: %q", names)
	}
}

// stepFS counts changes of a disk, and calls a function before each.
func stepFS(base vfs.FS, step func(op errorfs.Op) error) vfs.FS {
	return errorfs.Wrap(base, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		return step(op)
	}))
}

// disks are the homes that a turn starts from: a new one, and an engine as builds without homes left it.
func disks(t *testing.T) map[string]func() *vfs.MemFS {
	return map[string]func() *vfs.MemFS{
		"new":    vfs.NewCrashableMem,
		"legacy": func() *vfs.MemFS { return legacyDisk(t) },
	}
}

// TestE27PowerCutInAnyStepOfAChange cuts the power before every change of the disk while a new engine is begun, loaded,
// committed, and the former one removed; unsynced blocks and names are lost all, some or none. A restart finds one of
// the two states, whole, and the new one once Commit has returned.
func TestE27PowerCutInAnyStepOfAChange(t *testing.T) {
	for name, disk := range disks(t) {
		t.Run(name, func(t *testing.T) {
			fs := disk()
			var mu sync.Mutex
			var cuts []*vfs.MemFS
			recording := false
			w := startTurn(t, stepFS(fs, func(errorfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if recording {
					random := rand.New(rand.NewPCG(uint64(len(cuts)), 27))
					for _, percent := range []int{0, 50, 100} {
						cuts = append(cuts, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random}))
					}
				}
				return nil
			}))
			record := func(on bool) {
				mu.Lock()
				defer mu.Unlock()
				recording = on
			}
			record(true)
			w.replace()
			record(false)
			if w.err != nil {
				t.Fatal(w.err)
			}
			checkOneState(t, fs) // the former one went with its last user
			committed := fs.CrashClone(vfs.CrashCloneCfg{})
			if err := w.home.Close(); err != nil {
				t.Fatal(err)
			}
			if found := whichState(t, committed); found != "new" {
				t.Fatalf("after Commit a restart finds the %s state", found)
			}
			seen := map[string]int{}
			for _, cut := range cuts {
				seen[whichState(t, cut)]++
			}
			if seen["old"] < 30 || seen["new"] < 3 {
				t.Fatalf("%v: too few cuts on one side", seen)
			}
		})
	}
}

// TestBrokenDiskLeavesTheFormerState breaks the disk at every change while a new engine takes the place of the old, for
// good or for that one change. Unless the change succeeds the old engine is still there for readers, and a restart finds
// it; where Commit does not know, it says so, and a restart finds one of the two.
func TestBrokenDiskLeavesTheFormerState(t *testing.T) {
	for name, disk := range disks(t) {
		t.Run(name, func(t *testing.T) {
			outcomes := map[string]int{}
			run := func(breaks func(op errorfs.Op) bool) {
				fs := disk()
				var armed atomic.Bool
				w := startTurn(t, stepFS(fs, func(op errorfs.Op) error {
					if armed.Load() && breaks(op) {
						return errDisk
					}
					return nil
				}))
				armed.Store(true)
				w.replace()
				armed.Store(false)
				outcomes[w.outcome(t, fs)]++
			}
			for _, forGood := range []bool{false, true} {
				for breakAt, done := int64(1), false; !done; breakAt++ {
					var steps atomic.Int64
					run(func(op errorfs.Op) bool {
						if op.Kind == errorfs.OpRemove {
							return false // Pebble removes files when it likes, which would shift the count
						}
						n := steps.Add(1)
						return n == breakAt || forGood && n > breakAt
					})
					done = steps.Load() < breakAt
				}
			}
			// The two steps that decide, whatever Pebble does in the background meanwhile.
			var renamed atomic.Bool
			run(decides)
			run(func(op errorfs.Op) bool {
				after := renamed.Load()
				renamed.Store(after || decides(op))
				return after && op.Kind == errorfs.OpFileSync && op.Path == "state"
			})
			for _, outcome := range []string{"old", "new", "uncertain: old after a power cut, old after a restart",
				"uncertain: old after a power cut, new after a restart"} {
				if outcomes[outcome] == 0 {
					t.Errorf("nothing ended with %q: %v", outcome, outcomes)
				}
			}
		})
	}
}

// decides reports whether an operation is the one that makes the new engine current.
func decides(op errorfs.Op) bool {
	return op.Kind == errorfs.OpRename && op.Path == "state/BALSA-ENGINE.new"
}

// TestFormerStateCannotBeRemoved lets no file be removed: the change succeeds all the same, and the next start removes
// what is left.
func TestFormerStateCannotBeRemoved(t *testing.T) {
	for name, disk := range disks(t) {
		t.Run(name, func(t *testing.T) {
			fs := disk()
			var broken atomic.Bool
			w := startTurn(t, stepFS(fs, func(op errorfs.Op) error {
				if broken.Load() && (op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll) {
					return errDisk
				}
				return nil
			}))
			broken.Store(true)
			w.replace()
			if outcome := w.outcome(t, fs); outcome != "new" {
				t.Fatal(outcome, w.err)
			}
		})
	}
}

// outcome compares what the turn said with what is there.
func (w *turn) outcome(t *testing.T, fs *vfs.MemFS) string {
	t.Helper()
	if w.err != nil {
		if value, err := w.old.Get([]byte("old1")); err != nil || string(value) != "x" {
			t.Fatalf("the change failed (%v), and the old state answers %q, %v", w.err, value, err)
		}
	}
	_ = w.home.Close()
	uncertain := errors.Is(w.err, engine.ErrUncertain)
	cut := whichState(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	found := whichState(t, fs) // a restart of the process alone
	switch {
	case uncertain:
		return fmt.Sprintf("uncertain: %s after a power cut, %s after a restart", cut, found)
	case cut != found:
	case w.err == nil && found == "new":
		return "new"
	case w.err != nil && found == "old":
		return "old"
	}
	t.Fatalf("the change ended with %v; a restart finds the %s state, after a power cut the %s one", w.err, found, cut)
	return ""
}

// TestHomeRefuses gives a home of a later format, whose line has its checksum: it is refused with a sentence that says why, and stays as it
// was. A build that knows no homes refuses homes too.
func TestHomeRefuses(t *testing.T) {
	fs := turnedHome(t)
	if _, err := pebble.Open("state", pebble.Options{FS: fs}); err == nil {
		t.Fatal("a home was opened as an engine")
	}
	rewrite(t, fs, "state/BALSA-ENGINE", func(s string) string {
		text := strings.Replace(s[:strings.Index(s, "checksum")], "format 2", "format 3", 1)
		return fmt.Sprintf("%schecksum %08x\n", text, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
	})
	before := fs.String()
	home := pebble.NewHome("state", pebble.Options{FS: fs})
	defer home.Close()
	_, err := home.Open()
	if want := `has the format "balsa engine format 3", this build reads "balsa engine format 2"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
	if errors.Is(err, engine.ErrDamaged) {
		t.Errorf("a later format is taken for damage: %v", err)
	}
	if after := fs.String(); after != before {
		t.Errorf("the directory was changed from\n%s\nto\n%s", before, after)
	}
}

// turnedHome returns a disk with a home in "state" whose current engine is the second one.
func turnedHome(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	w := startTurn(t, fs)
	if w.replace(); w.err != nil {
		t.Fatal(w.err)
	}
	if err := w.home.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

// TestHomeOfDamagedFiles damages what names the current engine, and what the engine consists of. Where it is certain which state is current
// the home opens; else it says that there is damage, and another engine can be made in the place of what is there.
func TestHomeOfDamagedFiles(t *testing.T) {
	pointing := func(change func(string) string) func(*vfs.MemFS) {
		return func(fs *vfs.MemFS) { rewrite(t, fs, "state/BALSA-ENGINE", change) }
	}
	another := func(fs *vfs.MemFS) { _ = fs.MkdirAll("state/0000000000000007", 0o755) }
	for name, c := range map[string]struct {
		damage func(*vfs.MemFS)
		opens  bool
	}{
		"pointer flipped":          {pointing(func(s string) string { return strings.Replace(s, "0002", "0003", 1) }), true},
		"pointer's format flipped": {pointing(func(s string) string { return strings.Replace(s, "format 2", "format 3", 1) }), true},
		"pointer cut":              {pointing(func(s string) string { return s[:40] }), true},
		"pointer longer":           {pointing(func(s string) string { return s + "x" }), true},
		"pointer missing":          {func(fs *vfs.MemFS) { _ = fs.Remove("state/BALSA-ENGINE") }, true},
		"pointer flipped, and two states": {func(fs *vfs.MemFS) {
			pointing(func(s string) string { return strings.Replace(s, "0002", "0003", 1) })(fs)
			another(fs)
		}, false},
		"pointer missing, and two states": {func(fs *vfs.MemFS) {
			_ = fs.Remove("state/BALSA-ENGINE")
			another(fs)
		}, false},
		"state missing": {func(fs *vfs.MemFS) { _ = fs.RemoveAll("state/0000000000000002") }, false},
		"engine's format flipped": {func(fs *vfs.MemFS) {
			rewrite(t, fs, "state/0000000000000002/BALSA-ENGINE", func(s string) string { return strings.Replace(s, "1", "3", 1) })
		}, true},
		"engine's format missing": {func(fs *vfs.MemFS) { _ = fs.Remove("state/0000000000000002/BALSA-ENGINE") }, false},
		"manifest flipped": {func(fs *vfs.MemFS) {
			rewrite(t, fs, "state/0000000000000002/MANIFEST-000001", func(s string) string { return s[:20] + string(s[20]^1) + s[21:] })
		}, false},
		"options flipped": {func(fs *vfs.MemFS) {
			rewrite(t, fs, "state/0000000000000002/OPTIONS-000003", func(s string) string { return strings.Replace(s, "balsa.engine.v1", "balsa.engine.v0", 1) })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			fs := turnedHome(t)
			c.damage(fs)
			var log bytes.Buffer
			home := pebble.NewHome("state", pebble.Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			e, err := home.Open()
			if c.opens {
				if err != nil {
					t.Fatalf("it does not open: %v", err)
				}
				if value, err := e.Get([]byte("new001")); err != nil || len(value) != 1000 {
					t.Errorf("the current state answers %q, %v", value, err)
				}
				if err := home.Close(); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(log.String(), "it is written again") {
					t.Errorf("nothing was said of it:\n%s", log.String())
				}
				return
			}
			if !errors.Is(err, engine.ErrDamaged) {
				t.Fatalf("got %v, want damage", err)
			}
			replaced(t, fs, home)
		})
	}
}

// replaced gives a home whose current engine is of no use another one, which a restart finds.
func replaced(t *testing.T, fs *vfs.MemFS, home *pebble.Home) {
	t.Helper()
	next, err := home.Begin()
	if err == nil {
		err = errors.Join(setKey(next, "rebuilt", "x"), home.Commit(next), home.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	home = pebble.NewHome("state", pebble.Options{FS: fs})
	e, err := home.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if value, err := e.Get([]byte("rebuilt")); err != nil || string(value) != "x" {
		t.Errorf("the state that replaced the damaged one answers %q, %v", value, err)
	}
	if _, err := e.Get([]byte("new001")); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the damaged state is still there: %v", err)
	}
}

// TestCondemnedState condemns a state that opens: no restart takes it for good, not even where the verdict itself is damaged, until another one
// has taken its place.
func TestCondemnedState(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"sound": func(s string) string { return s }, "flipped": func(s string) string { return strings.Replace(s, "0002", "0003", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := turnedHome(t)
			home := pebble.NewHome("state", pebble.Options{FS: fs})
			if _, err := home.Open(); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(home.Condemn("it differs from\nthe others"), home.Close()); err != nil {
				t.Fatal(err)
			}
			rewrite(t, fs, "state/BALSA-CONDEMNED", damage)
			home = pebble.NewHome("state", pebble.Options{FS: fs})
			if _, err := home.Open(); !errors.Is(err, engine.ErrDamaged) || !strings.Contains(err.Error(), "it differs from the others") {
				t.Fatalf("got %v, want damage with the reason", err)
			}
			replaced(t, fs, home)
		})
	}
}

// TestDamageIsNoFailureOfClosing flips a bit of a table of an engine that is open: who reads it is told, and so is the owner, once. That the
// home closes is no failure then, and what it has is condemned, whether or not somebody came to say so.
func TestDamageIsNoFailureOfClosing(t *testing.T) {
	for _, told := range []bool{true, false} {
		fs := turnedHome(t)
		// Before it is opened: an open engine may have read the block already, for its statistics.
		names, _ := fs.List("state/0000000000000002")
		for _, name := range names {
			if strings.HasSuffix(name, ".sst") {
				rewrite(t, fs, "state/0000000000000002/"+name, func(s string) string { return s[:30] + string(s[30]^1) + s[31:] })
			}
		}
		var damages atomic.Int32
		home := pebble.NewHome("state", pebble.Options{FS: fs, OnDamage: func(error) { damages.Add(1) }})
		e, err := home.Open()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := e.Get([]byte("new001")); !errors.Is(err, engine.ErrDamaged) {
				t.Fatalf("got %v, want damage", err)
			}
		}
		if damages.Load() != 1 {
			t.Errorf("the owner was told %d times", damages.Load())
		}
		if told {
			err = home.Condemn("its owner says so")
		}
		if err := errors.Join(err, home.Close()); err != nil {
			t.Errorf("told %v: the home does not close: %v", told, err)
		}
		if _, err := pebble.NewHome("state", pebble.Options{FS: fs}).Open(); !errors.Is(err, engine.ErrDamaged) || !strings.Contains(err.Error(), "found to be of no use earlier") {
			t.Errorf("told %v: got %v, want that it was condemned", told, err)
		}
	}
}

// rewrite changes the text of a file.
func rewrite(t *testing.T, fs *vfs.MemFS, name string, change func(string) string) {
	t.Helper()
	file, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	made, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = made.Write([]byte(change(string(text))))
	}
	if err = errors.Join(err, made.Close()); err != nil {
		t.Fatal(err)
	}
}
