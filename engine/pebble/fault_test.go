package pebble_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	crdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var errDisk = errors.New("the disk is broken")

// brokenFS fails every operation that breaks says, once broken is set, and counts the changes that still come.
type brokenFS struct {
	vfs.FS
	broken  atomic.Bool
	changes atomic.Int64
}

func newBrokenFS(base vfs.FS, breaks func(errorfs.Op) bool) *brokenFS {
	b := &brokenFS{}
	b.FS = errorfs.Wrap(base, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !b.broken.Load() || op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		b.changes.Add(1)
		if breaks(op) {
			return errDisk
		}
		return nil
	}))
	return b
}

func open(t *testing.T, options pebble.Options) *pebble.Engine {
	t.Helper()
	e, err := pebble.Open("state", options)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func setKey(e engine.Engine, key, value string) error {
	b := e.NewBatch()
	b.Set([]byte(key), []byte(value))
	return errors.Join(e.Apply(b), b.Close())
}

// TestE45FailedSyncEndsTheUseOfTheDirectory breaks syncs, then writes, then the creation of files: the flush that
// meets it says so, so does every later call, nothing is written any more, the process lives, and what was
// durable before is found by a restart.
func TestE45FailedSyncEndsTheUseOfTheDirectory(t *testing.T) {
	for name, breaks := range map[string]func(errorfs.Op) bool{
		"sync": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		},
		"sync of the manifest": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync && strings.Contains(op.Path, "MANIFEST")
		},
		"sync of the directory": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && op.Path == "state" },
		"write":                 func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
		"create":                func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate },
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs := newBrokenFS(mem, breaks)
			e := open(t, pebble.Options{FS: fs})
			if err := errors.Join(setKey(e, "a", "1"), e.Flush()); err != nil {
				t.Fatal(err)
			}
			if err := setKey(e, "a", "2"); err != nil {
				t.Fatal(err)
			}
			fs.broken.Store(true)
			if err := e.Flush(); !errors.Is(err, engine.ErrFailed) || !errors.Is(err, errDisk) {
				t.Fatalf("a flush on a broken disk says %v", err)
			}
			after := fs.changes.Load()
			_, get := e.Get([]byte("a"))
			_, durable := e.Durable().Get([]byte("a"))
			for i, err := range []error{get, durable, setKey(e, "b", "1"), e.Flush(), e.Checkpoint("x")} {
				if !errors.Is(err, engine.ErrFailed) {
					t.Errorf("call %d on a failed engine says %v", i, err)
				}
			}
			for range 1000 {
				runtime.Gosched() // whoever would try again has his turn
			}
			if now := fs.changes.Load(); now > after+1 { // one may have been under way
				t.Errorf("%d changes of the directory after the failure", now-after)
			}
			if err := e.Close(); !errors.Is(err, engine.ErrFailed) {
				t.Errorf("closing a failed engine says %v", err)
			}
			e = open(t, pebble.Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			defer e.Close()
			if value, err := e.Get([]byte("a")); err != nil || string(value) != "1" {
				t.Errorf("after a restart: %q, %v, want what was durable: 1", value, err)
			}
		})
	}
}

// TestWriterIsWokenByFailure fills the memtables while no flush can end, until the writer waits. Then the disk
// breaks: the writer must be told, not hang.
func TestWriterIsWokenByFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan struct{})
		fs := newBrokenFS(vfs.NewMem(), func(op errorfs.Op) bool {
			if op.Kind != errorfs.OpCreate {
				return false
			}
			<-fail
			return true
		})
		e := open(t, pebble.Options{FS: fs, MemTableBytes: 1 << 20})
		defer e.Close()
		fs.broken.Store(true)
		var failure error
		written := 0
		go func() {
			value := strings.Repeat("x", 100<<10)
			for failure == nil {
				failure = setKey(e, fmt.Sprint(written), value)
				written++
			}
		}()
		synctest.Wait()
		if failure != nil || written < 10 {
			t.Fatalf("after %d batches the writer does not wait: %v", written, failure)
		}
		close(fail)
		synctest.Wait()
		if !errors.Is(failure, engine.ErrFailed) {
			t.Fatalf("the disk broke, and the writer knows %v", failure)
		}
	})
}

// TestCrashLeavesAPrefix cuts the power at random moments of a run with flushes and compactions of Pebble's own,
// where unsynced blocks and names survive at random. Whatever is left is a prefix of the batches, not older than the
// last Flush that returned.
func TestCrashLeavesAPrefix(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 45))
		fs := vfs.NewCrashableMem()
		batches, durable := 0, 0
		for life := range 4 {
			e, err := pebble.Open("state", pebble.Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
			if err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			found := prefixLength(t, e)
			if found < durable || found > batches {
				t.Fatalf("seed %d, life %d: %d batches were found, %d were flushed, %d written",
					seed, life, found, durable, batches)
			}
			for batches, durable = found, found; random.IntN(60) > 0; batches++ {
				if err := applyNumbered(e, batches, random); err != nil {
					t.Fatal(err)
				}
				if random.IntN(20) == 0 {
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
					durable = batches + 1
				}
			}
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
			_ = e.Close()
		}
	}
}

// applyNumbered applies batch number n: it sets "count" and a cell of a small table, both to n.
func applyNumbered(e engine.Engine, n int, random *rand.Rand) error {
	b := e.NewBatch()
	b.Set([]byte("count"), fmt.Append(nil, n+1))
	b.Set(fmt.Appendf(nil, "cell%d", n%7), fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", random.IntN(20<<10))))
	return errors.Join(e.Apply(b), b.Close())
}

// prefixLength returns how many numbered batches the engine holds, and checks that each is there whole.
func prefixLength(t *testing.T, e engine.Engine) int {
	t.Helper()
	value, err := e.Get([]byte("count"))
	if errors.Is(err, engine.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if _, err := fmt.Sscan(string(value), &count); err != nil {
		t.Fatal(err)
	}
	for n := max(0, count-7); n < count; n++ {
		value, err := e.Get(fmt.Appendf(nil, "cell%d", n%7))
		if err != nil || !strings.HasPrefix(string(value), fmt.Sprintf("%d ", n)) {
			t.Fatalf("of %d batches the one with number %d is not there: %.20q, %v", count, n, value, err)
		}
	}
	return count
}

// TestRefusesForeignDirectories gives directories that are not ours, or not of this format: they are refused with
// a sentence that says why, and stay as they were.
func TestRefusesForeignDirectories(t *testing.T) {
	foreign := vfs.NewMem()
	db, err := crdb.Open("state", &crdb.Options{FS: foreign, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	newer := vfs.NewMem()
	e := open(t, pebble.Options{FS: newer})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := newer.Create("state/BALSA-ENGINE", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte("balsa engine format 2\n")); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	for want, fs := range map[string]*vfs.MemFS{
		"holds a database that balsa did not make":                           foreign,
		`the format "balsa engine format 2", this build reads "balsa engine`: newer,
	} {
		before := fs.String()
		if _, err := pebble.Open("state", pebble.Options{FS: fs}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
		if after := fs.String(); after != before {
			t.Errorf("the directory was changed from\n%s\nto\n%s", before, after)
		}
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}
