package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// hashicorp is hashicorp/raft with raft-wal.
type hashicorp struct {
	nodes    []*raft.Raft
	logs     []*wal.WAL
	counters []*counter
	leader   *raft.Raft
}

// newHashicorp starts three members, with the settings that make for throughput: proposals are batched, 1,024 entries may
// go in one message (16 times the default, and the most that there may be), and the state machine takes batches.
func newHashicorp(dir string) (contender, error) {
	h := &hashicorp{}
	if err := h.start(dir); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *hashicorp) start(dir string) error {
	var voters []raft.Server
	var transports []*raft.NetworkTransport
	for i := range 3 {
		transport, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 3, 10*time.Second, hclog.NewNullLogger())
		if err != nil {
			return err
		}
		transports = append(transports, transport)
		voters = append(voters, raft.Server{ID: raft.ServerID(fmt.Sprint(i + 1)), Address: transport.LocalAddr()})
	}
	for i, transport := range transports {
		if err := h.startMember(filepath.Join(dir, fmt.Sprint(i+1)), voters[i].ID, transport, voters); err != nil {
			return err
		}
	}
	leader, err := leads(len(h.nodes), func(i int) bool { return h.nodes[i].State() == raft.Leader })
	if err != nil {
		return err
	}
	h.leader = h.nodes[leader]
	return nil
}

func (h *hashicorp) startMember(dir string, id raft.ServerID, transport raft.Transport, voters []raft.Server) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log, err := wal.Open(dir)
	if err != nil {
		return err
	}
	h.logs = append(h.logs, log)
	config := raft.DefaultConfig()
	config.LocalID = id
	config.Logger = hclog.NewNullLogger()
	config.BatchApplyCh = true
	config.MaxAppendEntries = 1024
	c := &counter{}
	node, err := raft.NewRaft(config, hashicorpMachine{c}, log, log, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return err
	}
	h.nodes, h.counters = append(h.nodes, node), append(h.counters, c)
	return node.BootstrapCluster(raft.Configuration{Servers: voters}).Error()
}

func (h *hashicorp) propose(_ context.Context, entry []byte) error {
	return h.leader.Apply(entry, time.Minute).Error()
}

func (h *hashicorp) members() []*counter { return h.counters }

func (h *hashicorp) close() error {
	var errs []error
	for _, node := range h.nodes {
		errs = append(errs, node.Shutdown().Error())
	}
	for _, log := range h.logs {
		errs = append(errs, log.Close())
	}
	return errors.Join(errs...)
}

// hashicorpMachine is the counter as a state machine of hashicorp/raft.
type hashicorpMachine struct{ counter *counter }

func (m hashicorpMachine) Apply(log *raft.Log) any {
	m.counter.apply(log.Data)
	return nil
}

func (m hashicorpMachine) ApplyBatch(logs []*raft.Log) []any {
	for _, log := range logs {
		if log.Type == raft.LogCommand {
			m.counter.apply(log.Data)
		}
	}
	return make([]any, len(logs))
}

func (hashicorpMachine) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("a run is too short for snapshots")
}

func (hashicorpMachine) Restore(io.ReadCloser) error {
	return errors.New("a run is too short for snapshots")
}
