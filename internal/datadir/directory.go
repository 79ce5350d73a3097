package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/balsadb/balsa/vfs"
)

// Directory is a data directory that this process holds the lock of.
type Directory struct {
	Identity Identity
	// Fresh is set where this start made the directory.
	Fresh bool
	// Mended is set where one of the two copies of the identity was damaged, missing or an earlier build's, and was written again.
	Mended bool
	lock   io.Closer
}

// Close gives the directory back.
func (d *Directory) Close() error { return d.lock.Close() }

// Inspect looks at a directory and changes nothing. It returns nil where there is none yet, or an empty one, and an error,
// which is a sentence for the operator, where the directory is not one of ours. The path is for messages only.
func Inspect(fsys vfs.FS, path string) (*Identity, error) {
	names, err := fsys.List(".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be read: %w", path, err)
	}
	switch {
	case slices.Contains(names, identityName), slices.Contains(names, copyName):
		c, err := choose(fsys, names)
		if err != nil {
			return nil, fmt.Errorf("data directory %s: %s: %w", path, identityName, err)
		}
		id, err := decode(c.text)
		if err != nil {
			return nil, fmt.Errorf("data directory %s: %s: %w", path, identityName, err)
		}
		id.mend = !c.whole
		return id, nil
	case slices.Contains(names, "member"):
		return nil, fmt.Errorf("data directory %s is etcd's, whose files are of another format, and was left as it is: "+
			"name an empty --data-dir (a later version's `balsa import` will copy the keys over)", path)
	}
	for _, name := range names {
		if name != lockName && name != newName && name != "lost+found" {
			return nil, fmt.Errorf("data directory %s holds %q but no %s, so that it is not known whose it is: name another --data-dir, or an empty one",
				path, name, identityName)
		}
	}
	return nil, nil
}

// Match says in a sentence why a directory is not the one that the flags ask for, or returns nil. Flags do not know of a
// restore: a directory that was restored matches those of a fresh one.
func (id *Identity) Match(want *Identity, path string) error {
	asked := want.Cluster.ID
	if id.Origin != 0 && want.Origin == 0 {
		asked = want.Cluster.Restored(id.Origin)
	}
	switch {
	case id.Cluster.ID != asked:
		return fmt.Errorf("data directory %s belongs to another cluster: it has id %016x (%s), the flags give %016x (%s); "+
			"name the directory of this cluster with --data-dir, or correct --initial-cluster and --initial-cluster-token",
			path, id.Cluster.ID, id.Cluster.String(), asked, want.Cluster.String())
	case id.Member != want.Member:
		return fmt.Errorf("data directory %s belongs to another member: it is %s's (%016x), and --name says %s (%016x); name the directory of %s with --data-dir",
			path, id.Name, uint64(id.Member), want.Name, uint64(want.Member), want.Name)
	}
	return nil
}

// Open takes the directory for this process. Where there is none yet it is made, with want as its identity; want.ID is drawn
// from random then. An existing one must match want.
func Open(fsys vfs.FS, path string, want Identity, random io.Reader) (*Directory, error) {
	if err := fsys.MkdirAll("."); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be made: %w", path, err)
	}
	lock, err := fsys.Lock(lockName)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is in use by another process: stop that one first, or name another --data-dir", path)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be locked: %w", path, err)
	}
	d, err := open(fsys, path, want, random)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.lock = lock
	return d, nil
}

func open(fsys vfs.FS, path string, want Identity, random io.Reader) (*Directory, error) {
	found, err := Inspect(fsys, path)
	if err != nil {
		return nil, err
	}
	if found != nil {
		d := &Directory{Identity: *found, Mended: found.mend}
		if err := found.Match(&want, path); err != nil || !found.mend {
			return d, err
		}
		if err := writeBoth(fsys, found.encode()); err != nil {
			return nil, fmt.Errorf("data directory %s: writing %s again: %w", path, identityName, err)
		}
		return d, nil
	}
	want.Life = max(want.Life, 1)
	if _, err := io.ReadFull(random, want.ID[:]); err != nil {
		return nil, fmt.Errorf("drawing an id for data directory %s: %w", path, err)
	}
	if err := writeBoth(fsys, want.encode()); err != nil {
		return nil, fmt.Errorf("data directory %s: writing %s: %w", path, identityName, err)
	}
	return &Directory{Identity: want, Fresh: true}, nil
}

// replace makes name hold text: after a crash it has either what it had or all of it.
func replace(fsys vfs.FS, name, temporary string, text []byte) error {
	if err := fsys.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(text, 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return err
	}
	return fsys.SyncDir(".")
}

func readAll(fsys vfs.FS, name string) ([]byte, error) {
	file, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err == nil && size > 1<<20 {
		err = fmt.Errorf("it is %d bytes long, which no identity is", size)
	}
	text := make([]byte, min(max(size, 0), 1<<20))
	if err == nil {
		_, err = io.ReadFull(io.NewSectionReader(file, 0, size), text)
	}
	return text, errors.Join(err, file.Close())
}
