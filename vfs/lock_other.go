//go:build !unix || solaris || aix

package vfs

import (
	"errors"
	"os"
)

func lockFile(*os.File) error {
	return errors.New("file locks are not available on this operating system, so a data directory cannot be protected")
}
