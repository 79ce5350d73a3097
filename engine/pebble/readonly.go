package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// errReadOnly is the error of every change of a directory that was opened to be read.
var errReadOnly = errors.New("engine: the directory was opened to be read only")

// OpenReadOnly opens the current engine of a home to be read. Nothing changes on disk, whatever happens; it fails where another
// process has the engine open.
func OpenReadOnly(dir string, options Options) (*Engine, error) {
	options = options.withDefaults()
	options.FS, options.readOnly = readOnlyFS{options.FS}, true
	path, err := currentPath(options.FS, dir)
	if err != nil {
		return nil, err
	}
	cache := pebble.NewCache(options.CacheBytes)
	defer cache.Unref()
	return open(path, options, cache)
}

// currentPath returns the directory of a home's current engine.
func currentPath(files vfs.FS, dir string) (string, error) {
	at, found, err := readPointer(files, dir)
	if err == nil && !found {
		err = fmt.Errorf("engine: there is none in %s: %w", dir, os.ErrNotExist)
	}
	if err != nil {
		return "", err
	}
	return at.path(files, dir), nil
}

// CheckTables reads every block of every table of a home's current engine, and calls visit for each table, with what is wrong
// with it. Nothing changes on disk.
func CheckTables(ctx context.Context, dir string, options Options, visit func(name string, bytes int64, err error)) error {
	options = options.withDefaults()
	files := readOnlyFS{options.FS}
	path, err := currentPath(files, dir)
	if err != nil {
		return err
	}
	names, err := files.List(path)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		size, err := checkTable(ctx, files, files.PathJoin(path, name))
		visit(name, size, err)
	}
	return nil
}

func checkTable(ctx context.Context, files vfs.FS, path string) (size int64, err error) {
	defer func() {
		if why := recover(); why != nil { // Pebble's reader panics where a table names what it does not know
			err = fmt.Errorf("engine: %s cannot be read: %v", path, why)
		}
	}()
	file, err := files.Open(path)
	if err != nil {
		return 0, err
	}
	about, err := file.Stat()
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	reader, err := sstable.NewReader(ctx, readable, tableOptions())
	if err != nil {
		return 0, err // it has closed the file
	}
	return about.Size(), errors.Join(reader.ValidateBlockChecksums(), reader.Close())
}

// tableOptions are those with which tables are read outside of an engine.
func tableOptions() sstable.ReaderOptions {
	o := &pebble.Options{Comparer: comparer}
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	o.EnsureDefaults()
	return o.MakeReaderOptions()
}

// readOnlyFS refuses every change. The lock of a directory is taken where its file is there.
type readOnlyFS struct{ vfs.FS }

func (f readOnlyFS) Unwrap() vfs.FS { return f.FS }

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }
func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}
func (readOnlyFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}
func (readOnlyFS) Link(string, string) error          { return errReadOnly }
func (readOnlyFS) Remove(string) error                { return errReadOnly }
func (readOnlyFS) RemoveAll(string) error             { return errReadOnly }
func (readOnlyFS) Rename(string, string) error        { return errReadOnly }
func (readOnlyFS) MkdirAll(string, os.FileMode) error { return errReadOnly }

func (f readOnlyFS) Lock(name string) (io.Closer, error) {
	if _, err := f.Stat(name); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}
