package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/balsadb/balsa/vfs"
)

// The identity is there twice, each with a checksum. Which of the two counts:
//
//	identity.json           | identity.json.copy | counts
//	sound                   | anything           | identity.json: it is written first
//	damaged, missing        | sound              | the copy
//	readable, no checksum   | sound              | the copy: whoever made one wrote checksums
//	readable, no checksum   | missing            | identity.json: an earlier build wrote it
//	damaged                 | damaged, missing   | neither: refused
//
// Open writes again whichever is not what counts.

// copyName is the second copy.
const copyName = identityName + ".copy"

// chosen is which text counts, and whether both files have it.
type chosen struct {
	text  []byte
	whole bool
}

func choose(fsys vfs.FS, names []string) (chosen, error) {
	first, firstErr := readIfThere(fsys, names, identityName)
	second, secondErr := readIfThere(fsys, names, copyName)
	whole := bytes.Equal(first, second)
	switch {
	case firstErr == nil && sealed(first):
		return chosen{first, whole && secondErr == nil}, nil
	case secondErr == nil && sealed(second):
		return chosen{second, false}, nil
	case firstErr != nil:
		return chosen{}, firstErr
	case first == nil:
		return chosen{}, fmt.Errorf("%s is not there, and its copy is damaged: put one of them back from a backup, or start this member with an empty directory", identityName)
	case second == nil && !bytes.Contains(first, []byte(`"checksum"`)):
		return chosen{first, false}, nil
	}
	if _, err := decode(first); err != nil {
		return chosen{}, err // it says more than that a checksum is wrong, or is a later format
	}
	return chosen{}, errors.New("it is damaged: its checksum is wrong, and so is its copy's; put one of them back from a backup, or start this member with an empty directory")
}

// readIfThere returns nil where the file is not there.
func readIfThere(fsys vfs.FS, names []string, name string) ([]byte, error) {
	if !slices.Contains(names, name) {
		return nil, nil
	}
	text, err := readAll(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	return text, nil
}

// writeBoth makes both copies hold an identity, the first one first.
func writeBoth(fsys vfs.FS, text []byte) error {
	if err := replace(fsys, identityName, newName, text); err != nil {
		return err
	}
	return replace(fsys, copyName, newName, text)
}
