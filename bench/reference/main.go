// Command reference is the etcd server as its authors publish it: nothing but a call of their own main function, with
// the versions of its dependencies that their module names. Balsa is measured and compared against it.
//
// So that the same harness starts both, it takes a leading "serve", which it drops, and ends when whoever started it
// is gone, like balsa serve: BALSA_LIFELINE_FD is the reading end of a pipe that nobody writes to.
package main

import (
	"io"
	"os"
	"slices"
	"strconv"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	if fd, err := strconv.Atoi(os.Getenv("BALSA_LIFELINE_FD")); err == nil {
		os.Unsetenv("BALSA_LIFELINE_FD")
		go func() {
			io.Copy(io.Discard, os.NewFile(uintptr(fd), "lifeline"))
			os.Exit(1)
		}()
	}
	args := os.Args
	if len(args) > 1 && args[1] == "serve" {
		args = slices.Delete(slices.Clone(args), 1, 2)
	}
	etcdmain.Main(args)
}
