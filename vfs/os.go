package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"syscall"
)

// OS is the operating system's file system below a root directory. The root need not exist: MkdirAll(".") makes it.
// Files are readable by their owner only.
type OS struct{ root string }

// NewOS returns the files below root.
func NewOS(root string) *OS { return &OS{root: root} }

// Create implements FS.
func (o *OS) Create(name string) (File, error) { return o.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

// Open implements FS.
func (o *OS) Open(name string) (File, error) { return o.open(name, os.O_RDWR) }

// OpenRead implements FS.
func (o *OS) OpenRead(name string) (File, error) { return o.open(name, os.O_RDONLY) }

// Remove implements FS.
func (o *OS) Remove(name string) error {
	path, err := o.path(name)
	if err != nil {
		return err
	}
	return explain(os.Remove(path))
}

// Rename implements FS.
func (o *OS) Rename(oldName, newName string) error {
	from, err := o.path(oldName)
	if err != nil {
		return err
	}
	to, err := o.path(newName)
	if err != nil {
		return err
	}
	return explain(os.Rename(from, to))
}

// MkdirAll implements FS. Each directory that it makes is synced into its parent, so that SyncDir of a
// directory vouches for the way to it as well.
func (o *OS) MkdirAll(name string) error {
	path, err := o.path(name)
	if err != nil {
		return err
	}
	return explain(mkdirAll(path))
}

func mkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return syncDir(parent)
}

// List implements FS.
func (o *OS) List(dir string) ([]string, error) {
	path, err := o.path(dir)
	if err != nil {
		return nil, err
	}
	found, err := os.ReadDir(path)
	if err != nil {
		return nil, explain(err)
	}
	names := make([]string, len(found))
	for i, entry := range found {
		names[i] = entry.Name()
	}
	sort.Strings(names)
	return names, nil
}

// SyncDir implements FS.
func (o *OS) SyncDir(dir string) error {
	path, err := o.path(dir)
	if err != nil {
		return err
	}
	return explain(syncDir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Lock implements FS. The file stays when the lock is given back: its name is what processes agree on.
func (o *OS) Lock(name string) (io.Closer, error) {
	path, err := o.path(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(err)
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return file, nil
}

func (o *OS) path(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(o.root, filepath.FromSlash(name)), nil
}

func (o *OS) open(name string, flag int) (File, error) {
	path, err := o.path(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, explain(err)
	}
	return osFile{file}, nil
}

// osFile is an open file of the operating system.
type osFile struct{ f *os.File }

func (f osFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, explain(err)
}

func (f osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Preallocate(size int64) error { return explain(preallocate(f.f, size)) }
func (f osFile) Truncate(size int64) error    { return explain(f.f.Truncate(size)) }
func (f osFile) Sync() error                  { return explain(datasync(f.f)) }
func (f osFile) Close() error                 { return f.f.Close() }

// growTo makes the file at least size long; the new part reads as zeros.
func growTo(file *os.File, size int64) error {
	info, err := file.Stat()
	if err != nil || info.Size() >= size {
		return err
	}
	return file.Truncate(size)
}

// explain adds the interface's own words to an error of the operating system.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
