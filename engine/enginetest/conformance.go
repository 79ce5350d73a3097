// Package enginetest is the contract of package engine as tests, which every engine passes.
package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/balsadb/balsa/engine"
	"pgregory.net/rapid"
)

// Disk is what an engine leaves behind.
type Disk interface {
	// Open opens the engine on the disk.
	Open() (engine.Engine, error)
	// Crash returns the disk as it is after a power cut now. The engine that is open is of no use afterwards.
	Crash() Disk
	// OpenCheckpoint opens what Checkpoint wrote.
	OpenCheckpoint(dir string) (engine.Engine, error)
}

// Options says what an engine may do.
type Options struct {
	// FlushesItself is set where the engine may flush though nobody asked.
	FlushesItself bool
}

// Run runs all of the contract's tests. newDisk makes an empty disk.
func Run(t *testing.T, newDisk func() Disk, options Options) {
	t.Run("Twin", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { checkTwin(t, newDisk(), options) })
	})
	t.Run("SnapshotAndIteratorDoNotChange", func(t *testing.T) { testSnapshot(t, newDisk()) })
	t.Run("BatchIsAtomicAndReusable", func(t *testing.T) { testBatch(t, newDisk()) })
	t.Run("NextPrefixStepsOverVersions", func(t *testing.T) { testNextPrefix(t, newDisk()) })
	t.Run("LargeBatch", func(t *testing.T) { testLargeBatch(t, newDisk()) })
	t.Run("Checkpoint", func(t *testing.T) { testCheckpoint(t, newDisk()) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, newDisk()) })
	t.Run("ReadersDuringApply", func(t *testing.T) { testReadersDuringApply(t, newDisk()) })
}

func mustOpen(t testing.TB, disk Disk) engine.Engine {
	t.Helper()
	e, err := disk.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// apply applies one batch, which change fills.
func apply(t testing.TB, e engine.Engine, change func(engine.Batch)) {
	t.Helper()
	b := e.NewBatch()
	change(b)
	if err := errors.Join(e.Apply(b), b.Close()); err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, e engine.Engine, key, value string) {
	t.Helper()
	apply(t, e, func(b engine.Batch) { b.Set([]byte(key), []byte(value)) })
}

// dump returns all keys and values of a reader.
func dump(t testing.TB, r engine.Reader) string {
	t.Helper()
	i, err := r.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var text bytes.Buffer
	for ok := i.First(); ok; ok = i.Next() {
		fmt.Fprintf(&text, "%s=%s;", i.Key(), i.Value())
	}
	if err := i.Error(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func want(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func testSnapshot(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	set(t, e, "a", "1")
	snapshot := e.NewSnapshot()
	defer snapshot.Close()
	iterator, err := e.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer iterator.Close()
	set(t, e, "a", "2")
	set(t, e, "b", "2")
	want(t, dump(t, snapshot), "a=1;")
	want(t, dump(t, e), "a=2;b=2;")
	if !iterator.First() || string(iterator.Value()) != "1" || iterator.Next() {
		t.Fatal("the iterator saw a later batch")
	}
	if _, err := snapshot.Get([]byte("b")); !errors.Is(err, engine.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
}

func testBatch(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	b := e.NewBatch()
	defer b.Close()
	key, value := []byte("k"), []byte("v")
	b.Set(key, value)
	key[0], value[0] = 'x', 'x' // the batch has copies
	b.Set([]byte("gone"), nil)
	b.Delete([]byte("gone"))
	b.Set([]byte("r1"), nil)
	b.Set([]byte("r2"), nil)
	b.DeleteRange([]byte("r"), []byte("s"))
	b.Set([]byte("r1"), []byte("later wins"))
	want(t, dump(t, e), "")
	if err := e.Apply(b); err != nil {
		t.Fatal(err)
	}
	want(t, dump(t, e), "k=v;r1=later wins;")
	if b.Reset(); b.Size() > 64 {
		t.Fatalf("an empty batch has %d bytes", b.Size())
	}
	b.Set([]byte("second"), []byte("life"))
	if err := e.Apply(b); err != nil {
		t.Fatal(err)
	}
	want(t, dump(t, e), "k=v;r1=later wins;second=life;")
}

// testNextPrefix steps from name to name, each with several versions that were written more than once.
func testNextPrefix(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	key := func(name string, version byte) []byte {
		return append(engine.AppendName(engine.AppendHeader(nil, 1, engine.Versioned), []byte(name)), version)
	}
	for range 3 {
		for _, name := range []string{"a", "a\x00", "ab", "b"} {
			for version := range byte(3) {
				apply(t, e, func(b engine.Batch) { b.Set(key(name, version), []byte(name)) })
			}
		}
	}
	i, err := e.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for steps := range 3 {
		var names []string
		for ok := i.First(); ok; ok = i.NextPrefix() {
			names = append(names, string(i.Value()))
			for range steps {
				i.Next()
			}
		}
		want(t, fmt.Sprintf("%q", names), `["a" "a\x00" "ab" "b"]`)
	}
	if i.SeekPrefixGE(key("a", 1)); string(i.Key()) != string(key("a", 1)) || !i.Next() || i.Next() {
		t.Fatal("SeekPrefixGE left its prefix")
	}
	if i.SeekPrefixGE(key("aa", 0)) {
		t.Fatalf("SeekPrefixGE found %q", i.Key())
	}
}

// testLargeBatch applies a batch that is larger than what an engine may keep in memory.
func testLargeBatch(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	set(t, e, "a", "1")
	large := bytes.Repeat([]byte("x"), 1<<20)
	apply(t, e, func(b engine.Batch) {
		for i := range 24 {
			b.Set(fmt.Appendf(nil, "large%02d", i), large)
		}
		b.Set([]byte("a"), []byte("2"))
	})
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, disk.Crash())
	for i := range 24 {
		if value, err := e.Get(fmt.Appendf(nil, "large%02d", i)); err != nil || !bytes.Equal(value, large) {
			t.Fatalf("value %d: %d bytes, %v", i, len(value), err)
		}
	}
	if value, err := e.Get([]byte("a")); err != nil || string(value) != "2" {
		t.Fatalf("got %q, %v", value, err)
	}
}

func testCheckpoint(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	set(t, e, "a", "1")
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	set(t, e, "a", "2")
	if err := e.Checkpoint("checkpoint"); err != nil {
		t.Fatal(err)
	}
	if err := e.Checkpoint("checkpoint"); err == nil {
		t.Fatal("a second checkpoint into the same directory was not refused")
	}
	copied, err := disk.OpenCheckpoint("checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	want(t, dump(t, copied), "a=1;") // the durable state, not the current one
	set(t, copied, "a", "3")
	want(t, dump(t, e), "a=2;")
}

func testClosed(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	b := e.NewBatch()
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := e.Get([]byte("a"))
	_, durable := e.Durable().Get([]byte("a"))
	_, iterator := e.NewIterator(nil, nil)
	snapshot := e.NewSnapshot()
	_, snapshotErr := snapshot.Get([]byte("a"))
	for i, err := range []error{err, durable, iterator, snapshotErr, e.Apply(b), e.Flush(), e.Checkpoint("x")} {
		if !errors.Is(err, engine.ErrClosed) {
			t.Fatalf("call %d: got %v, want ErrClosed", i, err)
		}
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
}

// testReadersDuringApply reads while batches are applied: each batch sets two keys to the same value.
func testReadersDuringApply(t *testing.T, disk Disk) {
	e := mustOpen(t, disk)
	write := func(n int) {
		apply(t, e, func(b engine.Batch) {
			b.Set([]byte("a"), fmt.Append(nil, n))
			b.Set([]byte("b"), fmt.Append(nil, n))
		})
	}
	write(0)
	stop, failed := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			i, err := e.NewIterator(nil, nil)
			if err != nil {
				failed <- err.Error()
				return
			}
			i.First()
			a := string(i.Value())
			i.Next()
			b := string(i.Value())
			_ = i.Close()
			if a != b {
				failed <- fmt.Sprintf("half of a batch was seen: %s and %s", a, b)
				return
			}
		}
	}()
	for n := range 2000 {
		write(n)
		if n%500 == 0 {
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	if reason, bad := <-failed; bad {
		t.Fatal(reason)
	}
}
