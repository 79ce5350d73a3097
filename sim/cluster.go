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
	// PowerCut returns what the next life finds of it. The former one is not used any more.
	PowerCut() (State, error)
	// Digest identifies everything that was applied.
	Digest() string
}

// Options describe a cluster.
type Options struct {
	Members         int
	ElectionTimeout time.Duration
	Limits          balsa.GroupLimits
	SegmentSize     int64 // of the log; 256 KiB by default
	NewState        func() (State, error)
	// IgnoreSync makes every disk's Sync a lie: a check that still passes then proves nothing.
	IgnoreSync bool
	Logger     *slog.Logger
	// Life may change what the next life of a host is started with.
	Life func(*Host, *balsa.HostConfig, *balsa.GroupConfig)
}

// Cluster is the hosts of one replicated group in a world. Hosts come (Add) and go for good (Retire): what is to be known of one beyond
// that is found by its id, which nobody else ever has.
type Cluster struct {
	World   *World
	Network *Network
	Hosts   []*Host // those that there are
	ever    []*Host // all that there ever were: the one with the id i at i-1
	first   raft.Configuration
	options Options
	// Operations counts the disk operations of all hosts. When it reaches CutAt, the power of all goes off at once.
	Operations, CutAt uint64
	// onStart is told of each life that has begun.
	onStart func(*Host)
	// onCrash is told of each life that is over, before its disk is taken away.
	onCrash func(*Host)
}

// group is the id of the one group.
const group balsa.GroupID = 1

// Host is one simulated machine: its disk and state outlive its lives.
type Host struct {
	ID      balsa.MemberID
	Address string // where it is; a later host may have the same
	Disk    *vfs.Mem
	State   State
	Group   *balsa.Group // nil while it is down
	Crashes int
	disk    diskFaults
	rotten  *rotten // in a file, since its last life; nil for none
	clock   clock
	cluster *Cluster
	life    *life
	runtime *balsa.Host
	// first is what its log starts from: the cluster's first configuration, or what it was told when it joined; nil for a host
	// that has not joined yet.
	first   *raft.Configuration
	joining bool // it asks who it is
	gone    bool // for good
}

// NewCluster returns a cluster whose hosts are all down.
func NewCluster(w *World, options Options) (*Cluster, error) {
	if options.SegmentSize == 0 {
		options.SegmentSize = 256 << 10
	}
	c := &Cluster{World: w, Network: NewNetwork(w), options: options}
	var members []raft.Member
	for range options.Members {
		h, err := c.Add("")
		if err != nil {
			return nil, err
		}
		members = append(members, raft.Member{ID: h.ID})
	}
	c.first = raft.FirstConfiguration(members)
	for _, h := range c.Hosts {
		c.first.Seat(h.ID).Address = h.Address
		h.first = &c.first
	}
	return c, nil
}

// Add returns a new host with an empty disk, that is down and has joined nothing. Where address is empty it has one of its own.
func (c *Cluster) Add(address string) (*Host, error) {
	state, err := c.options.NewState()
	if err != nil {
		return nil, err
	}
	now := c.World.now
	h := &Host{
		ID: balsa.MemberID(len(c.ever) + 1), Address: address, Disk: vfs.NewMem(), State: state, cluster: c,
		clock: clock{since: now, at: now, rate: exactRate},
	}
	if h.Address == "" {
		h.Address = fmt.Sprint("host", h.ID)
	}
	c.Hosts, c.ever = append(c.Hosts, h), append(c.ever, h)
	return h, nil
}

// Retire takes a host away for good, with its disk.
func (c *Cluster) Retire(h *Host) {
	h.Kill()
	h.gone = true
	c.Network.Forget(h.ID)
	var left []*Host // a slice of its own, since somebody may be walking over the former one
	for _, other := range c.Hosts {
		if other != h {
			left = append(left, other)
		}
	}
	c.Hosts = left
}

// host returns who has the id, whether it is there still or not; nil for nobody.
func (c *Cluster) host(id balsa.MemberID) *Host {
	if id == 0 || uint64(id) > uint64(len(c.ever)) {
		return nil
	}
	return c.ever[id-1]
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
	if h.Up() || h.gone {
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
	current := newLife(h.ID, &h.clock)
	h.life = current
	c.World.note(Event{Member: h.ID, Actor: "host", What: "start"})
	h.Disk.IgnoreSync(c.options.IgnoreSync)
	h.Disk.OnOp(func(op vfs.Op) error { return h.onDisk(current, op) })
	host := balsa.HostConfig{
		Member: h.ID, Cluster: 1, FS: h.Disk, SegmentSize: c.options.SegmentSize,
		Transport: c.Network.Join(h.ID, current, h.first), Scheduler: hostScheduler{c.World, current},
		Random: c.World.Uint64, Logger: c.options.Logger,
	}
	config := balsa.GroupConfig{
		ID: group, Configuration: h.first, StateMachine: h.machine(),
		ElectionTimeout: c.options.ElectionTimeout, Limits: c.options.Limits,
	}
	if c.options.Life != nil {
		c.options.Life(h, &host, &config)
	}
	runtime, err := balsa.OpenHost(host)
	if err != nil {
		return h.stillborn(err)
	}
	h.runtime = runtime
	g, err := runtime.StartGroup(config)
	if err != nil {
		return h.stillborn(err)
	}
	h.Group = g
	if c.onStart != nil {
		c.onStart(h)
	}
	return nil
}

// stillborn ends a life that did not begin.
func (h *Host) stillborn(cause error) error {
	h.end(true)
	return fmt.Errorf("seed %d, host %d: %w", h.cluster.World.seed, h.ID, cause)
}

// machine returns the state machine that the runtime drives.
func (h *Host) machine() balsa.StateMachine {
	if s, ok := h.State.(*StoreState); ok {
		return s.machine()
	}
	return h.State
}

// PowerCut cuts the power of all hosts at once.
func (c *Cluster) PowerCut() {
	for _, h := range c.Hosts {
		h.Crash()
	}
}

// Crash cuts the power of one host. What it had not synced is at the mercy of the seed. The others find out at once: something
// refuses their connections.
func (h *Host) Crash() { h.crash("power cut", true) }

// Vanish is Crash, and nothing answers the others any more: they have to find out by themselves.
func (h *Host) Vanish() { h.crash("vanishes", false) }

func (h *Host) crash(what string, refused bool) {
	if h.life == nil || h.life.over {
		return
	}
	h.cluster.World.note(Event{Member: h.ID, Actor: "host", What: what})
	h.over(refused)
	h.Disk = h.Disk.PowerCut(h.cluster.World.Uint64)
	h.reopen()
}

// Kill ends the process and leaves the machine: what was written is there, though not durable.
func (h *Host) Kill() {
	if h.life == nil || h.life.over {
		return
	}
	h.cluster.World.note(Event{Member: h.ID, Actor: "host", What: "killed"})
	h.over(true)
	h.Disk = h.Disk.Kill()
	h.reopen()
}

// end is Kill where there may be no group yet.
func (h *Host) end(refused bool) {
	if h.life.over {
		return
	}
	h.over(refused)
	h.Disk = h.Disk.Kill()
	h.reopen()
}

func (h *Host) over(refused bool) {
	if h.cluster.onCrash != nil && h.Up() {
		h.cluster.onCrash(h)
	}
	h.life.over = true
	h.Group, h.runtime = nil, nil
	h.Crashes++
	h.cluster.Network.Leave(h.ID, refused)
}

func (h *Host) reopen() {
	state, err := h.State.PowerCut()
	if err != nil {
		panic(fmt.Sprintf("seed %d: the state of host %d does not open again: %v", h.cluster.World.seed, h.ID, err))
	}
	h.State = state
}

// Stop closes a host as an operator does, so that everything is durable, and ends its process.
func (h *Host) Stop() (err error) {
	if !h.Up() {
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
	h.cluster.World.note(Event{Member: h.ID, Actor: "host", What: "stop"})
	err = h.runtime.Close()
	h.end(true)
	return err
}

// Pause stops a host where it is, as SIGSTOP does, until Resume. Its connections stay open.
func (h *Host) Pause() {
	if h.Up() && !h.life.paused {
		h.cluster.World.note(Event{Member: h.ID, Actor: "host", What: "pause"})
		h.life.paused = true
	}
}

// Resume lets a paused host go on.
func (h *Host) Resume() {
	if h.life != nil && h.life.paused {
		h.cluster.World.note(Event{Member: h.ID, Actor: "host", What: "resume"})
		h.life.resume(h.cluster.World)
	}
}

// SetClock makes the host's clock jump, and go on at another rate (exactRate is right, 0 stands still).
func (h *Host) SetClock(jump time.Duration, rate int64) {
	w := h.cluster.World
	w.note(Event{Member: h.ID, Actor: "clock", What: "set", N: uint64(rate), Index: balsa.Index(jump)})
	h.clock.set(w.now, int64(jump), rate)
	if h.life == nil || h.life.over {
		return
	}
	for _, t := range h.life.tasks {
		if !t.dead() && !t.busy {
			t.setAlarm(t.alarm)
		}
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
