package cluster

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// hold is a socket that is bound and does not listen. Linux gives its port to nobody who asks for any port, and lets
// whoever asks for this one have it, as long as both set SO_REUSEADDR, which Go does for listeners.
type hold struct{ fd int }

func holdPort(port int) (hold, int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return hold{}, port, os.NewSyscallError("socket", err)
	}
	h := hold{fd}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		h.release()
		return hold{}, port, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		h.release()
		return hold{}, port, takenOr(err)
	}
	name, err := unix.Getsockname(fd)
	address, ok := name.(*unix.SockaddrInet4)
	if err != nil || !ok {
		h.release()
		return hold{}, port, os.NewSyscallError("getsockname", err)
	}
	// Binding to one address says nothing of a listener on all of them, which a listener here would meet.
	if port != 0 {
		probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			h.release()
			return hold{}, port, takenOr(err)
		}
		probe.Close()
	}
	return h, address.Port, nil
}

func (h hold) release() { unix.Close(h.fd) }
