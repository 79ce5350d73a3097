package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/store"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// steppedFS calls step before each change of a disk, once it is set.
type steppedFS struct {
	vfs.FS
	mu   sync.Mutex
	step func(errorfs.Op) error
}

func newSteppedFS(base vfs.FS) *steppedFS {
	s := &steppedFS{}
	s.FS = errorfs.Wrap(base, errorfs.InjectorFunc(func(op errorfs.Op) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.step == nil || op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		return s.step(op)
	}))
	return s
}

func (s *steppedFS) set(step func(errorfs.Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = step
}

// restoreLog is a history of 400 commands, and a snapshot of its index 300.
func restoreLog(t *testing.T) (*history, []byte) {
	h := newHistory(t, rand.New(rand.NewPCG(11, 27)), 400)
	source := openStore(t, engine.NewMemory())
	h.apply(t, source, 300)
	return h, snapshotOf(t, source)
}

// behind returns a store that has applied up to index 100, all of it durable.
func behind(t *testing.T, h *history, home engine.Home) *store.Store {
	t.Helper()
	s := openHome(t, home)
	h.apply(t, s, 100)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestE27PowerCutDuringRestore cuts the power before every change of the disk while a snapshot is restored: what is found is
// the state of index 100 or of index 300, whole, and the log brings it to the end from there.
func TestE27PowerCutDuringRestore(t *testing.T) {
	h, text := restoreLog(t)
	base := vfs.NewCrashableMem()
	fs := newSteppedFS(base)
	s := behind(t, h, pebbleHome(fs))
	var cuts []*vfs.MemFS
	random := rand.New(rand.NewPCG(27, 27))
	fs.set(func(errorfs.Op) error {
		cuts = append(cuts, base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random}))
		return nil
	})
	if err := s.Restore(at(300), bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	fs.set(nil)
	cuts = append(cuts, base.CrashClone(vfs.CrashCloneCfg{}))
	found := map[balsa.Index]int{}
	for i, cut := range cuts {
		home := pebbleHome(cut)
		s := openHome(t, home)
		index := h.check(t, s)
		found[index]++
		if last := i == len(cuts)-1; index != 100 && index != 300 || last && index != 300 {
			t.Fatalf("cut %d of %d: index %d", i, len(cuts), index)
		}
		h.apply(t, s, 400)
		h.check(t, s)
		if err := home.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found[100] < 20 || found[300] < 2 {
		t.Fatalf("too few cuts on one side: %v", found)
	}
}

var errDisk = errors.New("the disk is broken")

// TestBrokenDiskDuringRestore fails each change of the disk while a snapshot is restored. The state is what it was, and goes on
// from there; but where nobody knows what a restart would find, nothing is applied any more, and a restart finds one of the two.
func TestBrokenDiskDuringRestore(t *testing.T) {
	h, text := restoreLog(t)
	outcomes := map[string]int{}
	for breakAt, done := 1, false; !done; breakAt++ {
		n := 0
		outcome := restoreOnBrokenDisk(t, h, text, func(op errorfs.Op) bool {
			if op.Kind == errorfs.OpRemove {
				return false // Pebble removes files when it likes, which would shift the count
			}
			n++
			return n == breakAt
		})
		done = n < breakAt
		outcomes[outcome]++
	}
	// The step that decides, whatever Pebble does in the background meanwhile.
	outcome := restoreOnBrokenDisk(t, h, text, func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpRename && op.Path == "state/BALSA-ENGINE.new"
	})
	if outcome != "uncertain" || outcomes["refused"] < 20 || outcomes["restored"] < 1 {
		t.Fatalf("%v, then %s", outcomes, outcome)
	}
}

// restoreOnBrokenDisk restores while some changes of the disk fail, and returns how that ended: restored, refused or
// uncertain.
func restoreOnBrokenDisk(t *testing.T, h *history, text []byte, breaks func(errorfs.Op) bool) string {
	t.Helper()
	base := vfs.NewCrashableMem()
	fs := newSteppedFS(base)
	home := pebbleHome(fs)
	s := behind(t, h, home)
	fs.set(func(op errorfs.Op) error {
		if breaks(op) {
			return errDisk
		}
		return nil
	})
	err := s.Restore(at(300), bytes.NewReader(text))
	fs.set(nil)
	outcome, want := "restored", balsa.Index(300)
	if err != nil {
		outcome, want = "refused", 100
	}
	if index := h.check(t, s); index != want {
		t.Fatalf("Restore says %v, and the state is at index %d", err, index)
	}
	if errors.Is(err, engine.ErrUncertain) {
		outcome = "uncertain"
		if err := s.Apply(&balsa.Batch{Position: at(101)}); !errors.Is(err, engine.ErrUncertain) {
			t.Fatalf("what may be lost was written: %v", err)
		}
	} else if err != nil {
		h.apply(t, s, 200)
		if again := s.Restore(at(300), bytes.NewReader(text)); again != nil {
			t.Fatalf("after %v the second try ends with %v", err, again)
		}
	}
	_ = home.Close()
	s = openHome(t, pebbleHome(base))
	if index := h.check(t, s); index != 300 && !(index == 100 && outcome == "uncertain") {
		t.Fatalf("%s (%v), and a restart finds index %d", outcome, err, index)
	}
	h.apply(t, s, 400)
	h.check(t, s)
	return outcome
}
