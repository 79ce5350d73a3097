package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/balsadb/balsa"
)

// library is Balsa, with default settings.
type library struct {
	hosts    []*balsa.Host
	groups   []*balsa.Group
	counters []*counter
	leader   *balsa.Group
}

func newBalsa(dir string) (contender, error) {
	b := &library{}
	if err := b.start(dir); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *library) start(dir string) error {
	addresses := map[balsa.MemberID]string{}
	var listeners []net.Listener
	for i := range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners = append(listeners, listener)
		addresses[balsa.MemberID(i+1)] = listener.Addr().String()
	}
	for i, listener := range listeners {
		host, err := balsa.Open(balsa.Options{
			Dir: filepath.Join(dir, fmt.Sprint(i+1)), Member: balsa.MemberID(i + 1), Members: addresses, Listener: listener,
		})
		if err != nil {
			return err
		}
		b.hosts = append(b.hosts, host)
		c := &counter{}
		group, err := host.StartGroup(balsa.GroupConfig{ID: 1, StateMachine: balsaMachine{c}})
		if err != nil {
			return err
		}
		b.groups, b.counters = append(b.groups, group), append(b.counters, c)
	}
	leader, err := leads(len(b.groups), func(i int) bool { return b.groups[i].Leadership().Leader == b.groups[i].Member() })
	if err != nil {
		return err
	}
	b.leader = b.groups[leader]
	return nil
}

func (b *library) propose(ctx context.Context, entry []byte) error {
	_, err := b.leader.Propose(ctx, entry)
	return err
}

func (b *library) members() []*counter { return b.counters }

func (b *library) close() error {
	var errs []error
	for _, host := range b.hosts {
		errs = append(errs, host.Close())
	}
	return errors.Join(errs...)
}

// balsaMachine is the counter as a state machine of Balsa.
type balsaMachine struct{ counter *counter }

func (m balsaMachine) Apply(batch *balsa.Batch) error {
	for i := range batch.Commands {
		m.counter.apply(batch.Commands[i].Payload)
	}
	return nil
}
