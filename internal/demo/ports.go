package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/balsadb/balsa/internal/cluster"
)

// PortWish says where the members should listen: the first at Client and Peer, each further one 10 above.
// Where a port was not asked for by name and is taken, a free one is used instead.
type PortWish struct {
	Client, Peer int
	Asked        bool
}

// portsFile remembers in a kept directory where its members listen: who they are follows from that.
const portsFile = "demo.json"

type portsRecord struct {
	Members []portsPair `json:"members"`
}

type portsPair struct {
	Client int `json:"client_port"`
	Peer   int `json:"peer_port"`
}

// choosePorts finds and holds the members' ports.
func choosePorts(dir string, wish PortWish) (ports []cluster.Ports, err error) {
	defer func() {
		if err != nil {
			for _, p := range ports {
				p.Release()
			}
		}
	}()
	kept, err := readPorts(dir)
	if err != nil {
		return nil, err
	}
	for i := range members {
		client, peer := wish.Client+10*i, wish.Peer+10*i
		if kept != nil {
			if wish.Asked && (kept[i].Client != client || kept[i].Peer != peer) {
				return ports, fmt.Errorf("member %d of %s has ports %d and %d: leave --client-port and --peer-port out, or use another --dir",
					i+1, dir, kept[i].Client, kept[i].Peer)
			}
			client, peer = kept[i].Client, kept[i].Peer
		}
		p, err := cluster.Hold(client, peer)
		switch {
		case errors.Is(err, cluster.ErrTaken) && kept != nil:
			return ports, fmt.Errorf("member %d of %s has ports %d and %d, and %w: end that process, or use another --dir", i+1, dir, client, peer, err)
		case errors.Is(err, cluster.ErrTaken) && wish.Asked:
			return ports, fmt.Errorf("member %d: %w: end that process, or give other ports with --client-port and --peer-port", i+1, err)
		case errors.Is(err, cluster.ErrTaken):
			p, err = cluster.Hold(0, 0)
		}
		if err != nil {
			return ports, err
		}
		ports = append(ports, p)
	}
	return ports, writePorts(dir, ports)
}

func readPorts(dir string) ([]portsPair, error) {
	text, err := os.ReadFile(filepath.Join(dir, portsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var record portsRecord
	if err := json.Unmarshal(text, &record); err != nil || len(record.Members) != members {
		return nil, fmt.Errorf("%s does not say where %d members listen: use another --dir", filepath.Join(dir, portsFile), members)
	}
	return record.Members, nil
}

func writePorts(dir string, ports []cluster.Ports) error {
	var record portsRecord
	for _, p := range ports {
		record.Members = append(record.Members, portsPair{p.Client, p.Peer})
	}
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, portsFile), append(text, '\n'), 0o600)
}
