package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func datasync(file *os.File) error {
	for {
		switch err := unix.Fdatasync(int(file.Fd())); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return os.NewSyscallError("fdatasync "+file.Name(), err)
		}
	}
}

// preallocate reserves blocks. A file system that cannot gets a longer file, and may be full later.
func preallocate(file *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(file.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return growTo(file, size)
		default:
			return os.NewSyscallError("fallocate "+file.Name(), err)
		}
	}
}
