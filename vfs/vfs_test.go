package vfs_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/balsadb/balsa/vfs"
)

// all runs a test on every implementation of the interface.
func all(t *testing.T, test func(t *testing.T, disk vfs.FS)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.NewOS(t.TempDir())) })
	t.Run("memory", func(t *testing.T) { test(t, vfs.NewMem()) })
	t.Run("unsynced os", func(t *testing.T) { test(t, vfs.NewUnsynced(vfs.NewOS(t.TempDir()))) })
	t.Run("unsynced memory", func(t *testing.T) { test(t, vfs.NewUnsynced(vfs.NewMem())) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, disk vfs.FS, name, text string) vfs.File {
	t.Helper()
	file, err := disk.Create(name)
	must(t, err)
	_, err = file.WriteAt([]byte(text), 0)
	must(t, err)
	return file
}

func contents(t testing.TB, disk vfs.FS, name string) string {
	t.Helper()
	file, err := disk.OpenRead(name)
	must(t, err)
	defer file.Close()
	size, err := file.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return string(b)
}

func list(t testing.TB, disk vfs.FS, dir string, want ...string) {
	t.Helper()
	names, err := disk.List(dir)
	must(t, err)
	if !slices.Equal(names, want) {
		t.Fatalf("%s holds %q, want %q", dir, names, want)
	}
}

func TestFilesReadWhatWasWritten(t *testing.T) {
	all(t, func(t *testing.T, disk vfs.FS) {
		must(t, disk.MkdirAll("a/b"))
		file := create(t, disk, "a/b/f", "hello")
		_, err := file.WriteAt([]byte("there, a longer text"), 600)
		must(t, err)
		_, err = file.WriteAt([]byte("J"), 0)
		must(t, err)
		for _, sync := range []bool{false, true, false} {
			if sync {
				must(t, file.Sync())
				must(t, disk.SyncDir("a/b"))
			}
			got := contents(t, disk, "a/b/f")
			if len(got) != 620 || got[:5] != "Jello" || got[600:] != "there, a longer text" || got[300] != 0 {
				t.Fatalf("%q", got)
			}
		}
		must(t, file.Preallocate(5000))
		if size, err := file.Size(); err != nil || size != 5000 {
			t.Fatal(size, err)
		}
		must(t, file.Preallocate(100))
		must(t, file.Truncate(3))
		must(t, file.Truncate(600))
		if got := contents(t, disk, "a/b/f"); len(got) != 600 || got[:3] != "Jel" || got[3] != 0 {
			t.Fatalf("%q", got)
		}
		if n, err := file.ReadAt(make([]byte, 10), 595); n != 5 || err == nil {
			t.Fatal("a read past the end", n, err)
		}
		must(t, file.Close())
	})
}

func TestNames(t *testing.T) {
	all(t, func(t *testing.T, disk vfs.FS) {
		must(t, disk.MkdirAll("d"))
		for _, name := range []string{"d/one", "d/two", "d/three"} {
			must(t, create(t, disk, name, name).Close())
		}
		list(t, disk, "d", "one", "three", "two")
		if _, err := disk.Create("d/one"); !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		must(t, disk.Rename("d/one", "d/two"))
		must(t, disk.Remove("d/three"))
		if _, err := disk.Open("d/three"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := disk.Remove("d/three"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := disk.Rename("d/three", "d/four"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		must(t, create(t, disk, "d/three", "again").Close())
		for range 2 {
			list(t, disk, "d", "three", "two")
			if got := contents(t, disk, "d/two") + contents(t, disk, "d/three"); got != "d/oneagain" {
				t.Fatal(got)
			}
			must(t, disk.SyncDir("d"))
		}
		must(t, disk.MkdirAll("e"))
		must(t, disk.Rename("d/two", "e/two"))
		list(t, disk, "d", "three")
		list(t, disk, "e", "two")
		for _, name := range []string{"", "/d", "../d", "d/../d/three"} {
			if _, err := disk.Open(name); err == nil {
				t.Fatalf("opened %q", name)
			}
		}
	})
}

func TestReadOnlyHandle(t *testing.T) {
	all(t, func(t *testing.T, disk vfs.FS) {
		file := create(t, disk, "f", "text")
		must(t, file.Sync())
		must(t, disk.SyncDir("."))
		must(t, file.Close())
		read, err := disk.OpenRead("f")
		must(t, err)
		if _, err := read.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("wrote to a file that was opened for reading")
		}
		must(t, read.Close())
	})
}

func TestLock(t *testing.T) {
	all(t, func(t *testing.T, disk vfs.FS) {
		lock, err := disk.Lock("LOCK")
		must(t, err)
		if _, err := disk.Lock("LOCK"); !errors.Is(err, vfs.ErrLocked) {
			t.Fatal(err)
		}
		must(t, lock.Close())
		lock, err = disk.Lock("LOCK")
		must(t, err)
		must(t, lock.Close())
	})
}
