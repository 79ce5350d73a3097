package cluster

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A held port is the system's word: who does not share addresses on purpose is not given it.
func TestHeldPortsAreBound(t *testing.T) {
	ports, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	bind := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrInet4{Port: ports[0].Client, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err := bind(); err != unix.EADDRINUSE {
		t.Errorf("binding to a held port: %v", err)
	}
	ports[0].Release()
	if err := bind(); err != nil {
		t.Errorf("binding to a port that was given back: %v", err)
	}
}
