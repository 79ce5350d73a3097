package balsa

import (
	"context"

	"github.com/balsadb/balsa/raft"
)

// Status is a member's view of its group at one moment.
type Status struct {
	Group  GroupID
	Member MemberID
	// The protocol's own view: role, term, leader, log, commit and applied index, and on a leader its followers. Instants
	// are on the host's own clock; Now is when the status was taken on it.
	raft.Status
	Now raft.Instant
	// Pending counts the proposals that were made here and not answered yet, Held those of them that wait for a leader.
	Pending, Held int
	// Recovered says that Ready is closed.
	Recovered bool
	// Fenced is why the group was stopped on this host, nil while it works.
	Fenced error
	// Behind is why this member could not install the snapshot that it needs, with what to do about it; nil where none failed, or one
	// was installed since. The leader tries again; the member goes on voting, and its state stays what it was.
	Behind error
	// Lost is why this member's state is of no use and is being rebuilt, nil while it has one. It goes on voting; ErrStateLost.
	Lost error
}

// Status returns the member's view of its group. It works on a fenced group too; the error is ErrClosed or the context's.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) Status(ctx context.Context) (Status, error) {
	answered := make(chan Status, 1)
	if !g.StatusAsync(func(s Status) { answered <- s }) {
		return Status{}, ErrClosed
	}
	select {
	case s := <-answered:
		return s, nil
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

// StatusAsync is Status for callers that do not want to wait. It reports false, and never calls done, once the host is closed;
// else done is called once, from the host's loop, and must not block.
func (g *Group) StatusAsync(done func(Status)) bool {
	r := g.replica
	return g.host.loop.control.Post(func() { done(r.status()) })
}

func (r *replica) status() Status {
	return Status{
		Group: r.config.ID, Member: r.loop.host.config.Member, Status: r.raft.Status(), Now: r.now(),
		Pending: int(r.group.pending.Load()), Held: len(r.held), Recovered: r.group.Recovered(), Fenced: r.group.Err(), Behind: r.group.Behind(),
		Lost: r.group.Lost(),
	}
}

// Counters are what a group has counted since it was started, for metrics.
type Counters struct {
	Pending       int    // proposals made here and not answered yet
	Failed        uint64 // proposals answered with an error
	Committed     Index  // the last index that this member knows to be committed and has handed to its state machine
	Applied       Index  // the last index that its state machine has applied
	Commands      uint64 // applied by its state machine
	Reading       int    // read barriers that wait
	LeaderChanges uint64 // how often this member learned of another leader

	EntriesMended uint64 // that the log had lost and others gave back
	BytesMended   uint64 // of them

	SnapshotsSent      uint64 // that other members took from this one
	SnapshotsInstalled uint64 // that this one took
	SnapshotsResumed   uint64 // that went on from what was kept here of them
	SnapshotsDelegated uint64 // that others were asked to send in this leader's place
	SnapshotBytesSent  uint64 // pieces, those that were sent again included
	SnapshotBytesTaken uint64 // pieces that were written here
}

// Counters returns the counts. It costs nothing.
func (g *Group) Counters() Counters {
	return Counters{
		Pending:       int(g.pending.Load()),
		Failed:        g.failed.Load(),
		EntriesMended: g.entriesMended.Load(),
		BytesMended:   g.bytesMended.Load(),
		Committed:     Index(g.committed.Load()),
		Applied:       g.Applied(),
		Commands:      g.appliedCommands.Load(),
		Reading:       int(g.reading.Load()),
		LeaderChanges: g.leaderChanges.Load(),

		SnapshotsSent:      g.snapshotsSent.Load(),
		SnapshotsInstalled: g.snapshotsInstalled.Load(),
		SnapshotsResumed:   g.snapshotsResumed.Load(),
		SnapshotsDelegated: g.snapshotsDelegated.Load(),
		SnapshotBytesSent:  g.snapshotBytesSent.Load(),
		SnapshotBytesTaken: g.snapshotBytesTaken.Load(),
	}
}
