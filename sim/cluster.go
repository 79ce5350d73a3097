package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// State is a state machine with the part of its machine that it lives on.
type State interface {
	balsa.DurableStateMachine
	// PowerCut returns what the next life finds of it.
	PowerCut() (State, error)
	// Digest identifies everything that was applied.
	Digest() string
}

// Options describe a cluster.
type Options struct {
	Members         int
	ElectionTimeout time.Duration
	Limits          balsa.GroupLimits
	NewState        func() (State, error)
	// IgnoreSync makes every disk's Sync a lie: a check that still passes then proves nothing.
	IgnoreSync bool
	Logger     *slog.Logger
}

// Cluster is the hosts of one replicated group in a world.
type Cluster struct {
	World   *World
	Network *Network
	Hosts   []*Host
	options Options
	// Operations counts the disk operations of all hosts. When it reaches CutAt, the power of all goes off at once.
	Operations, CutAt uint64
}

// group is the id of the one group.
const group balsa.GroupID = 1

// Host is one simulated machine: its disk and state outlive its lives.
type Host struct {
	ID      balsa.MemberID
	Disk    *vfs.Mem
	State   State
	Group   *balsa.Group // nil while it is down
	Crashes int
	cluster *Cluster
	life    *life
}

// NewCluster returns a cluster whose hosts are all down.
func NewCluster(w *World, options Options) (*Cluster, error) {
	c := &Cluster{World: w, Network: NewNetwork(w), options: options}
	for i := range options.Members {
		state, err := options.NewState()
		if err != nil {
			return nil, err
		}
		c.Hosts = append(c.Hosts, &Host{ID: balsa.MemberID(i + 1), Disk: vfs.NewMem(), State: state, cluster: c})
	}
	return c, nil
}

// StartAll starts the hosts that are down.
func (c *Cluster) StartAll() error {
	for _, h := range c.Hosts {
		if err := h.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Up reports whether the host runs.
func (h *Host) Up() bool { return h.Group != nil }

// Start begins a new life of a host that is down. Where the power goes off meanwhile it is down again, without an error.
func (h *Host) Start() (err error) {
	if h.Up() {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			if _, cut := r.(powerCut); !cut {
				panic(r)
			}
			err = nil
		}
	}()
	c := h.cluster
	current := &life{host: fmt.Sprint("host", h.ID)}
	h.life = current
	c.World.Trace(current.host, "start")
	h.Disk.IgnoreSync(c.options.IgnoreSync)
	h.Disk.OnOp(func(op vfs.Op) error { return h.onDisk(current, op) })
	runtime, err := balsa.OpenHost(balsa.HostConfig{
		Member: h.ID, Cluster: 1, FS: h.Disk, SegmentSize: 256 << 10,
		Transport: c.Network.Join(h.ID, current), Scheduler: hostScheduler{c.World, current},
		Random: c.World.Uint64, Logger: c.options.Logger,
	})
	if err != nil {
		return fmt.Errorf("seed %d, host %d: %w", c.World.seed, h.ID, err)
	}
	g, err := runtime.StartGroup(balsa.GroupConfig{
		ID: group, Members: c.members(), StateMachine: h.State,
		ElectionTimeout: c.options.ElectionTimeout, Limits: c.options.Limits,
	})
	if err != nil {
		return fmt.Errorf("seed %d, host %d: %w", c.World.seed, h.ID, err)
	}
	h.Group = g
	return nil
}

func (c *Cluster) members() []raft.Member {
	var members []raft.Member
	for _, h := range c.Hosts {
		members = append(members, raft.Member{ID: h.ID})
	}
	return members
}

// onDisk gives a disk operation its time, or cuts the power before it.
func (h *Host) onDisk(current *life, op vfs.Op) error {
	if current.over {
		return vfs.ErrPowerOff
	}
	c := h.cluster
	c.Operations++
	if c.Operations == c.CutAt {
		c.World.Trace("power", "off before operation %d: %v", c.Operations, op)
		c.PowerCut()
		panic(powerCut{current})
	}
	switch op.Kind {
	case vfs.OpSync, vfs.OpSyncDir:
		c.World.spend(c.World.Between(80*time.Microsecond, 2*time.Millisecond))
	default:
		c.World.spend(c.World.Between(2*time.Microsecond, 50*time.Microsecond))
	}
	return nil
}

// PowerCut cuts the power of all hosts at once.
func (c *Cluster) PowerCut() {
	for _, h := range c.Hosts {
		h.Crash()
	}
}

// Crash cuts the power of one host. What it had not synced is at the mercy of the seed.
func (h *Host) Crash() {
	if h.life == nil || h.life.over {
		return
	}
	h.life.over = true
	h.Group = nil
	h.Crashes++
	h.cluster.World.Trace(h.life.host, "crash")
	h.cluster.Network.Leave(h.ID)
	h.Disk = h.Disk.PowerCut(h.cluster.World.Uint64)
	state, err := h.State.PowerCut()
	if err != nil {
		panic(fmt.Sprintf("seed %d: the state of host %d does not open again: %v", h.cluster.World.seed, h.ID, err))
	}
	h.State = state
}

// Pause stops a host where it is, as SIGSTOP does, until Resume. Its connections stay open.
func (h *Host) Pause() {
	if h.Up() && !h.life.paused {
		h.cluster.World.Trace(h.life.host, "pause")
		h.life.paused = true
	}
}

// Resume lets a paused host go on.
func (h *Host) Resume() {
	if h.life != nil && h.life.paused {
		h.cluster.World.Trace(h.life.host, "resume")
		h.life.resume(h.cluster.World)
	}
}

// Leader returns the host that leads in the highest term, nil where none does.
func (c *Cluster) Leader() *Host {
	var leader *Host
	var term balsa.Term
	for _, h := range c.Hosts {
		if !h.Up() {
			continue
		}
		if now := h.Group.Leadership(); now.Role == raft.Leader && now.Term > term {
			leader, term = h, now.Term
		}
	}
	return leader
}

// Converge starts what is down, heals the network, and waits until all hosts have applied one more command, proposed
// now, and with it everything before; and equally much.
func (c *Cluster) Converge(limit time.Duration, probe raft.Entry) error {
	c.CutAt = 0
	c.Network.Heal()
	for _, h := range c.Hosts {
		h.Resume()
	}
	if err := c.StartAll(); err != nil {
		return err
	}
	var index balsa.Index
	asking := false
	attempt := 0
	ask := func() {
		h := c.Hosts[attempt%len(c.Hosts)]
		attempt++
		asking = true
		entry := raft.SealedEntry(probe.Kind(), probe.Payload())
		h.Group.ProposeEntry(entry, 4*c.options.ElectionTimeout, func(r balsa.Result, err error) {
			asking = false
			if err == nil {
				index = r.Index
			}
		})
	}
	return c.World.RunUntil(limit, func() bool {
		if index == 0 {
			if !asking {
				ask()
			}
			return false
		}
		for _, h := range c.Hosts {
			if applied := h.Group.Applied(); applied < index || applied != c.Hosts[0].Group.Applied() {
				return false
			}
		}
		return true
	})
}

// CheckDigests returns an error where two hosts that have applied equally much differ, and one where they have not.
func (c *Cluster) CheckDigests() error {
	first := c.Hosts[0]
	var problems []error
	for _, h := range c.Hosts[1:] {
		if h.Group.Applied() != first.Group.Applied() || h.State.Digest() != first.State.Digest() {
			problems = append(problems, fmt.Errorf("seed %d: host %d applied up to %d with digest %s, host %d up to %d with %s",
				c.World.seed, first.ID, first.Group.Applied(), first.State.Digest(), h.ID, h.Group.Applied(), h.State.Digest()))
		}
	}
	return errors.Join(problems...)
}
