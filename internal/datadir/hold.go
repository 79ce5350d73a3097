package datadir

import (
	"errors"
	"fmt"
	"slices"

	"github.com/balsadb/balsa/vfs"
)

// Hold keeps servers from a directory that is only looked at, until release is called. It makes no file: a directory without a
// lock is in nobody's use.
func Hold(fsys vfs.FS, path string) (release func(), err error) {
	names, err := fsys.List(".")
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be read: %w", path, err)
	}
	if !slices.Contains(names, lockName) {
		return func() {}, nil
	}
	lock, err := fsys.Lock(lockName)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is in use by another process: stop its server first, or verify a backup of it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be locked: %w", path, err)
	}
	return func() { _ = lock.Close() }, nil
}
