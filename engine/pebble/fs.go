package pebble

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStopFS stops writing for good at the first error of a write or a sync. What Pebble would do then is retry,
// at once and for ever, partly on the file whose sync failed; here files refuse to be written, and whoever wants
// a new one waits until the engine is closed.
type failStopFS struct {
	vfs.FS
	health *health
}

// Unwrap gives Pebble what is below, for what it asks of the operating system.
func (f *failStopFS) Unwrap() vfs.FS { return f.FS }

// await holds back changes of a failed engine until it is closed, and refuses them then.
func (f *failStopFS) await() error {
	err := f.health.err()
	if err != nil && f.health.opened.Load() {
		<-f.health.released
	}
	return err
}

func (f *failStopFS) file(file vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &failStopFile{File: file, name: name, health: f.health}, nil
}

func (f *failStopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.await(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, category)
	return f.file(file, name, err)
}

func (f *failStopFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption,
) (vfs.File, error) {
	if err := f.await(); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenReadWrite(name, category, options...)
	return f.file(file, name, err)
}

func (f *failStopFS) ReuseForWrite(oldName, newName string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.await(); err != nil {
		return nil, err
	}
	file, err := f.FS.ReuseForWrite(oldName, newName, category)
	return f.file(file, newName, err)
}

func (f *failStopFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &failStopDir{failStopFile{File: file, name: name, health: f.health}}, nil
}

// failStopDir is a directory. Pebble panics where syncing one fails, so that it is not told: the failure is remembered, and
// whoever used the engine for something learns of it when he asks for the outcome, as does everybody later.
type failStopDir struct{ failStopFile }

func (d *failStopDir) Sync() error {
	_ = d.failStopFile.Sync()
	return nil
}

func (f *failStopFS) Rename(oldName, newName string) error {
	if err := f.await(); err != nil {
		return err
	}
	return f.FS.Rename(oldName, newName)
}

func (f *failStopFS) Link(oldName, newName string) error {
	if err := f.await(); err != nil {
		return err
	}
	return f.FS.Link(oldName, newName)
}

// Remove refuses too: what a failed engine thinks obsolete may be what a restart needs.
func (f *failStopFS) Remove(name string) error {
	if err := f.health.err(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

type failStopFile struct {
	vfs.File
	name   string
	health *health
}

// note ends the use of the directory where err is one.
func (f *failStopFile) note(doing string, err error) error {
	if err == nil {
		return nil
	}
	return f.health.fail(fmt.Errorf("%s %s: %w", doing, f.name, err))
}

func (f *failStopFile) Write(p []byte) (int, error) {
	if err := f.health.err(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, f.note("writing", err)
}

func (f *failStopFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.health.err(); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, offset)
	return n, f.note("writing", err)
}

func (f *failStopFile) Sync() error {
	if err := f.health.err(); err != nil {
		return err
	}
	return f.note("syncing", f.File.Sync())
}

func (f *failStopFile) SyncData() error {
	if err := f.health.err(); err != nil {
		return err
	}
	return f.note("syncing", f.File.SyncData())
}

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	if err := f.health.err(); err != nil {
		return false, err
	}
	full, err := f.File.SyncTo(length)
	return full, f.note("syncing", err)
}
