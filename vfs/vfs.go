// Package vfs is the small file interface that the log and the runtime are written against, so that
// the same code runs on the operating system, on a disk that a simulator cuts the power of, and on one that breaks.
//
// It promises what a disk promises and no more: bytes written are readable at once, and durable only
// after Sync; a created, renamed or removed name is durable only after SyncDir of its directory.
package vfs

import "io"

// FS is a tree of files. All methods may be called concurrently. Names use '/' and are relative to a
// root that the implementation knows. Errors wrap io/fs.ErrNotExist, io/fs.ErrExist and ErrNoSpace where they apply.
type FS interface {
	// Create makes a new file, opened for reading and writing; it fails where the name exists.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only.
	OpenRead(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename replaces newName by oldName, atomically.
	Rename(oldName, newName string) error
	// MkdirAll makes a directory and its parents. Their names are durable when it returns.
	MkdirAll(name string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that ends with the process; it fails at once with ErrLocked where
	// another holder has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt may be called concurrently with everything else; WriteAt, Preallocate,
// Truncate, Sync and Close have one caller at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's length in bytes, a preallocated tail included.
	Size() (int64, error)
	// Preallocate extends the file to size, reading as zeros, and reserves the space, so that a later write below
	// size does not find the disk full.
	Preallocate(size int64) error
	// Truncate cuts or extends the file to size.
	Truncate(size int64) error
	// Sync makes the file's contents durable (fdatasync). After an error nothing that was written
	// since the last successful Sync may be trusted, and the file must not be written again (E45).
	Sync() error
}
