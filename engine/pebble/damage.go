package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
)

// isDamage reports whether an error of a read says that what is stored is not what was written: a checksum, a missing file, a sector
// that the disk does not give back.
func isDamage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// openDatabase is pebble.Open, which panics on some damages.
func openDatabase(dir string, options *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("%w: %v", pebble.ErrCorruption, why)
		}
	}()
	return pebble.Open(dir, options)
}

// notDamage are errors that say nothing about what is stored: the operating system does not let us, or somebody else is at it.
var notDamage = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN,
	fs.ErrPermission, errReadOnly, engine.ErrFailed,
}

// openError marks an error of opening a directory that was ours when it was closed as damage. Pebble has no kinds of errors for most of what
// it may find in its files, so that everything else counts.
func openError(err error, failed bool) error {
	if failed && !errors.Is(err, engine.ErrDamaged) || strings.Contains(err.Error(), "format major version") {
		return err
	}
	for _, other := range notDamage {
		if errors.Is(err, other) {
			return err
		}
	}
	if strings.Contains(err.Error(), "lock held by current process") {
		return err
	}
	return fmt.Errorf("%w: %w", engine.ErrDamaged, err)
}
