package pebble

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// roomyFS tries again what finds no space, until there is some: Pebble ends its use of the directory where its manifest cannot be written, and
// retries a failed flush at once and for ever. Who waits here is in the background; those who write wait for them (pressure), and
// those who read do not notice. A sync that finds no space is a failed sync.
type roomyFS struct {
	vfs.FS
	health  *health
	noSpace func() bool
}

// noSpaceInterval is how long a full disk is left before it is tried again.
const noSpaceInterval = 100 * time.Millisecond

// again waits, where err says that there is no space, and reports whether to try again.
func (f *roomyFS) again(err error) bool {
	switch {
	case !errors.Is(err, syscall.ENOSPC):
		return false
	case f.noSpace():
		return true
	}
	f.health.logger.Debug("the state's disk is full: waiting for space", "error", err)
	select {
	case <-f.health.released:
		return false
	case <-f.health.failed:
		return false
	case <-time.After(noSpaceInterval):
		return true
	}
}

// Unwrap gives Pebble what is below, for what it asks of the operating system.
func (f *roomyFS) Unwrap() vfs.FS { return f.FS }

func (f *roomyFS) open(open func() (vfs.File, error)) (vfs.File, error) {
	for {
		file, err := open()
		switch {
		case err == nil:
			return &roomyFile{file, f}, nil
		case !f.again(err):
			return nil, err
		}
	}
}

func (f *roomyFS) try(do func() error) error {
	for {
		if err := do(); err == nil || !f.again(err) {
			return err
		}
	}
}

func (f *roomyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.Create(name, category) })
}

func (f *roomyFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, options...) })
}

func (f *roomyFS) ReuseForWrite(oldName, newName string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.ReuseForWrite(oldName, newName, category) })
}

func (f *roomyFS) Rename(oldName, newName string) error {
	return f.try(func() error { return f.FS.Rename(oldName, newName) })
}

func (f *roomyFS) Link(oldName, newName string) error {
	return f.try(func() error { return f.FS.Link(oldName, newName) })
}

func (f *roomyFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.try(func() error { return f.FS.MkdirAll(dir, perm) })
}

type roomyFile struct {
	vfs.File
	fs *roomyFS
}

// Write goes on behind what was written before the disk was full.
func (f *roomyFile) Write(p []byte) (written int, err error) {
	err = f.fs.try(func() error {
		n, err := f.File.Write(p[written:])
		written += n
		return err
	})
	return written, err
}

func (f *roomyFile) WriteAt(p []byte, offset int64) (written int, err error) {
	err = f.fs.try(func() error {
		n, err := f.File.WriteAt(p[written:], offset+int64(written))
		written += n
		return err
	})
	return written, err
}

// Preallocate is a favour: without space Pebble writes as far as there is some.
func (f *roomyFile) Preallocate(offset, length int64) error {
	err := f.File.Preallocate(offset, length)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}
