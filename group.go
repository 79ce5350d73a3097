package balsa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// Leadership is this member's role, its term, and who leads as far as it knows (0: nobody).
type Leadership = raft.Leadership

// Group is this host's member of one replicated state machine. All methods may be called concurrently; those that
// wait must not be called from callbacks or from the state machine.
type Group struct {
	id      GroupID
	host    *Host
	limits  GroupLimits
	replica *replica
	applier *applier
	flusher *flusher

	onLeadership func(Leadership)
	leveled      Leveled // the state machine, nil where all of its commands are of the first level

	pending, pendingBytes atomic.Int64 // proposals that were made here and not answered
	forwardedBytes        atomic.Int64 // proposals that others forwarded to this member, not answered
	reading               atomic.Int64 // read barriers that wait
	applied, committed    atomic.Uint64
	appliedCommands       atomic.Uint64
	failed                atomic.Uint64
	leaderChanges         atomic.Uint64
	entriesMended         atomic.Uint64
	bytesMended           atomic.Uint64
	snapshotsSent         atomic.Uint64
	snapshotsInstalled    atomic.Uint64
	snapshotsResumed      atomic.Uint64
	snapshotsDelegated    atomic.Uint64
	snapshotBytesSent     atomic.Uint64
	snapshotBytesTaken    atomic.Uint64
	tasks                 snapshotTasks
	snapshotError         atomic.Pointer[SnapshotError] // why the last one was not installed
	leadership            atomic.Pointer[Leadership]
	membership            atomic.Pointer[Membership]
	settled               atomic.Pointer[raft.ConfigurationAt]
	fenced                atomic.Pointer[fencedError]
	recovered             atomic.Bool
	lost                  atomic.Pointer[loss]
	ready                 chan struct{}
	readyOnce             sync.Once
	stopped               atomic.Bool
}

// newGroup makes a group's parts and starts its actors. It does not take part in anything before replica.join.
func (h *Host) newGroup(config GroupConfig) (*Group, error) {
	restored, durable, err := h.restore(config)
	if err != nil {
		return nil, err
	}
	state := h.recovered[config.ID]
	restored.Damaged, restored.Doubt = firstDamaged(state.Damaged, restored.Applied.Index), state.Doubt
	now := h.scheduler.Now()
	protocol, err := raft.New(raft.Config{
		Group: config.ID, Self: h.config.Member, Members: config.Members, Configuration: config.Configuration,
		ElectionTimeout: config.ElectionTimeout, HeartbeatInterval: config.HeartbeatInterval, Reluctance: config.Reluctance,
		Hesitation: hesitation(&restored, config.ElectionTimeout),
		Random:     h.config.Random, Limits: config.Limits.Protocol, Level: h.config.Level,
	}, restored, raft.Instant(now))
	if err != nil {
		return nil, err
	}
	h.watched(config.ID, protocol)
	g := &Group{id: config.ID, host: h, limits: config.Limits, onLeadership: config.OnLeadership, ready: make(chan struct{})}
	g.leveled, _ = config.StateMachine.(Leveled)
	g.leadership.Store(&Leadership{Term: restored.HardState.Term})
	membership := protocol.Membership()
	g.membership.Store(&membership)
	settled := raft.ConfigurationAt{Configuration: raft.FirstConfiguration(config.Members)}
	switch {
	case restored.Configuration != nil:
		settled = *restored.Configuration
	case config.Configuration != nil:
		settled.Configuration = *config.Configuration
	}
	g.settled.Store(&settled)
	g.applied.Store(uint64(restored.Applied.Index))
	g.replica = &replica{
		loop: h.loop, group: g, config: config, raft: protocol, expiry: actor.Never,
		leadership: Leadership{Term: restored.HardState.Term},
		applied:    restored.Applied.Index, recoverTo: restored.Commit,
		durable:   durable,
		recorder:  newRecorder(config.RecordedEvents),
		forwarded: forwards{first: h.config.Random()},
	}
	g.applier = &applier{group: g, loop: h.loop, replica: g.replica, machine: config.StateMachine, applied: restored.Applied,
		configuration: restored.Configuration}
	g.replica.applier = g.applier
	if restored.StateLost {
		l := newLoss(errLostAtStart, 0)
		if machine, ok := config.StateMachine.(Rebuilder); ok {
			if cause := machine.Lost(); cause != nil {
				l = newLoss(cause, 0)
			}
		}
		g.lost.Store(l)
		g.applier.lost, g.replica.lost = l.err, l
		g.replica.reportLoss()
	}
	if machine, durable := config.StateMachine.(DurableStateMachine); durable {
		g.flusher = &flusher{group: g, loop: h.loop, replica: g.replica, machine: machine}
		g.applier.flusher = g.flusher
		g.flusher.task = h.scheduler.Start(fmt.Sprintf("flusher of group %d", g.id), g.flusher.turn)
		g.flusher.inbox.Bind(g.flusher.task)
	}
	g.applier.task = h.scheduler.Start(fmt.Sprintf("applier of group %d", g.id), g.applier.turn)
	g.applier.inbox.Bind(g.applier.task)
	g.applier.asks.Bind(g.applier.task)
	h.config.Logger.Info("group started", slog.Uint64("group", uint64(g.id)), memberAttr("member", h.config.Member),
		slog.Uint64("term", uint64(restored.HardState.Term)), slog.Uint64("last", uint64(restored.Last)),
		slog.Uint64("commit", uint64(restored.Commit)), slog.Uint64("applied", uint64(restored.Applied.Index)))
	return g, nil
}

// join makes the replica take part. It runs in the loop.
func (r *replica) join() {
	l := r.loop
	l.replicas[r.config.ID] = r
	l.order = append(l.order, r)
	for _, o := range l.outboxOrder {
		if o.connected {
			r.guard(func() { r.raft.PeerConnected(r.now(), o.peer) })
		}
	}
	if r.lost == nil {
		r.durableTo(r.durable)
	}
	w := l.host.snapshots
	w.inbox.Post(func() { w.shelf(r) })
	r.checkRecovered()
	if state := l.host.recovered[r.config.ID]; len(state.Damaged) > 0 || state.Doubt {
		r.beginMending()
	}
	l.adjustPeers(r, r.group.membership.Load())
	r.checkRemoved()
	l.refuseOlder()
	l.touch(r)
}

// ID returns the group's id.
func (g *Group) ID() GroupID { return g.id }

// Member returns this member's id.
func (g *Group) Member() MemberID { return g.host.config.Member }

// Leadership returns this member's role, its term, and who leads as far as it knows. It costs nothing.
func (g *Group) Leadership() Leadership { return *g.leadership.Load() }

// Applied returns how far this member's state machine is. It costs nothing.
func (g *Group) Applied() Index { return Index(g.applied.Load()) }

// Ready is closed once the state machine has reached the index that the log had recorded as committed when the host
// started. Before that its state may be older than what was read from it before the restart: serve nothing from
// it, not even reads that may be stale (E50). Read barriers wait by themselves.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// Recovered reports whether the state may be served: Ready is closed, and the state was not lost since, or was rebuilt to where it
// had been. It costs nothing: ask it before each read that does not wait for a barrier.
func (g *Group) Recovered() bool { return g.recovered.Load() }

// Err returns why the group was fenced on this host; nil while it works. It wraps ErrFenced.
func (g *Group) Err() error {
	if err := g.fenced.Load(); err != nil {
		return err
	}
	return nil
}

// WaitApplied returns once this member's state machine has applied index.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) WaitApplied(ctx context.Context, index Index) error {
	if g.Applied() >= index {
		return nil
	}
	applied := make(chan error, 1)
	r := g.replica
	if !g.host.loop.control.Post(func() { r.waitApplied(index, func(_ Index, err error) { applied <- err }) }) {
		return ErrClosed
	}
	select {
	case err := <-applied:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *replica) waitApplied(index Index, done func(Index, error)) {
	if r.stopped != nil {
		done(0, r.stopped)
		return
	}
	r.group.reading.Add(1)
	r.batch().waits = append(r.batch().waits, appliedWait{index: index, read: done})
	r.loop.touch(r)
}

func (g *Group) changeLeadership(was, now Leadership) {
	g.leadership.Store(&now)
	if now.Leader != 0 && now.Leader != was.Leader {
		g.leaderChanges.Add(1)
	}
	g.host.config.Observer.LeadershipChanged(g.id, now)
	if was.Leader != now.Leader {
		g.host.config.Logger.Debug("leader changed", slog.Uint64("group", uint64(g.id)), memberAttr("leader", now.Leader),
			slog.Uint64("term", uint64(now.Term)), slog.String("role", now.Role.String()))
	}
	if g.onLeadership != nil {
		g.onLeadership(now)
	}
}

// Close ends this host's part in the group; the host and its other groups go on. Calls that wait end with ErrClosed,
// proposals that may have been appended with ErrOutcomeUnknown. A durable state machine is told to Flush. It must not be called
// from a callback.
func (g *Group) Close() error {
	left := make(chan struct{})
	r := g.replica
	if g.host.loop.control.Post(func() { r.leave(); close(left) }) {
		<-left
	}
	forgotten := make(chan struct{})
	w := g.host.snapshots
	if w.inbox.Post(func() { w.forget(r); close(forgotten) }) {
		<-forgotten
	}
	g.host.clearTroubles(g.id)
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	return g.stop()
}

// leave takes the replica out of the loop. It runs in the loop.
func (r *replica) leave() {
	if r.stopped == nil {
		r.stop(ErrClosed)
	}
	delete(r.loop.replicas, r.config.ID)
	r.loop.order = slices.DeleteFunc(r.loop.order, func(other *replica) bool { return other == r })
}

// stop ends the group's own actors, once the loop has nothing to do with it any more. The host's lock is held.
func (g *Group) stop() error {
	if g.stopped.Swap(true) {
		return nil
	}
	g.applier.task.Stop()
	g.applier.abandon(ErrClosed)
	for _, ask := range g.applier.asks.Close() {
		ask()
	}
	if g.flusher == nil {
		return nil
	}
	g.flusher.task.Stop()
	if g.Err() != nil || g.Lost() != nil {
		return nil
	}
	err := g.flusher.flush()
	if machine, ok := g.applier.machine.(Rebuilder); ok && errors.Is(err, ErrStateDamaged) {
		g.host.config.Logger.Error("the state was found to be damaged as it was to be made durable: the next start has it rebuilt",
			groupAttr(g.id), slog.String("error", err.Error()))
		return guarded(func() error { return machine.Lose(err) })
	}
	return err
}
