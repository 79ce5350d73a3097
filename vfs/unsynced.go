package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// Unsynced holds what is written in the process's own memory until Sync, and hands it to the files below only then: kill -9
// of the process is a power cut. (A plain kill proves nothing about syncs, for the page cache survives it.)
//
// Created, renamed and removed names are held until SyncDir likewise. Preallocations, truncations, directories, and renames from
// one directory to another go through at once: a power cut may keep those. A kill in the middle of a Sync leaves a part of it.
type Unsynced struct {
	base FS

	mu         sync.Mutex
	dirs       map[string]*heldDir
	files      map[string]*heldFile // by the name that the user knows
	created    int
	ignoreSync bool
}

// NewUnsynced returns base with its writes held back.
func NewUnsynced(base FS) *Unsynced {
	return &Unsynced{base: base, dirs: map[string]*heldDir{}, files: map[string]*heldFile{}}
}

// IgnoreSync makes Sync and SyncDir report success and do nothing, so that nothing survives the process.
func (u *Unsynced) IgnoreSync(ignore bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ignoreSync = ignore
}

// heldDir is what was done to the names of a directory since its last SyncDir.
type heldDir struct {
	names   map[string]string // the user's name → what the file is called below; "" where it was removed
	changes []func(FS) error  // carries it out, in order
}

// heldPrefix marks a file below whose name is not durable yet. Those that a kill left behind are not listed.
const heldPrefix = ".unsynced-"

func (u *Unsynced) dir(name string) *heldDir {
	d := u.dirs[name]
	if d == nil {
		d = &heldDir{names: map[string]string{}}
		u.dirs[name] = d
	}
	return d
}

// below returns what a file is called below.
func (u *Unsynced) below(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", pathError("open", name, fs.ErrInvalid)
	}
	if d := u.dirs[path.Dir(name)]; d != nil {
		if held, ok := d.names[path.Base(name)]; ok {
			if held == "" {
				return "", pathError("open", name, fs.ErrNotExist)
			}
			return path.Join(path.Dir(name), held), nil
		}
	}
	return name, nil
}

// exists reports whether the user sees a file of that name.
func (u *Unsynced) exists(name string) (bool, error) {
	below, err := u.below(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	names, err := u.base.List(path.Dir(below))
	return slices.Contains(names, path.Base(below)), err
}

// Create implements FS.
func (u *Unsynced) Create(name string) (File, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, err := u.exists(name)
	if err == nil && found {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, pathError("create", name, err)
	}
	dir, base := path.Dir(name), path.Base(name)
	for {
		u.created++
		held := fmt.Sprintf("%s%d-%s", heldPrefix, u.created, base)
		file, err := u.base.Create(path.Join(dir, held))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d := u.dir(dir)
		d.names[base] = held
		d.changes = append(d.changes, func(fs FS) error { return fs.Rename(path.Join(dir, held), name) })
		u.files[name] = &heldFile{}
		return &heldHandle{owner: u, held: u.files[name], file: file, name: name, writable: true}, nil
	}
}

// Open implements FS.
func (u *Unsynced) Open(name string) (File, error) { return u.open(name, u.base.Open, true) }

// OpenRead implements FS.
func (u *Unsynced) OpenRead(name string) (File, error) { return u.open(name, u.base.OpenRead, false) }

func (u *Unsynced) open(name string, open func(string) (File, error), writable bool) (File, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	below, err := u.below(name)
	if err != nil {
		return nil, err
	}
	file, err := open(below)
	if err != nil {
		return nil, err
	}
	held := u.files[name]
	if held == nil {
		held = &heldFile{}
		u.files[name] = held
	}
	return &heldHandle{owner: u, held: held, file: file, name: name, writable: writable}, nil
}

// Remove implements FS.
func (u *Unsynced) Remove(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, err := u.exists(name)
	if err == nil && !found {
		err = fs.ErrNotExist
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	d := u.dir(path.Dir(name))
	d.names[path.Base(name)] = ""
	d.changes = append(d.changes, func(fs FS) error { return fs.Remove(name) })
	delete(u.files, name)
	return nil
}

// Rename implements FS.
func (u *Unsynced) Rename(oldName, newName string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	below, err := u.below(oldName)
	if err != nil {
		return err
	}
	if !fs.ValidPath(newName) {
		return pathError("rename", newName, fs.ErrInvalid)
	}
	dir := path.Dir(oldName)
	if dir != path.Dir(newName) {
		if err := errors.Join(u.carryOut(dir), u.carryOut(path.Dir(newName))); err != nil {
			return err
		}
		err = u.base.Rename(oldName, newName)
	} else {
		if found, err := u.exists(oldName); err != nil || !found {
			return errors.Join(err, pathError("rename", oldName, fs.ErrNotExist))
		}
		d := u.dir(dir)
		d.names[path.Base(newName)], d.names[path.Base(oldName)] = path.Base(below), ""
		d.changes = append(d.changes, func(fs FS) error { return fs.Rename(oldName, newName) })
	}
	if held := u.files[oldName]; err == nil && held != nil {
		u.files[newName] = held
		delete(u.files, oldName)
	}
	return err
}

// MkdirAll implements FS.
func (u *Unsynced) MkdirAll(name string) error { return u.base.MkdirAll(name) }

// List implements FS.
func (u *Unsynced) List(dir string) ([]string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, err := u.base.List(dir)
	if err != nil {
		return nil, err
	}
	held := u.dirs[dir]
	names := slices.DeleteFunc(found, func(name string) bool {
		if held != nil {
			if _, changed := held.names[name]; changed {
				return true
			}
		}
		return strings.HasPrefix(name, heldPrefix)
	})
	if held != nil {
		for name, below := range held.names {
			if below != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements FS.
func (u *Unsynced) SyncDir(dir string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ignoreSync {
		return nil
	}
	return u.carryOut(dir)
}

// carryOut makes the changes of a directory's names below.
func (u *Unsynced) carryOut(dir string) error {
	if d := u.dirs[dir]; d != nil {
		for _, change := range d.changes {
			if err := change(u.base); err != nil {
				return err
			}
		}
		delete(u.dirs, dir)
	}
	return u.base.SyncDir(dir)
}

// Lock implements FS.
func (u *Unsynced) Lock(name string) (io.Closer, error) { return u.base.Lock(name) }
