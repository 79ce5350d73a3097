package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pointer says which engine of a home is the current one. In BALSA-ENGINE it is three lines:
//
//	balsa engine format 2
//	state 0000000000000003
//	checksum 0a1b2c3d
//
// The file has the place and the first line of the one that marks an engine (formatLine), so that a build which knows
// nothing of homes refuses the directory, and one that does finds an engine that lies in the directory itself.
type pointer uint64

const (
	// direct is an engine in the home's directory itself, as there were before there were homes.
	direct pointer = 0
	// firstPointer is the first engine of a new home.
	firstPointer pointer = 1
)

const homeLine = "balsa engine format 2\n"

func (p pointer) String() string { return fmt.Sprintf("%016x", uint64(p)) }

// path returns the engine's directory.
func (p pointer) path(files vfs.FS, dir string) string {
	if p == direct {
		return dir
	}
	return files.PathJoin(dir, p.String())
}

// parsePointer reads the name of an engine's directory.
func parsePointer(name string) (pointer, bool) {
	n, err := strconv.ParseUint(name, 16, 64)
	return pointer(n), err == nil && n > 0 && pointer(n).String() == name
}

func numberOf(files vfs.FS, dir string) (pointer, error) {
	p, ok := parsePointer(files.PathBase(dir))
	if !ok {
		return 0, fmt.Errorf("engine: %s is not the directory of an engine", dir)
	}
	return p, nil
}

func (p pointer) encode() string {
	text := fmt.Sprintf("%sstate %s\n", homeLine, p)
	return text + sealOf(text)
}

// readPointer reads BALSA-ENGINE. found is false where there is nothing of ours, nor of somebody else.
func readPointer(files vfs.FS, dir string) (at pointer, found bool, err error) {
	name := files.PathJoin(dir, formatFile)
	text, err := readFormat(files, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, checkEmpty(files, dir)
	case err != nil:
		return 0, false, fmt.Errorf("engine: reading %s: %w", name, err)
	case text == formatLine:
		return direct, true, nil
	case !strings.HasPrefix(text, homeLine) && (sealed(text) || !strings.Contains(text, "state ")) && !oneBitOff(text, formatLine):
		line, _, _ := strings.Cut(text, "\n")
		return 0, false, fmt.Errorf("engine: %s has the format %q, this build reads %q: use the version of balsa that wrote it",
			dir, line, strings.TrimSpace(homeLine))
	}
	_, rest, _ := strings.Cut(text, "state ")
	number, _, _ := strings.Cut(rest, "\n")
	at, ok := parsePointer(number)
	if !ok || at.encode() != text {
		return 0, false, fmt.Errorf("%w: %s has %q in it", engine.ErrDamaged, name, text)
	}
	return at, true, nil
}

// checkEmpty refuses a directory without BALSA-ENGINE that holds a database all the same.
func checkEmpty(files vfs.FS, dir string) error {
	names, err := list(files, dir)
	if err != nil {
		return fmt.Errorf("engine: looking into %s: %w", dir, err)
	}
	for _, name := range names {
		if _, ok := parsePointer(name); ok {
			return fmt.Errorf("%w: %s holds the state %s, but no %s that names it", engine.ErrDamaged, dir, name, formatFile)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if description, err := pebble.Peek(dir, files); err != nil {
		return fmt.Errorf("engine: looking into %s: %w", dir, err)
	} else if description.Exists {
		return fmt.Errorf("engine: %s holds a database that balsa did not make (there is no file %s in it): "+
			"choose another directory", dir, formatFile)
	}
	return nil
}

// list returns the names in a directory, none where there is no such directory.
func list(files vfs.FS, dir string) ([]string, error) {
	names, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// makeHome makes a new home's directory, and names its first engine before that is made: an engine that is not named
// is never the current one.
func makeHome(files vfs.FS, dir string) error {
	err := files.MkdirAll(dir, 0o755)
	if err == nil {
		err = syncDir(files, files.PathDir(dir))
	}
	if err != nil {
		return fmt.Errorf("engine: making %s: %w", dir, err)
	}
	fresh, err := writePointer(files, dir, firstPointer)
	if err == nil {
		err = files.Rename(fresh, files.PathJoin(dir, formatFile))
	}
	if err == nil {
		err = syncDir(files, dir)
	}
	if err != nil {
		return fmt.Errorf("engine: marking %s: %w", dir, err)
	}
	return nil
}

// writePointer writes the pointer beside its place, durably, and returns the file's name.
func writePointer(files vfs.FS, dir string, to pointer) (string, error) {
	name := files.PathJoin(dir, formatFile+".new")
	file, err := files.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", fmt.Errorf("engine: writing %s: %w", name, err)
	}
	_, err = file.Write([]byte(to.encode()))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("engine: writing %s: %w", name, err)
	}
	return name, nil
}

// unusedNumber returns a number greater than that of every engine in the directory.
func unusedNumber(files vfs.FS, dir string, current pointer) (pointer, error) {
	names, err := files.List(dir)
	if err != nil {
		return 0, err
	}
	greatest := current
	for _, name := range names {
		if p, ok := parsePointer(name); ok {
			greatest = max(greatest, p)
		}
	}
	return greatest + 1, nil
}

// removeOthers removes every engine but the current one, and nothing that is not an engine's.
func removeOthers(files vfs.FS, dir string, current pointer) error {
	names, err := files.List(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if p, ok := parsePointer(name); ok && p != current {
			errs = append(errs, files.RemoveAll(files.PathJoin(dir, name)))
		}
	}
	if current != direct {
		errs = append(errs, removeEngine(files, dir, direct))
	}
	return errors.Join(append(errs, removeVerdict(files, dir))...)
}

// removeEngine removes what an engine stored. Of one in the home's own directory that is its files, and no others.
func removeEngine(files vfs.FS, dir string, p pointer) error {
	if p != direct {
		return files.RemoveAll(p.path(files, dir))
	}
	names, err := files.List(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if isPebbles(name) {
			errs = append(errs, files.Remove(files.PathJoin(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// isPebbles reports whether a file in an engine's directory is Pebble's.
func isPebbles(name string) bool {
	for _, pattern := range [...]string{
		"*.sst", "*.blob", "*.log", "*.dbtmp", "MANIFEST-*", "OPTIONS-*", "REMOTE-OBJ-CATALOG-*", "marker.*", "CURRENT", "LOCK",
	} {
		if matched, _ := path.Match(pattern, name); matched {
			return true
		}
	}
	return false
}
