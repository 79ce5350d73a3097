//go:build !linux

package vfs

import "os"

func datasync(file *os.File) error { return file.Sync() }

func preallocate(file *os.File, size int64) error { return growTo(file, size) }
