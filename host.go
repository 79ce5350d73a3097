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
	"github.com/balsadb/balsa/wal"
)

// Host owns a disk, a network and the actors that drive them: a loop, which has the protocol of all groups, a writer and a
// reader of the log and one that prepares its files, and for each group an applier. All its methods may be called concurrently, but none that waits
// from a callback, since callbacks run in the actors.
type Host struct {
	config    HostConfig
	scheduler actor.Scheduler
	log       *wal.Log
	loop      *loop
	writer    *logWriter
	reader    *logReader
	preparer  *logPreparer
	keeper    *roomKeeper
	snapshots *snapshotWorker
	recovery  wal.Report
	members   []raft.Member  // that Open knows of
	onClose   []func() error // what Open opened

	inboxBytes      atomic.Int64
	dropped         atomic.Uint64
	malformedFrames atomic.Uint64
	failed          atomic.Pointer[diskError]
	disowned        atomic.Pointer[diskError]
	troubles        troubles

	mu        sync.Mutex // guards what follows: starting and closing, never the path of a command
	recovered map[GroupID]wal.GroupState
	groups    []*Group
	closed    bool
}

var (
	errForged    = errors.New("it names another sender than its connection's")
	errInboxFull = fmt.Errorf("%w: what arrived and was not yet looked at fills the inbox", ErrOverloaded)
)

// diskError is why the log's disk is out of use.
type diskError struct{ err error }

// OpenHost opens the log, recovers what it holds, and starts the host's actors. The host owns the transport from now on, also
// where an error is returned.
func OpenHost(config HostConfig) (*Host, error) {
	config, err := config.withDefaults()
	if err != nil {
		if config.Transport != nil {
			err = errors.Join(err, config.Transport.Close())
		}
		return nil, err
	}
	log, recovered, err := wal.Open(config.FS, config.Dir, wal.Options{
		Identity:    wal.Identity{Cluster: config.Cluster, Member: config.Member, DataDir: config.DataDir},
		SegmentSize: config.SegmentSize, Mend: true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log in %s: %w", config.Dir, err), config.Transport.Close())
	}
	h := &Host{config: config, scheduler: config.Scheduler, log: log, recovery: recovered.Report, recovered: map[GroupID]wal.GroupState{}}
	for _, note := range recovered.Report.Notes {
		config.Logger.Warn("the log was mended as it was opened: " + note)
	}
	for _, g := range recovered.Groups {
		h.recovered[g.Group] = g
	}
	h.reportDamage(recovered)
	if h.snapshots, err = newSnapshotWorker(h); err != nil {
		return nil, errors.Join(err, log.Close(), config.Transport.Close())
	}
	h.loop = newLoop(h)
	h.writer = &logWriter{host: h, idleAt: actor.Never}
	h.reader = &logReader{host: h}
	h.preparer = &logPreparer{host: h}
	h.keeper = &roomKeeper{host: h}
	h.keeper.task = h.scheduler.Start("room keeper", h.keeper.turn)
	h.keeper.inbox.Bind(h.keeper.task)
	h.watchRoom()
	h.preparer.task = h.scheduler.Start("log preparer", h.preparer.turn)
	h.preparer.inbox.Bind(h.preparer.task)
	h.writer.task = h.scheduler.Start("log writer", h.writer.turn)
	h.writer.inbox.Bind(h.writer.task)
	h.writer.jobs.Bind(h.writer.task)
	h.reader.task = h.scheduler.Start("log reader", h.reader.turn)
	h.reader.inbox.Bind(h.reader.task)
	h.reader.asks.Bind(h.reader.task)
	h.snapshots.task = h.scheduler.Start("snapshot worker", h.snapshots.turn)
	h.snapshots.inbox.Bind(h.snapshots.task)
	h.loop.bind(h.scheduler.Start("loop", h.loop.turn))
	config.Transport.SetReceiver(h)
	return h, nil
}

// StartGroup starts this host's member of a group. A group that was closed can be started again only by a new host.
func (h *Host) StartGroup(config GroupConfig) (*Group, error) {
	if len(config.Members) == 0 && config.Configuration == nil {
		config.Members = h.members
	}
	config, err := config.withDefaults(h.config.Member)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if failed := h.failed.Load(); failed != nil {
		return nil, failed.err
	}
	if slices.ContainsFunc(h.groups, func(g *Group) bool { return g.id == config.ID }) {
		return nil, fmt.Errorf("group %d was started on this host already", config.ID)
	}
	g, err := h.newGroup(config)
	if err != nil {
		return nil, err
	}
	h.groups = append(h.groups, g)
	r := g.replica
	h.loop.control.Post(func() {
		r.join()
		h.disown(r)
	})
	return g, nil
}

// restore puts together where a group's protocol starts: what the log, the state machine and its newest snapshot hold. durable is
// how much of that the log need not have.
func (h *Host) restore(config GroupConfig) (restored raft.Restored, durable Position, err error) {
	state := h.recovered[config.ID]
	restored = state.Restored(Position{})
	if machine, ok := config.StateMachine.(Rebuilder); ok {
		if cause := h.unusable(machine, restored.Before); cause != nil {
			durable, err = h.rebuild(config, machine, cause, &restored)
			return restored, durable, err
		}
	}
	switch machine := config.StateMachine.(type) {
	case DurableStateMachine:
		restored.Applied, err = machine.Applied()
		if err == nil {
			durable, err = machine.Durable()
		}
		if keeper, ok := machine.(RuntimeKeeper); ok && err == nil {
			var kept []byte
			if kept, err = keeper.Runtime(); err == nil {
				restored.Configuration, err = decodeRuntime(kept)
			}
		}
		if err != nil {
			return restored, durable, fmt.Errorf("group %d: finding out how far the state machine is: %w", config.ID, err)
		}
	case Snapshotter:
		if restored.Applied, restored.Configuration, err = h.snapshots.recover(config.ID, machine); err != nil {
			return restored, durable, fmt.Errorf("group %d: %w", config.ID, err)
		}
		durable = restored.Applied
	}
	if _, ok := config.StateMachine.(Snapshotter); ok && restored.Before.Index > restored.Applied.Index && restored.Applied.Index == 0 {
		h.config.Logger.Error("no snapshot on this disk reaches the log; this member starts without a state and asks its leader", groupAttr(config.ID))
		restored.StateLost = true
		return restored, durable, nil
	}
	if restored.Before.Index > restored.Applied.Index {
		return restored, durable, fmt.Errorf("group %d: its log begins after index %d, and its state machine has applied no more than index %d: "+
			"the entries between are missing; a snapshot was lost or is damaged. Remove this member's data and let it join again",
			config.ID, restored.Before.Index, restored.Applied.Index)
	}
	return restored, durable, nil
}

// diskFailed ends the use of the log, and with it of every group (E45).
func (h *Host) diskFailed(err error) {
	h.failed.Store(&diskError{err})
	h.SetTrouble(Trouble{
		Kind: TroubleDisk, Text: "this host takes part in nothing any more: " + err.Error(), Remedy: "replace the disk, then start it again",
	})
	l := h.loop
	l.control.Post(func() {
		for _, r := range l.order {
			r.resign()
			r.fence(err)
		}
	})
}

// Err returns why the host's disk is out of use; nil while it works. All groups are fenced then.
func (h *Host) Err() error {
	if failed := h.failed.Load(); failed != nil {
		return failed.err
	}
	return nil
}

// LogStats returns what the log has done since it was opened.
func (h *Host) LogStats() wal.Stats { return h.log.Stats() }

// Dropped counts the packets of other hosts that were lost for want of room (HostConfig.InboxBytes), and Malformed the frames
// that were none of ours.
func (h *Host) Dropped() (dropped, malformed uint64) {
	return h.dropped.Load(), h.malformedFrames.Load()
}

// rejecter is a transport that can end the connection over which nonsense came.
type rejecter interface {
	Reject(peer raft.MemberID, why error)
	RejectBulk(peer raft.MemberID, why error)
}

// malformed ends the connection over which a frame came that cannot be read.
func (h *Host) malformed(from MemberID, err error) {
	if t, ok := h.config.Transport.(rejecter); ok {
		t.Reject(from, err)
	}
	h.countMalformed(from, err)
}

// countMalformed counts a frame that cannot be read, and says so each time that the count has doubled.
func (h *Host) countMalformed(from MemberID, err error) {
	if n := h.malformedFrames.Add(1); n&(n-1) == 0 {
		h.config.Logger.Warn("a peer sent what cannot be read; it was ignored: are all members of compatible versions?",
			memberAttr("peer", from), slog.Uint64("frames so far", n), slog.String("error", err.Error()))
	}
}

// memberAttr is a member's id as operators see it everywhere.
func memberAttr(key string, id MemberID) slog.Attr {
	return slog.String(key, fmt.Sprintf("%x", uint64(id)))
}

// Shutdown is a friendly Close: groups that are led from here are first handed to the member that is furthest along. Whatever
// comes of that, and at the latest when ctx ends, the host closes. The error is Close's.
func (h *Host) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	groups := slices.Clone(h.groups)
	h.mu.Unlock()
	for _, g := range groups {
		if g.Leadership().Role != raft.Leader {
			continue
		}
		if err := g.Transfer(ctx, 0); err != nil {
			h.config.Logger.Info("leadership was not handed over before closing",
				slog.Uint64("group", uint64(g.id)), slog.String("reason", err.Error()))
		}
	}
	return h.Close()
}

// Close ends everything that the host started, and leaves nothing behind. Calls that wait end with ErrClosed, proposals that may
// have been appended with ErrOutcomeUnknown. Durable state machines are told to Flush. It must not be called from a callback.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	h.snapshots.stopping.Store(true)
	err := h.config.Transport.Close()
	h.loop.task.Stop()
	h.writer.task.Stop()
	h.reader.task.Stop()
	h.preparer.task.Stop()
	h.keeper.task.Stop()
	h.snapshots.task.Stop()
	h.loop.close()
	for _, g := range h.groups {
		err = errors.Join(err, g.stop())
	}
	h.snapshots.close()
	err = errors.Join(err, h.log.Close())
	for _, f := range h.onClose {
		err = errors.Join(err, f())
	}
	return err
}
