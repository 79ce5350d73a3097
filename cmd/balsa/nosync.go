package main

import "github.com/balsadb/balsa/vfs"

// noSync is what --unsafe-no-fsync does: nobody waits for the disk.
type noSync struct{ vfs.FS }

func (n noSync) Create(name string) (vfs.File, error) { return unsynced(n.FS.Create(name)) }
func (n noSync) Open(name string) (vfs.File, error)   { return unsynced(n.FS.Open(name)) }
func (noSync) SyncDir(string) error                   { return nil }

func unsynced(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error { return nil }
