package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/balsadb/balsa/internal/bootstrap"
)

// listenable says what is wrong with a URL to listen on. A name would be resolved to whatever it means at the
// moment, so only localhost and addresses are taken, as in etcd.
func listenable(u *url.URL) error {
	if bootstrap.Local(u) {
		return nil
	}
	host := u.Hostname()
	if host != "" && host != "localhost" && net.ParseIP(host) == nil {
		return fmt.Errorf("listening on %s needs an address rather than a name: use the address of one of this machine's interfaces, or 0.0.0.0 for all", u)
	}
	return nil
}

// socketOptions is what --socket-reuse-port and --socket-reuse-address ask for.
type socketOptions struct{ reusePort, reuseAddress bool }

func (o socketOptions) control(_, _ string, conn syscall.RawConn) error {
	var err error
	set := func(option int) {
		conn.Control(func(fd uintptr) {
			err = errors.Join(err, os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1)))
		})
	}
	if o.reusePort {
		set(unix.SO_REUSEPORT)
	}
	if o.reuseAddress {
		set(unix.SO_REUSEADDR)
	}
	return err
}

// listen opens a listener for each URL, or none. The flag's name is for messages.
func listen(flag string, urls []*url.URL, options socketOptions) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
			listeners = nil
		}
	}()
	config := net.ListenConfig{Control: options.control}
	for _, u := range urls {
		network, address := "tcp", u.Host
		if bootstrap.Local(u) {
			network, address = "unix", bootstrap.SocketPath(u)
			if err := removeStale(address); err != nil {
				return listeners, fmt.Errorf("--%s: %w", flag, err)
			}
		}
		listener, err := config.Listen(context.Background(), network, address)
		if err != nil {
			return listeners, explainListen(flag, u, err)
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func explainListen(flag string, u *url.URL, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--%s: %s is in use by another process: stop that one, or give another port (who it is: ss -ltnp 'sport = :%s')", flag, u, u.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("--%s: this machine has no address %s: give one of its own, or 0.0.0.0 for all", flag, u.Hostname())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--%s: this user may not listen on %s: ports below 1024 need a privilege, and a socket a directory that can be written", flag, u)
	}
	return fmt.Errorf("--%s: listening on %s: %w", flag, u, err)
}

// removeStale removes a socket that nobody listens on any more: a process that was killed leaves its own behind.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: name another path", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("%s is in use by another process: stop that one, or name another path", strings.TrimPrefix(path, "./"))
	}
	return os.Remove(path)
}
