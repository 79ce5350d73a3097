package balsa

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// ledger is a journal that keeps on disk what was flushed.
type ledger struct {
	journal
	durable  []string
	at       Position
	flushes  int
	flushErr error
	given    []Index // each command's index as it was applied in this life
}

func (d *ledger) Apply(b *Batch) error {
	for i := range b.Commands {
		d.given = append(d.given, b.Commands[i].Index)
	}
	return d.journal.Apply(b)
}

func (d *ledger) Applied() (Position, error) { return d.position, nil }
func (d *ledger) Durable() (Position, error) { return d.at, nil }

func (d *ledger) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	if d.flushErr != nil {
		return d.flushErr
	}
	d.durable, d.at = slices.Clone(d.commands), d.position
	return nil
}

// reopened is what is found on the disk after a power cut.
func (d *ledger) reopened() *ledger {
	return &ledger{
		journal: journal{commands: slices.Clone(d.durable), position: d.at},
		durable: d.durable, at: d.at,
	}
}

func newLedger(MemberID) StateMachine { return &ledger{} }

func (l *lab) proposeAll(m *labMember, n int, prefix string) {
	l.t.Helper()
	for i := range n {
		o := m.propose(fmt.Sprint(prefix, i))
		l.until("an answer", func() bool { return o.answered > 0 })
		o.wants(l.t)
	}
}

func TestRestartReplaysTheWholeLogIntoMemory(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	l.proposeAll(l.leader(), 20, "before ")
	l.advance(50 * time.Millisecond)
	for _, m := range l.members {
		m.crash(true)
	}
	for _, m := range l.members {
		m.start(newJournal(m.id))
	}
	l.proposeAll(l.leader(), 1, "after ")
	l.advance(50 * time.Millisecond)
	for _, m := range l.members {
		if got := m.machine.(*journal).all(); len(got) != 21 || got[0] != "before 0" || got[20] != "after 0" {
			t.Errorf("member %d has %q", m.id, got)
		}
	}
}

func TestE50NothingIsServedBeforeTheStateIsWhereItWas(t *testing.T) {
	l := newLab(t, 3, newLedger, nil)
	leader := l.leader()
	l.proposeAll(leader, 20, "")
	l.advance(50 * time.Millisecond)
	follower := l.others(leader)[0]
	served := len(follower.machine.(*ledger).commands)
	follower.machine.(*ledger).Flush()
	l.proposeAll(leader, 20, "more ")
	l.proposeAll(leader, 1, "records the commit of those before ")
	l.advance(50 * time.Millisecond)
	for _, m := range l.members {
		m.crash(true)
	}
	reopened := follower.machine.(*ledger).reopened()
	if len(reopened.commands) != served {
		t.Fatalf("%d commands were durable, want %d", len(reopened.commands), served)
	}
	follower.start(reopened) // alone: only its own log can tell it what was committed
	recorded := follower.host.recovered[1].Commit
	if recorded < 40 {
		t.Fatalf("the log had recorded the commit of index %d only", recorded)
	}
	r := follower.read()
	for l.step() {
		if follower.group.Recovered() && reopened.position.Index < recorded {
			t.Fatalf("ready at index %d, the log had recorded %d as committed", reopened.position.Index, recorded)
		}
	}
	select {
	case <-follower.group.Ready():
	default:
		t.Fatalf("not ready, though the state is at %d and the log had recorded %d", reopened.position.Index, recorded)
	}
	if r.answered > 0 {
		t.Error("a linearizable read was served without a majority")
	}
	if first := reopened.given[0]; first <= reopened.at.Index {
		t.Errorf("index %d was applied again, the state held %d", first, reopened.at.Index)
	}
}

func TestE51StateAheadOfTheLogIsAFloor(t *testing.T) {
	l := newLab(t, 3, newLedger, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	l.proposeAll(leader, 5, "")
	l.advance(50 * time.Millisecond)
	behind := follower.disk.Clone() // all that its log will hold
	l.proposeAll(leader, 20, "more ")
	l.advance(50 * time.Millisecond)
	state := follower.machine.(*ledger)
	if err := state.Flush(); err != nil {
		t.Fatal(err)
	}
	follower.crash(true)
	follower.disk = behind
	reopened := state.reopened()
	follower.start(reopened)
	l.proposeAll(leader, 5, "after ")
	l.advance(100 * time.Millisecond)
	if len(reopened.commands) != 30 || reopened.commands[29] != "after 4" {
		t.Errorf("the follower has %d commands: %q", len(reopened.commands), reopened.commands)
	}
	if first := reopened.given[0]; first != reopened.at.Index+1 {
		t.Errorf("index %d was applied first, the state held %d", first, reopened.at.Index)
	}
	// What it lost is not needed again: the log continues above the floor, through another restart too.
	if err := reopened.Flush(); err != nil {
		t.Fatal(err)
	}
	follower.crash(true)
	again := reopened.reopened()
	follower.start(again)
	l.proposeAll(leader, 1, "last ")
	l.advance(100 * time.Millisecond)
	if len(again.commands) != 31 {
		t.Errorf("after another restart it has %d commands", len(again.commands))
	}
}

func TestStateBehindTheLogsStartIsRefused(t *testing.T) {
	l := newLab(t, 3, newLedger, nil)
	leader := l.leader()
	follower := l.others(leader)[0]
	l.proposeAll(leader, 5, "")
	l.advance(50 * time.Millisecond)
	behind := follower.disk.Clone()
	l.proposeAll(leader, 5, "more ")
	l.advance(50 * time.Millisecond)
	state := follower.machine.(*ledger)
	state.Flush()
	follower.crash(true)
	follower.disk = behind
	follower.start(state.reopened()) // its log begins above the floor now
	l.proposeAll(leader, 5, "after ")
	l.advance(50 * time.Millisecond)
	follower.crash(true)
	if err := follower.tryStart(&ledger{}); err == nil {
		t.Fatal("a state machine that holds nothing was started with a log that begins in the middle")
	}
	follower.crash(true)
	if err := follower.tryStart(newJournal(0)); err == nil {
		t.Fatal("a state machine in memory was started with a log that begins in the middle")
	}
}

func TestE45AfterAFailedSyncTheHostTakesPartInNothing(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	old := l.leader()
	l.proposeAll(old, 1, "good ")
	broken := errors.New("input/output error")
	writes := 0
	old.disk.OnOp(func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpSync:
			return broken
		case vfs.OpWrite:
			writes++
		}
		return nil
	})
	l.cut[[2]MemberID{old.id, l.others(old)[0].id}], l.cut[[2]MemberID{old.id, l.others(old)[1].id}] = true, true
	o, r := old.propose("doubtful"), old.read()
	l.run()
	o.wants(t, ErrOutcomeUnknown, ErrFenced, broken)
	r.wants(t, ErrFenced, broken)
	if !errors.Is(old.host.Err(), broken) || !errors.Is(old.group.Err(), broken) || old.status().Fenced == nil {
		t.Errorf("the host says %v, the group %v", old.host.Err(), old.group.Err())
	}
	clear(l.cut)
	sent := 0
	before := writes
	for _, other := range l.others(old) {
		l.until("another leader", func() bool {
			for _, f := range l.frames {
				if f.from == old.id {
					sent++
				}
			}
			now := other.group.Leadership()
			return now.Leader != 0 && now.Leader != old.id
		})
	}
	l.proposeAll(l.member(l.others(old)[0].group.Leadership().Leader), 1, "without it ")
	if sent > 0 || writes != before {
		t.Errorf("after the failed sync the host sent %d frames and wrote %d times", sent, writes-before)
	}
	again := old.propose("again")
	l.run()
	again.wants(t, ErrFenced)
	again.neverAppended(t)
}

func TestE08LeaderWithAStalledDiskGivesUpItsOffice(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	old := l.leader()
	for _, task := range l.tasks {
		if task.member == old && task.name == "log writer" {
			task.stopped = true // its sync never returns
		}
	}
	o := old.propose("committed by the others")
	l.run()
	o.wants(t) // followers alone may commit it (E13)
	start := l.now
	l.until("another leader", func() bool {
		now := l.others(old)[0].group.Leadership()
		return now.Leader != 0 && now.Leader != old.id
	})
	if waited := time.Duration(l.now - start); waited > 8*labElectionTimeout {
		t.Errorf("that took %v", waited)
	}
	l.proposeAll(l.member(l.others(old)[0].group.Leadership().Leader), 1, "without it ")
}

func TestPanicFencesTheGroupAndNoOther(t *testing.T) {
	for _, command := range []string{"panic", "fail"} {
		t.Run(command, func(t *testing.T) {
			l := newLab(t, 1, newJournal, nil)
			m := l.leader()
			second, err := m.host.StartGroup(GroupConfig{
				ID: 2, StateMachine: &journal{}, Members: []raft.Member{{ID: m.id}},
				ElectionTimeout: labElectionTimeout, HeartbeatInterval: labElectionTimeout / 10,
			})
			if err != nil {
				t.Fatal(err)
			}
			l.until("the second group's leader", func() bool { return second.Leadership().Role == raft.Leader })
			first, after := m.propose(command), m.propose("after")
			l.run()
			first.wants(t, ErrOutcomeUnknown, ErrFenced)
			after.wants(t, ErrOutcomeUnknown, ErrFenced)
			r, late := m.read(), m.propose("late")
			l.run()
			r.wants(t, ErrFenced)
			late.wants(t, ErrFenced)
			late.neverAppended(t)
			if m.host.Err() != nil || second.Err() != nil {
				t.Errorf("the host says %v, the other group %v", m.host.Err(), second.Err())
			}
			other := &labMember{lab: l, group: second}
			o := other.propose("alive")
			l.run()
			o.wants(t)
		})
	}
}

func TestAssertionOfTheProtocolFencesItsGroup(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	leader.host.loop.persisted.Post(persisted{leader.group.replica, 1 << 40}) // a write that nobody asked for
	o := leader.propose("x")
	l.run()
	o.wants(t, ErrFenced)
	var assertion *raft.AssertionError
	if !errors.As(leader.group.Err(), &assertion) {
		t.Errorf("fenced with %v", leader.group.Err())
	}
}

func TestFlushFollowsTheLog(t *testing.T) {
	l := newLab(t, 1, newLedger, func(c *GroupConfig) { c.Limits.FlushBytes = 1000 })
	m := l.leader()
	machine := m.machine.(*ledger)
	l.proposeAll(m, 10, "0123456789012345678901234567890123456789 ")
	if machine.flushes < 1 || machine.flushes > 2 {
		t.Errorf("about 1,000 bytes of log made %d flushes", machine.flushes)
	}
	flushes := machine.flushes
	if err := m.host.Close(); err != nil {
		t.Fatal(err)
	}
	if machine.flushes != flushes+1 || machine.at != machine.position {
		t.Errorf("closing made %d flushes; durable at %v, applied at %v", machine.flushes-flushes, machine.at, machine.position)
	}
}

func TestFailedFlushFencesTheGroup(t *testing.T) {
	l := newLab(t, 1, newLedger, func(c *GroupConfig) { c.Limits.FlushBytes = 100 })
	m := l.leader()
	full := errors.New("no space")
	m.machine.(*ledger).flushErr = full
	m.propose("0123456789012345678901234567890123456789012345678901234567890123456789")
	l.run()
	if err := m.group.Err(); !errors.Is(err, ErrFenced) || !errors.Is(err, full) {
		t.Errorf("the group says %v", err)
	}
}

func TestCloseAnswersEverybody(t *testing.T) {
	l := newLab(t, 3, newJournal, nil)
	leader := l.leader()
	for _, task := range l.tasks {
		if task.member == leader && task.name == "applier of group 1" {
			task.stopped = true
		}
	}
	committed := leader.propose("committed, to be applied")
	l.run()
	confirmed := leader.read()
	l.run()
	for _, other := range l.others(leader) {
		l.cut[[2]MemberID{leader.id, other.id}] = true
	}
	appended, reading := leader.propose("appended"), leader.read()
	l.run()
	waiting, asking := leader.propose("still in the mailbox"), leader.read()
	if err := leader.host.Close(); err != nil {
		t.Fatal(err)
	}
	committed.wants(t, ErrOutcomeUnknown, ErrClosed)
	confirmed.wants(t, ErrClosed)
	appended.wants(t, ErrOutcomeUnknown, ErrClosed)
	waiting.wants(t, ErrClosed)
	waiting.neverAppended(t)
	reading.wants(t, ErrClosed)
	asking.wants(t, ErrClosed)
	if c := leader.group.Counters(); c.Pending != 0 || c.Reading != 0 {
		t.Errorf("after closing %+v", c)
	}
}

func TestFullDiskIsWaitedFor(t *testing.T) {
	l := newLab(t, 1, newJournal, nil)
	m := l.leader()
	l.advance(time.Second)
	full := true
	m.disk.OnOp(func(op vfs.Op) error {
		if full && (op.Kind == vfs.OpPreallocate || op.Kind == vfs.OpCreate) {
			return vfs.ErrNoSpace
		}
		return nil
	})
	var outcomes []*outcome
	for i := range 100 { // the segment of 1 MiB and the one that was prepared are too small for them
		outcomes = append(outcomes, m.propose(fmt.Sprint(i)+string(make([]byte, 40<<10))))
		l.run()
	}
	l.advance(time.Second)
	if err := m.group.Err(); err != nil {
		t.Fatalf("the group was fenced: %v", err)
	}
	last := outcomes[len(outcomes)-1]
	if last.answered != 0 {
		t.Fatalf("the disk was not full: %v", last.err)
	}
	full = false
	l.advance(time.Second)
	for _, o := range outcomes {
		o.wants(t)
	}
}
