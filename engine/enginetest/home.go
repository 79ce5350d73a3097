package enginetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/balsadb/balsa/engine"
	"pgregory.net/rapid"
)

// HomeDisk is what a home leaves behind.
type HomeDisk interface {
	// Home returns a home on the disk, which is not opened yet. The one before was closed, or crashed.
	Home() engine.Home
	// Crash returns the disk as it is after a power cut now. The home that is open is of no use afterwards.
	Crash() HomeDisk
}

// RunHome runs all tests of the contract of engine.Home. newDisk makes an empty disk.
func RunHome(t *testing.T, newDisk func() HomeDisk, options Options) {
	t.Run("Twin", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { checkHome(t, newDisk(), options) })
	})
	t.Run("ReadersKeepTheFormerEngine", func(t *testing.T) { testFormerEngine(t, newDisk()) })
	t.Run("CommitFlushes", func(t *testing.T) { testCommitFlushes(t, newDisk()) })
	t.Run("OneAtATime", func(t *testing.T) { testOneAtATime(t, newDisk()) })
}

func openHome(t testing.TB, disk HomeDisk) (engine.Home, engine.Engine) {
	t.Helper()
	home := disk.Home()
	t.Cleanup(func() { _ = home.Close() })
	e, err := home.Open()
	if err != nil {
		t.Fatal(err)
	}
	return home, e
}

func begin(t testing.TB, home engine.Home) engine.Engine {
	t.Helper()
	e, err := home.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// testFormerEngine replaces an engine twice under an iterator and a snapshot: they go on seeing what they saw.
func testFormerEngine(t *testing.T, disk HomeDisk) {
	home, e := openHome(t, disk)
	set(t, e, "a", "1")
	if err := e.Flush(); err != nil { // so that it is read from files, which must still be there
		t.Fatal(err)
	}
	iterator, err := e.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	snapshot := e.NewSnapshot()
	for i := range 2 {
		next := begin(t, home)
		want(t, dump(t, next), "")
		set(t, next, "a", fmt.Sprint(i+2))
		if err := home.Commit(next); err != nil {
			t.Fatal(err)
		}
		want(t, dump(t, next), fmt.Sprintf("a=%d;", i+2))
	}
	want(t, dump(t, e), "a=1;")
	want(t, dump(t, snapshot), "a=1;")
	if !iterator.First() || string(iterator.Value()) != "1" {
		t.Fatalf("the iterator lost its engine: %v", iterator.Error())
	}
	if err := errors.Join(iterator.Close(), snapshot.Close(), e.Close(), home.Close(), home.Close()); err != nil {
		t.Fatal(err)
	}
	_, e = openHome(t, disk.Crash())
	want(t, dump(t, e), "a=3;")
}

// testCommitFlushes cuts the power after a Commit without any Flush, and after a Begin without a Commit.
func testCommitFlushes(t *testing.T, disk HomeDisk) {
	home, _ := openHome(t, disk)
	next := begin(t, home)
	set(t, next, "a", "1")
	if err := home.Commit(next); err != nil {
		t.Fatal(err)
	}
	set(t, begin(t, home), "a", "2")
	disk = disk.Crash()
	home, e := openHome(t, disk)
	want(t, dump(t, e), "a=1;")
	want(t, dump(t, begin(t, home)), "")
}

func testOneAtATime(t *testing.T, disk HomeDisk) {
	home, e := openHome(t, disk)
	next := begin(t, home)
	if _, err := home.Begin(); err == nil {
		t.Fatal("two engines were begun")
	}
	if err := home.Commit(e); err == nil {
		t.Fatal("the current engine was committed again")
	}
	if err := home.Abort(e); err == nil {
		t.Fatal("the current engine was aborted")
	}
	if err := home.Abort(next); err != nil {
		t.Fatal(err)
	}
	if err := home.Commit(next); err == nil {
		t.Fatal("what was aborted was committed")
	}
	if _, err := next.Get([]byte("a")); !errors.Is(err, engine.ErrClosed) {
		t.Fatalf("what was aborted is open: %v", err)
	}
	set(t, e, "a", "1")
	next = begin(t, home)
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	for i, e := range []engine.Engine{e, next} {
		if _, err := e.Get([]byte("a")); !errors.Is(err, engine.ErrClosed) {
			t.Fatalf("engine %d outlives its home: %v", i, err)
		}
	}
}

// homeTwin knows an engine by two numbers: which one it is, and how many batches were applied to it.
type homeTwin struct {
	disk    HomeDisk
	options Options
	home    engine.Home

	current, next counted
	begun         int
}

type counted struct {
	engine         engine.Engine // nil where there is none
	number         int
	count, durable int
}

// checkHome begins, commits, aborts, applies, flushes and cuts the power at random.
func checkHome(t *rapid.T, disk HomeDisk, options Options) {
	w := &homeTwin{disk: disk, options: options}
	w.open(t)
	defer func() { _ = w.home.Close() }()
	t.Repeat(map[string]func(*rapid.T){
		"apply": func(t *rapid.T) { w.current.apply(t) },
		"load": func(t *rapid.T) {
			if w.next.engine != nil {
				w.next.apply(t)
			}
		},
		"flush": func(t *rapid.T) {
			if err := w.current.engine.Flush(); err != nil {
				t.Fatal(err)
			}
			w.current.durable = w.current.count
		},
		"begin":  w.begin,
		"commit": w.commit,
		"abort": func(t *rapid.T) {
			if w.next.engine == nil {
				return
			}
			if err := w.home.Abort(w.next.engine); err != nil {
				t.Fatal(err)
			}
			w.next = counted{}
		},
		"crash": func(t *rapid.T) {
			disk := w.disk.Crash()
			_ = w.home.Close()
			w.disk = disk
			w.open(t)
		},
		"restart": func(t *rapid.T) {
			if err := w.home.Close(); err != nil {
				t.Fatal(err)
			}
			w.disk = w.disk.Crash() // what was not flushed is gone either way
			w.open(t)
		},
		"": func(t *rapid.T) { w.current.check(t, w.current.count, w.current.count) },
	})
}

func (w *homeTwin) begin(t *rapid.T) {
	e, err := w.home.Begin()
	if w.next.engine != nil {
		if err == nil {
			t.Fatal("two engines were begun")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	w.begun++
	w.next = counted{engine: e, number: w.begun}
}

func (w *homeTwin) commit(t *rapid.T) {
	if w.next.engine == nil {
		return
	}
	if err := w.home.Commit(w.next.engine); err != nil {
		t.Fatal(err)
	}
	w.current.check(t, w.current.count, w.current.count)
	if rapid.Bool().Draw(t, "close the former") {
		if err := w.current.engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w.next.durable = w.next.count
	w.current, w.next = w.next, counted{}
}

func (w *homeTwin) open(t *rapid.T) {
	w.home, w.next = w.disk.Home(), counted{}
	e, err := w.home.Open()
	if err != nil {
		t.Fatal(err)
	}
	w.current.engine = e
	most := w.current.durable
	if w.options.FlushesItself {
		most = w.current.count
	}
	w.current.check(t, w.current.durable, most)
}

func (c *counted) apply(t *rapid.T) {
	c.count++
	b := c.engine.NewBatch()
	b.Set([]byte("number"), fmt.Append(nil, c.number))
	b.Set([]byte("count"), fmt.Append(nil, c.count))
	if err := errors.Join(c.engine.Apply(b), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// check compares the engine with what it may hold, and goes on from what it does.
func (c *counted) check(t *rapid.T, least, most int) {
	var found [2]int
	for i, key := range []string{"number", "count"} {
		value, err := c.engine.Get([]byte(key))
		if err == nil {
			_, err = fmt.Sscan(string(value), &found[i])
		}
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if found[1] > 0 && found[0] != c.number || found[1] < least || found[1] > most {
		t.Fatalf("engine %d with %d batches is current, want engine %d with %d to %d", found[0], found[1], c.number, least, most)
	}
	c.count, c.durable = found[1], min(c.durable, found[1])
}
