package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// verdictFile says that a home's current engine is of no use, though it may well open: some damage shows only later, and that a
// replica differs from the others shows nowhere in it. In it are
//
//	balsa condemned state format 1
//	state 0000000000000003
//	why the reason, in one line
//	checksum 0a1b2c3d
//
// It counts for the state that it names, and is removed with it. One that cannot be read counts for any.
const (
	verdictFile = "BALSA-CONDEMNED"
	verdictLine = "balsa condemned state format 1\n"
)

// Condemn implements engine.Home.
func (h *Home) Condemn(reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !h.opened {
		return engine.ErrClosed
	}
	return h.condemn(reason)
}

func (h *Home) condemn(reason string) error {
	text := fmt.Sprintf("%sstate %s\nwhy %s\n", verdictLine, h.at, strings.ReplaceAll(reason, "\n", " "))
	if err := writeVerdict(h.options.FS, h.dir, text+sealOf(text)); err != nil {
		return fmt.Errorf("engine: condemning the state in %s: %w", h.dir, err)
	}
	return nil
}

func writeVerdict(files vfs.FS, dir, text string) error {
	name := files.PathJoin(dir, verdictFile)
	file, err := files.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(text))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := files.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(files, dir)
}

// checkCondemned returns why the engine at a place is of no use, nil where nobody said so.
func checkCondemned(files vfs.FS, dir string, at pointer) error {
	text, err := readSmall(files, files.PathJoin(dir, verdictFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("engine: reading %s: %w", verdictFile, err)
	}
	_, rest, _ := strings.Cut(text, "\nstate ")
	number, _, _ := strings.Cut(rest, "\n")
	if number != at.String() && sealed(text) {
		return nil
	}
	_, reason, _ := strings.Cut(text, "\nwhy ")
	reason, _, _ = strings.Cut(reason, "\n")
	return fmt.Errorf("%w: the state was found to be of no use earlier: %s", engine.ErrDamaged, reason)
}

func removeVerdict(files vfs.FS, dir string) error {
	if err := files.Remove(files.PathJoin(dir, verdictFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
