package balsa

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// Options say where a host of Open lives, and who the others are.
type Options struct {
	// Dir is the data directory. It is made where it is missing, belongs to this member for ever, and is locked while
	// the host is open. Required.
	Dir string
	// Member is this host's id, and Members has the address (host:port) of every host's peer port, this one's included.
	// Ids are never 0, and never used again for another host.
	Member  MemberID
	Members map[MemberID]string
	// Listen is the address that this host listens on for the others: by default its own of Members.
	// Listener, where set, is used instead; the host closes it.
	Listen   string
	Listener net.Listener
	// Cluster is a name that all members share: hosts of clusters with different names refuse each other, and so do their
	// directories. "balsa" by default.
	Cluster string
	// ServerTLS and ClientTLS switch on TLS between the hosts; for mutual TLS the former requires and verifies client
	// certificates, and the latter has one. Set both or neither. Without them anybody who reaches the port can take part.
	ServerTLS, ClientTLS *tls.Config
	// Logger is told of what operators should know; nil discards it.
	Logger *slog.Logger
	// Observer is told what the host measures; nil for nobody.
	Observer Observer
}

// Open starts a host on this machine's disk and network. It is OpenHost for those who need neither of their own.
func Open(options Options) (host *Host, err error) {
	identity, err := options.identity()
	if err != nil {
		return nil, closeListener(options.Listener, err)
	}
	fs := vfs.NewOS(options.Dir)
	directory, err := datadir.Open(fs, options.Dir, identity, rand.Reader)
	if err != nil {
		return nil, closeListener(options.Listener, err)
	}
	register, warning, err := datadir.OpenPeers(fs, time.Now) //balsa:edge Open is on this machine: its disk, its network, its clock
	if err != nil {
		return nil, closeListener(options.Listener, errors.Join(err, directory.Close()))
	}
	if warning != nil && options.Logger != nil {
		options.Logger.Warn(warning.Error())
	}
	network, err := options.network(directory.Identity, register)
	if err != nil {
		return nil, errors.Join(err, directory.Close())
	}
	host, err = OpenHost(HostConfig{
		Member: options.Member, Cluster: identity.Cluster.ID, DataDir: directory.Identity.ID, FS: fs,
		Transport: network, Logger: options.Logger, Observer: options.Observer,
	})
	if err != nil {
		return nil, errors.Join(err, directory.Close())
	}
	host.onClose = append(host.onClose, register.Close, directory.Close)
	for _, id := range slices.Sorted(maps.Keys(options.Members)) {
		host.members = append(host.members, raft.Member{ID: id, Life: firstLife})
	}
	return host, nil
}

// firstLife is the incarnation of a group's first members.
const firstLife raft.Incarnation = 1

func (o *Options) identity() (datadir.Identity, error) {
	switch {
	case o.Dir == "":
		return datadir.Identity{}, errors.New("Options.Dir is empty: a host needs a directory for its log")
	case o.Members[o.Member] == "":
		return datadir.Identity{}, fmt.Errorf("Options.Members has no address for member %d, which is this host", o.Member)
	case (o.ServerTLS == nil) != (o.ClientTLS == nil):
		return datadir.Identity{}, errors.New("Options.ServerTLS and Options.ClientTLS are set both, or neither")
	}
	name := cmp.Or(o.Cluster, "balsa")
	sum := sha256.Sum256([]byte("balsa cluster " + name))
	identity := datadir.Identity{Member: o.Member, Name: fmt.Sprint(o.Member)}
	identity.Cluster.ID = binary.BigEndian.Uint64(sum[:])
	for _, id := range slices.Sorted(maps.Keys(o.Members)) {
		identity.Cluster.Members = append(identity.Cluster.Members,
			bootstrap.Member{ID: id, Name: fmt.Sprint(id), PeerURLs: []string{o.url(id)}})
	}
	return identity, nil
}

func (o *Options) url(id MemberID) string {
	if o.ClientTLS != nil {
		return "https://" + o.Members[id]
	}
	return "http://" + o.Members[id]
}

// network makes the transport. It owns the listener from here on.
func (o *Options) network(identity datadir.Identity, register transport.Register) (transport.Transport, error) {
	listener := o.Listener
	if listener == nil {
		address := cmp.Or(o.Listen, o.Members[o.Member])
		var err error
		if listener, err = net.Listen("tcp", address); err != nil {
			return nil, fmt.Errorf("listening for the other members: %w", err)
		}
	}
	tcp, err := transport.NewTCP(transport.TCPConfig{
		Self:      transport.Identity{Cluster: identity.Cluster.ID, Member: o.Member, Life: firstLife, DataDir: identity.ID},
		Listeners: []net.Listener{listener}, ServerTLS: o.ServerTLS, ClientTLS: o.ClientTLS, Logger: o.Logger, Register: register,
	})
	if err != nil {
		return nil, closeListener(listener, err)
	}
	for _, id := range slices.Sorted(maps.Keys(o.Members)) {
		if id == o.Member {
			continue
		}
		if err := tcp.AddPeer(id, []string{o.url(id)}); err != nil {
			return nil, errors.Join(fmt.Errorf("member %d: %w", id, err), tcp.Close())
		}
	}
	return tcp, nil
}

func closeListener(listener net.Listener, err error) error {
	if listener == nil {
		return err
	}
	return errors.Join(err, listener.Close())
}
