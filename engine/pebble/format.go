package pebble

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatFile holds one line, formatLine. It is made before Pebble makes anything, so that a directory without it
// is either empty or not ours.
const (
	formatFile = "BALSA-ENGINE"
	formatLine = "balsa engine format 1\n"
)

// checkFormat says whether a directory may be opened, and marks an empty one as ours. It changes nothing else.
func checkFormat(files vfs.FS, dir string, logger *slog.Logger) error {
	found, err := readFormat(files, dir)
	switch {
	case err == nil && found == formatLine:
		return nil
	case err == nil && oneBitOff(found, formatLine):
		logger.Error("the file that names the format of the state is damaged in one bit; it is written again", "file", files.PathJoin(dir, formatFile))
		return writeFormat(files, dir)
	case err == nil:
		return fmt.Errorf("engine: %s has the format %q, this build reads %q: use the version of balsa that wrote it",
			dir, strings.TrimSpace(found), strings.TrimSpace(formatLine))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("engine: reading the format of %s: %w", dir, err)
	}
	if err := files.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("engine: making %s: %w", dir, err)
	}
	if description, err := pebble.Peek(dir, files); err != nil {
		return fmt.Errorf("engine: looking into %s: %w", dir, err)
	} else if description.Exists {
		return fmt.Errorf("engine: %s holds a database that balsa did not make (there is no file %s in it): "+
			"choose another directory", dir, formatFile)
	}
	return writeFormat(files, dir)
}

func readFormat(files vfs.FS, dir string) (string, error) {
	return readSmall(files, files.PathJoin(dir, formatFile))
}

func readSmall(files vfs.FS, name string) (string, error) {
	file, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	return string(text), err
}

// writeFormat marks a directory as ours, durably.
func writeFormat(files vfs.FS, dir string) error {
	name := files.PathJoin(dir, formatFile)
	file, err := files.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("engine: marking %s: %w", dir, err)
	}
	_, err = file.Write([]byte(formatLine))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = files.Rename(name+".new", name)
	}
	if err == nil {
		err = syncDir(files, dir)
	}
	if err != nil {
		return fmt.Errorf("engine: marking %s: %w", dir, err)
	}
	return nil
}

func syncDir(files vfs.FS, dir string) error {
	opened, err := files.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}
