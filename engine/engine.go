// Package engine is the ordered key-value store that a state machine keeps its state in.
//
// It promises little, so that two implementations can keep it: a batch becomes visible at once and in
// order; after a crash the state is exactly what some prefix of the applied batches made, namely the prefix that
// the last completed Flush covered. There is no write-ahead log: the replicated log is one.
package engine

import "errors"

// ErrNotFound is returned by Get where there is no such key.
var ErrNotFound = errors.New("engine: key not found")

// Reader reads. Keys and values that it returns are valid until the reader is closed or, for an iterator, moved.
type Reader interface {
	// Get returns the value of key, or ErrNotFound. The value is a copy.
	Get(key []byte) ([]byte, error)
	// NewIterator iterates over keys in [lower, upper), in byte order; a nil bound is open.
	NewIterator(lower, upper []byte) (Iterator, error)
}

// Engine is an open store. Reads may run concurrently with everything; Apply, Flush and Close have one caller at a time.
type Engine interface {
	Reader
	// NewSnapshot returns a view of the state as it is now.
	NewSnapshot() Snapshot
	// NewBatch returns an empty batch of changes.
	NewBatch() Batch
	// Apply makes a batch's changes visible, all at once. It does not make them durable. The batch may be Reset and used again afterwards.
	Apply(batch Batch) error
	// Flush makes everything that was applied durable.
	Flush() error
	// GetDurable returns the value of key as it would be found after a power cut now, or ErrNotFound.
	GetDurable(key []byte) ([]byte, error)
	// Checkpoint writes a copy of the durable state into a directory that does not exist yet.
	Checkpoint(dir string) error
	// DiskBytes returns the physical size of what is stored, in bytes.
	DiskBytes() uint64
	// Close releases the store. What was not flushed is gone.
	Close() error
}

// Snapshot is a Reader of an unchanging state.
type Snapshot interface {
	Reader
	Close() error
}

// Batch collects changes; later ones win.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// DeleteRange deletes the keys in [lower, upper).
	DeleteRange(lower, upper []byte)
	Reset()
	// Size returns the number of bytes that the batch holds.
	Size() int
	Close() error
}

// Iterator walks over keys. It starts unpositioned.
type Iterator interface {
	First() bool
	Last() bool
	Next() bool
	Prev() bool
	// SeekGE moves to the first key ≥ key; SeekLT to the last one < key.
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Valid() bool
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}
