package vfs

import "errors"

// ErrNoSpace is wrapped by errors of a full disk.
var ErrNoSpace = errors.New("no space left on device")

// ErrLocked is wrapped by Lock where another holder has the lock.
var ErrLocked = errors.New("locked by another process")
