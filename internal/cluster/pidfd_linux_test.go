package cluster

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pidfd is a descriptor of a process: it becomes readable when the process ends.
type pidfd int

func openPidfd(pid int) (pidfd, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return pidfd(fd), err
}

func (p pidfd) await() error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p), Events: unix.POLLIN}}, 60_000)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = fmt.Errorf("still there after a minute")
		}
		return err
	}
}

func (p pidfd) Close() { unix.Close(int(p)) }
