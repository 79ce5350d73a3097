// Package engine is the ordered key-value store that a state machine keeps its state in.
//
// It promises little, so that two implementations can keep it: a batch becomes visible at once and in
// order; after a crash the state is exactly what some prefix of the applied batches made, namely the prefix that
// the last completed flush covered. There is no write-ahead log: the replicated log is one. An engine may flush
// by itself when its memory is full, so what is found after a crash may be newer than the last call of Flush.
//
// Keys have a shape, which Split reads: a name, and in the versioned space a version behind it. Looking for the
// versions of one name is what engines are made fast at (SeekPrefixGE, NextPrefix).
package engine

import "errors"

var (
	// ErrNotFound is returned by Get where there is no such key.
	ErrNotFound = errors.New("engine: key not found")
	// ErrClosed is returned by an engine that was closed.
	ErrClosed = errors.New("engine: closed")
	// ErrFailed is wrapped by every error of an engine that has met an error of its disk. It stays failed.
	ErrFailed = errors.New("engine: failed")
	// ErrDamaged is wrapped where what is stored is not what was written: bytes have changed, a file is missing or cannot be read. What
	// says so was not used for any answer. An engine that has met it has failed; one that cannot even be opened says so from Open.
	ErrDamaged = errors.New("engine: damaged")
)

// Reader reads. Keys and values that it returns are valid until the reader is closed or, for an iterator, moved.
type Reader interface {
	// Get returns the value of key, or ErrNotFound. The value is a copy.
	Get(key []byte) ([]byte, error)
	// NewIterator iterates over keys in [lower, upper), lower ≤ upper, in byte order; an empty bound is open. The iterator sees
	// the state as it is now, whatever is applied later.
	NewIterator(lower, upper []byte) (Iterator, error)
}

// Engine is an open store. Reads may run concurrently with everything, Flush and Checkpoint with Apply; Apply
// and Close have one caller at a time.
type Engine interface {
	Reader
	// NewSnapshot returns a view of the state as it is now.
	NewSnapshot() Snapshot
	// NewBatch returns an empty batch of changes.
	NewBatch() Batch
	// Apply makes a batch's changes visible, all at once. It does not make them durable. The batch may be Reset and used again afterwards.
	Apply(batch Batch) error
	// Flush makes everything durable that was applied before it was called.
	Flush() error
	// Durable reads what would be found after a power cut now: each Get and each new iterator looks anew.
	Durable() Reader
	// Checkpoint writes a copy of the durable state into a directory that does not exist yet.
	Checkpoint(dir string) error
	// DiskBytes returns the physical size of what is stored, in bytes.
	DiskBytes() uint64
	// Close releases the store, once every reader is closed. What was not flushed is gone.
	Close() error
}

// Snapshot is a Reader of an unchanging state.
type Snapshot interface {
	Reader
	Close() error
}

// Batch collects changes; later ones win. It copies what it is given.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// DeleteRange deletes the keys in [lower, upper). Lower is not empty, and less than upper.
	DeleteRange(lower, upper []byte)
	Reset()
	// Size returns the number of bytes that the batch holds.
	Size() int
	Close() error
}

// Iterator walks over keys. It starts unpositioned. One goroutine uses it at a time.
type Iterator interface {
	First() bool
	Last() bool
	Next() bool
	Prev() bool
	// SeekGE moves to the first key ≥ key; SeekLT to the last one < key. Key is not empty.
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	// SeekPrefixGE moves to the first key ≥ key that has the same prefix (see Split) as key, if there is one. The
	// key must lie within the iterator's bounds. Until the next seek only Next may be called, and it stays within the prefix.
	SeekPrefixGE(key []byte) bool
	// NextPrefix moves to the first key whose prefix is greater than that of the current key. It follows a move
	// forward or SeekGE, and the iterator's upper bound must not have a version.
	NextPrefix() bool
	Valid() bool
	Key() []byte
	Value() []byte
	// Error returns why the iterator is not valid; nil where it merely reached the end.
	Error() error
	Close() error
}
