package cluster

import (
	"errors"
	"fmt"
	"syscall"
)

// Ports are where one member listens. They may be held: bound by this process, without listening, so that nobody else
// is given them while the member is down, and the member itself can still take them.
type Ports struct {
	Client, Peer int
	held         []hold
}

// FreePorts finds ports for n members and holds them.
func FreePorts(n int) ([]Ports, error) {
	var all []Ports
	for range n {
		p, err := Hold(0, 0)
		if err != nil {
			for _, p := range all {
				p.Release()
			}
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// ErrTaken is wrapped where somebody listens on a port already.
var ErrTaken = errors.New("in use by another process")

// takenOr makes ErrTaken of the system's word for it; other errors stay.
func takenOr(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return ErrTaken
	}
	return err
}

// Hold takes two ports of 127.0.0.1 for a member; 0 stands for a free one.
func Hold(client, peer int) (Ports, error) {
	c, client, err := holdPort(client)
	if err != nil {
		return Ports{}, portError(client, err)
	}
	p, peer, err := holdPort(peer)
	if err != nil {
		c.release()
		return Ports{}, portError(peer, err)
	}
	return Ports{client, peer, []hold{c, p}}, nil
}

// Release gives the ports back.
func (p Ports) Release() {
	for _, h := range p.held {
		h.release()
	}
}

func portError(port int, err error) error {
	if errors.Is(err, ErrTaken) {
		return fmt.Errorf("port %d is %w", port, err)
	}
	return fmt.Errorf("port %d: %w", port, err)
}
