package store_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/store"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func openHome(t *testing.T, home engine.Home) *store.Store {
	t.Helper()
	s, err := store.OpenHome(home, store.Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = home.Close() })
	return s
}

func pebbleHome(fs vfs.FS) engine.Home {
	return pebble.NewHome("state", pebble.Options{FS: fs, MemTableBytes: 64 << 10, CacheBytes: 1 << 20})
}

// snapshotOf returns what a snapshot of the store's current state writes.
func snapshotOf(t *testing.T, s *store.Store) []byte {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	n, err := snapshot.WriteTo(&text)
	if err = errors.Join(err, snapshot.Close()); err != nil || n != int64(text.Len()) {
		t.Fatalf("%d bytes, WriteTo says %d, %v", text.Len(), n, err)
	}
	return text.Bytes()
}

func at(index balsa.Index) balsa.Position { return balsa.Position{Index: index, Term: 1} }

// collectSome removes garbage until n records were gone through, and leaves the rest in the middle.
func collectSome(t *testing.T, s *store.Store, n int) {
	t.Helper()
	if _, err := s.CollectGarbage(n); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotIsRestored takes a snapshot of a store whose garbage is half removed and puts it into an empty store, and
// into one that is behind: both are at the snapshot's index at once and durably, and the rest of the log brings them
// where the first one comes.
func TestSnapshotIsRestored(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(7, 25)), 400)
	source := openStore(t, engine.NewMemory())
	for i := balsa.Index(20); i <= 300; i += 20 {
		h.apply(t, source, i)
		collectSome(t, source, 7)
	}
	text := snapshotOf(t, source)
	collected := collectAll(t, source)
	h.apply(t, source, 400)
	end := collectAll(t, source)
	for _, behind := range []balsa.Index{0, 100, 299} {
		for _, crashed := range []bool{false, true} {
			home := engine.NewMemoryHome()
			s := openHome(t, home)
			h.restoreAndGoOn(t, s, behind, text, collected, end, func() *store.Store {
				if crashed {
					return openHome(t, home.Crash())
				}
				return s
			})
			fs := vfs.NewCrashableMem()
			s = openHome(t, pebbleHome(fs))
			h.restoreAndGoOn(t, s, behind, text, collected, end, func() *store.Store {
				if crashed {
					return openHome(t, pebbleHome(fs.CrashClone(vfs.CrashCloneCfg{})))
				}
				return s
			})
		}
	}
}

// collectAll removes all garbage, and returns what a snapshot writes then.
func collectAll(t *testing.T, s *store.Store) []byte {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = s.CollectGarbage(50); err != nil {
			t.Fatal(err)
		}
	}
	return snapshotOf(t, s)
}

// restoreAndGoOn restores index 300 of 400 in a store that has applied some of the log, and goes on with what then
// returns, to the end, where without garbage every store writes the same.
func (h *history) restoreAndGoOn(
	t *testing.T, s *store.Store, behind balsa.Index, text, collected, end []byte, then func() *store.Store,
) {
	t.Helper()
	h.apply(t, s, behind)
	collectSome(t, s, 11)
	if err := s.Restore(at(300), bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	s = then()
	durable, err := s.Durable()
	if found := h.check(t, s); found != 300 || durable != at(300) || err != nil {
		t.Fatalf("restored over index %d: index %d, durable %v, %v", behind, found, durable, err)
	}
	if again := snapshotOf(t, s); !bytes.Equal(again, text) {
		t.Fatalf("restored over index %d: its own snapshot differs", behind)
	}
	if found := collectAll(t, s); !bytes.Equal(found, collected) {
		t.Fatalf("restored over index %d: without garbage it differs from the first one", behind)
	}
	h.apply(t, s, 400)
	h.check(t, s)
	if found := collectAll(t, s); !bytes.Equal(found, end) {
		t.Fatalf("restored over index %d: at the end it differs from who applied everything", behind)
	}
	h.check(t, s)
}

// TestSnapshotDoesNotChange writes a snapshot after later batches, compactions and the removal of garbage, twice.
func TestSnapshotDoesNotChange(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(8, 25)), 400)
	for name, home := range map[string]engine.Home{"memory": engine.NewMemoryHome(), "pebble": pebbleHome(vfs.NewMem())} {
		s := openHome(t, home)
		h.apply(t, s, 200)
		text := snapshotOf(t, s)
		snapshot, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		h.apply(t, s, 400)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		collectSome(t, s, 1000)
		for range 2 {
			var later bytes.Buffer
			if _, err := snapshot.WriteTo(&later); err != nil || !bytes.Equal(later.Bytes(), text) {
				t.Fatalf("%s: a snapshot of index %d changed, %v", name, snapshot.Position().Index, err)
			}
		}
		if err := errors.Join(snapshot.Close(), snapshot.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := snapshot.WriteTo(&bytes.Buffer{}); err == nil {
			t.Fatal("a closed snapshot was written")
		}
	}
}

// TestE28NewerSnapshotWins restores two snapshots one after the other, then the older one again, which is refused (E25),
// with what the runtime had stored in each.
func TestE28NewerSnapshotWins(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(9, 28)), 200)
	source := openStore(t, engine.NewMemory())
	take := func(index balsa.Index, runtime string) []byte {
		h.apply(t, source, index-1)
		if err := source.Apply(&balsa.Batch{
			Commands: []balsa.Command{{Index: index, Term: 1, Payload: h.log[index-1].Payload()}},
			Position: at(index), Runtime: []byte(runtime),
		}); err != nil {
			t.Fatal(err)
		}
		return snapshotOf(t, source)
	}
	older, newer := take(100, "sessions of 100"), take(150, "sessions of 150")
	home := engine.NewMemoryHome()
	s := openHome(t, home)
	check := func(s *store.Store, index balsa.Index, runtime string) {
		t.Helper()
		kept, err := s.Runtime()
		if found := h.check(t, s); found != index || string(kept) != runtime || err != nil {
			t.Fatalf("index %d with %q, %v", found, kept, err)
		}
	}
	for _, step := range []struct {
		index   balsa.Index
		text    []byte
		runtime string
	}{{100, older, "sessions of 100"}, {150, newer, "sessions of 150"}} {
		if err := s.Restore(at(step.index), bytes.NewReader(step.text)); err != nil {
			t.Fatal(err)
		}
		check(s, step.index, step.runtime)
	}
	for _, index := range []balsa.Index{100, 150} {
		if err := s.Restore(at(index), bytes.NewReader(older)); err == nil {
			t.Fatalf("index %d was restored at 150", index)
		}
	}
	check(s, 150, "sessions of 150")
	check(openHome(t, home.Crash()), 150, "sessions of 150")
}

// TestSharedEngineIsNotReplaced restores where other groups have their state in the same engine.
func TestSharedEngineIsNotReplaced(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(1, 1)), 10)
	s := openStore(t, engine.NewMemory())
	h.apply(t, s, 10)
	text := snapshotOf(t, s)
	s = openStore(t, engine.NewMemory())
	h.apply(t, s, 5)
	if err := s.Restore(at(10), bytes.NewReader(text)); err == nil {
		t.Fatal("it was replaced")
	}
	h.apply(t, s, 10)
	h.check(t, s)
	if err := s.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}
