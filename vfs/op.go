package vfs

import (
	"errors"
	"fmt"
)

// OpKind is what a mutating operation does to a disk.
type OpKind uint8

// The operations that a Mem announces before it carries them out.
const (
	OpCreate OpKind = iota + 1
	OpRemove
	OpRename
	OpMkdir
	OpSyncDir
	OpWrite
	OpPreallocate
	OpTruncate
	OpSync
)

var opNames = [...]string{
	OpCreate: "create", OpRemove: "remove", OpRename: "rename", OpMkdir: "mkdir", OpSyncDir: "sync-dir",
	OpWrite: "write", OpPreallocate: "preallocate", OpTruncate: "truncate", OpSync: "sync",
}

func (k OpKind) String() string {
	if k < OpCreate || k > OpSync {
		return fmt.Sprintf("op-%d", uint8(k))
	}
	return opNames[k]
}

// Op is one mutating operation that is about to be carried out.
type Op struct {
	N      uint64 // counts a disk's mutating operations, from 1
	Kind   OpKind
	Name   string
	Offset int64 // of a write
	Size   int64 // of a write; the new size of a preallocation or truncation
}

func (o Op) String() string {
	return fmt.Sprintf("#%d %v %s [%d,+%d)", o.N, o.Kind, o.Name, o.Offset, o.Size)
}

// ErrPowerOff is returned by everything on a disk whose power was cut, or whose process was killed.
var ErrPowerOff = errors.New("the power is off")

// PartialError makes a write fail after its first bytes, as a disk that fills up in mid-record does.
type PartialError struct {
	Written int
	Err     error
}

func (e *PartialError) Error() string { return fmt.Sprintf("after %d bytes: %v", e.Written, e.Err) }

// Unwrap returns the cause.
func (e *PartialError) Unwrap() error { return e.Err }
