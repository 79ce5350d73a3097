package pebble

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/bits"
	"strings"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// findCurrent says where the current engine is, and gives a new directory its first. Where BALSA-ENGINE is damaged or missing:
//
//	engines that are there | the current one
//	one                    | that one: whatever is current exists, once it was opened; the pointer is written again
//	several, or none       | is not known: damage
func findCurrent(options Options, dir string) (pointer, error) {
	files := options.FS
	at, found, err := readPointer(files, dir)
	if errors.Is(err, engine.ErrDamaged) {
		if at, err = onlyEngine(files, dir, err); err == nil {
			options.Logger.Error("the file that names the current state is damaged, or missing; it is written again, for there is one state",
				"file", files.PathJoin(dir, formatFile), "state", at.String())
			found, err = true, replacePointer(files, dir, at)
		}
	}
	if err != nil {
		return at, err
	}
	if !found {
		return firstPointer, makeHome(files, dir)
	}
	if at == direct {
		return at, nil
	}
	if _, err := readFormat(files, at.path(files, dir)); errors.Is(err, fs.ErrNotExist) {
		if names, err := list(files, at.path(files, dir)); at == firstPointer && err == nil && len(names) == 0 {
			return at, nil // the first one may not be there yet
		}
		return at, fmt.Errorf("%w: %s names the state %s, which is not there, or not whole", engine.ErrDamaged, files.PathJoin(dir, formatFile), at)
	}
	return at, nil
}

// onlyEngine returns the one engine of a home whose pointer is of no use, or why.
func onlyEngine(files vfs.FS, dir string, why error) (only pointer, err error) {
	names, err := list(files, dir)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range names {
		if p, ok := parsePointer(name); ok {
			only = p
			n++
		}
	}
	if n != 1 {
		return 0, fmt.Errorf("%w; and of %d states in %s it is not known which it named", why, n, dir)
	}
	return only, nil
}

// replacePointer writes BALSA-ENGINE anew.
func replacePointer(files vfs.FS, dir string, at pointer) error {
	fresh, err := writePointer(files, dir, at)
	if err == nil {
		err = files.Rename(fresh, files.PathJoin(dir, formatFile))
	}
	if err == nil {
		err = syncDir(files, dir)
	}
	if err != nil {
		return fmt.Errorf("engine: writing %s again: %w", files.PathJoin(dir, formatFile), err)
	}
	return nil
}

// oneBitOff reports whether text is want with one bit changed. The lines that say a format have no checksum of their own; later formats
// must have one, as the pointer has, so that they are told from a damaged one of ours.
func oneBitOff(text, want string) bool {
	if len(text) != len(want) {
		return false
	}
	n := 0
	for i := range len(text) {
		n += bits.OnesCount8(text[i] ^ want[i])
	}
	return n == 1
}

// sealed reports whether a text ends with a line that has its checksum: whoever wrote it, it is what he wrote.
func sealed(text string) bool {
	i := strings.LastIndex(text, "checksum ")
	return i >= 0 && text[i:] == sealOf(text[:i])
}

func sealOf(text string) string {
	return fmt.Sprintf("checksum %08x\n", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}
