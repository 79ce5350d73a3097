//go:build !linux

package cluster

import (
	"fmt"
	"net"
)

// hold holds nothing: elsewhere a bound socket would keep the member itself out.
type hold struct{}

func holdPort(port int) (hold, int, error) {
	probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return hold{}, port, takenOr(err)
	}
	defer probe.Close()
	return hold{}, probe.Addr().(*net.TCPAddr).Port, nil
}

func (hold) release() {}
