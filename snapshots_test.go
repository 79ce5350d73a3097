package balsa

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// vault is a state machine in memory that gives and takes snapshots of its journal.
type vault struct {
	journal
	spoilt error // why Restore fails
}

func newVault(MemberID) StateMachine { return &vault{} }

func (v *vault) Snapshot() (Snapshot, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &vaultSnapshot{v.position, slices.Clone(v.commands)}, nil
}

func (v *vault) Restore(at Position, r io.Reader) error {
	state, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if v.spoilt != nil {
		return v.spoilt
	}
	var commands []string
	if err := json.Unmarshal(state, &commands); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.commands, v.position = commands, at
	return nil
}

type vaultSnapshot struct {
	position Position
	commands []string
}

func (s *vaultSnapshot) Position() Position { return s.position }
func (s *vaultSnapshot) Close() error       { return nil }

func (s *vaultSnapshot) WriteTo(w io.Writer) (int64, error) {
	state, err := json.Marshal(s.commands)
	if err != nil {
		return 0, err
	}
	return io.Copy(w, bytes.NewReader(state))
}

// cutEarly makes groups cut their logs after little, so that a test can see it.
func cutEarly(c *GroupConfig) { c.Limits.FlushBytes, c.Limits.KeepLogBytes = 64<<10, 1 }

// fill has a member propose until its log was cut, and returns the commands.
func (l *lab) fill(m *labMember, prefix string) {
	l.t.Helper()
	before := m.status().First
	for i := 0; m.status().First == before; i++ {
		if i > 500 {
			l.t.Fatalf("the log still begins at index %d", before)
		}
		m.propose(fmt.Sprint(prefix, i, strings.Repeat(".", 64<<10))).ends(l)
	}
}

// ends waits until an outcome is there, and wants success.
func (o *outcome) ends(l *lab) {
	l.t.Helper()
	l.until("an answer", func() bool { return o.answered > 0 })
	o.wants(l.t)
}

// sameJournals wants all members that are up to have applied the same.
func (l *lab) sameJournals() {
	l.t.Helper()
	last := l.leader().status().Applied
	var want []string
	for i, m := range l.members {
		l.until(fmt.Sprintf("member %d has applied index %d", m.id, last), func() bool { return m.group.Applied() >= last })
		got := m.machine.(*vault).all()
		if i == 0 {
			want = got
		}
		if !slices.Equal(got, want) {
			l.t.Fatalf("member %d has applied %d commands, member 1 %d, and they differ", m.id, len(got), len(want))
		}
	}
}

func TestLogIsCutBehindASnapshotAndARestartBeginsThere(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	leader := l.leader()
	l.fill(leader, "a")
	l.sameJournals()
	for range 3 { // the removal of files follows the proof that the floor is durable
		leader.propose("more").ends(l)
		l.advance(time.Second)
	}
	if removed := leader.host.LogStats().Removed; removed == 0 {
		t.Fatal("no file of the log was removed")
	}
	for _, m := range l.members {
		m.crash(true)
	}
	for _, m := range l.members {
		m.start(newVault(m.id))
	}
	l.leader().propose("after").ends(l)
	l.sameJournals()
}

func TestFollowerBehindTheLogGetsASnapshot(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	leader := l.leader()
	leader.propose("first").ends(l)
	follower := l.others(leader)[0]
	follower.crash(false)
	leader = l.leader()
	l.fill(leader, "a")
	follower.start(newVault(follower.id))
	l.sameJournals()
	if n := follower.group.snapshotsInstalled.Load(); n != 1 {
		t.Fatalf("%d snapshots were installed", n)
	}
	l.until("the leader knows", func() bool { return leader.group.snapshotsSent.Load() == 1 })
	leader.propose("last").ends(l)
	l.sameJournals()

	// What was installed is where its next life begins.
	follower.crash(true)
	follower.start(newVault(follower.id))
	l.leader().propose("after").ends(l)
	l.sameJournals()
}

// arriving takes steps until a snapshot arrives anywhere, and then so many more. It reports false where none does.
func (l *lab) arriving(steps int) bool {
	const line = "receiving a snapshot"
	before := strings.Count(l.log.String(), line)
	for end := l.now.Add(5 * time.Second); strings.Count(l.log.String(), line) == before; {
		if !l.step() {
			l.advance(time.Millisecond)
		}
		if l.now > end {
			return false
		}
	}
	for range steps {
		l.step()
	}
	return true
}

func TestSnapshotGoesOnWhenPiecesAreLost(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	leader := l.leader()
	follower := l.others(leader)[0]
	follower.crash(false)
	for range 3 {
		l.fill(l.leader(), "a")
	}
	follower.start(newVault(follower.id))
	frames, lost := 0, 0
	l.loses = func(f labFrame) bool {
		if !f.bulk {
			return false
		}
		if frames++; frames%5 != 0 {
			return false
		}
		lost++
		return true
	}
	l.sameJournals()
	if lost < 3 {
		t.Fatalf("%d pieces were lost", lost)
	}
}

func TestLogWaitsForASnapshotThatIsBeingSent(t *testing.T) {
	l := newLab(t, 3, newVault, func(c *GroupConfig) {
		cutEarly(c)
		c.Limits.KeepLogBytes = 1 << 20
	})
	leader := l.leader()
	follower := l.others(leader)[0]
	follower.crash(false)
	l.fill(l.leader(), "a")
	leader = l.leader()
	l.loses = func(f labFrame) bool { return f.bulk }
	follower.start(newVault(follower.id))
	l.until("a snapshot is sent", func() bool { return strings.Contains(l.log.String(), "sending a snapshot") })
	sent := leader.host.snapshots.sends[0].offer.At.Index
	for i := range 50 {
		leader.propose(fmt.Sprint("b", i, strings.Repeat(".", 64<<10))).ends(l)
	}
	if first := leader.status().First; first > sent+1 {
		t.Fatalf("the log begins at index %d, and the snapshot that is being sent ends at %d", first, sent)
	}
	l.loses = nil
	l.sameJournals()
	if n := follower.group.snapshotsInstalled.Load(); n != 1 {
		t.Fatalf("%d snapshots were installed", n)
	}
	for i := range 50 {
		leader.propose(fmt.Sprint("c", i, strings.Repeat(".", 64<<10))).ends(l)
	}
	if first := leader.status().First; first <= sent+1 {
		t.Fatalf("the log still begins at index %d, though nothing is being sent", first)
	}
}

func TestReceiverThatCrashesIsSentAnother(t *testing.T) {
	for _, power := range []bool{false, true} {
		l := newLab(t, 3, newVault, cutEarly)
		leader := l.leader()
		follower := l.others(leader)[0]
		follower.crash(false)
		for range 3 {
			l.fill(l.leader(), "a")
		}
		for crash := range 30 {
			follower.start(newVault(follower.id))
			if !l.arriving(crash) {
				break // it is installed
			}
			follower.crash(power)
		}
		if !follower.up {
			follower.start(newVault(follower.id))
		}
		l.sameJournals()
	}
}

// TestWhatASnapshotBroughtIsNotAppliedAgain hands the applier entries that begin below what it has applied, as they come where a
// snapshot was restored after they were committed.
func TestWhatASnapshotBroughtIsNotAppliedAgain(t *testing.T) {
	l := newLab(t, 3, newVault, nil)
	leader := l.leader()
	l.proposeAll(leader, 5, "a")
	follower := l.others(leader)[0]
	applied := follower.group.Applied()
	l.isolate(follower)
	l.proposeAll(leader, 5, "b")
	entries, err := leader.host.log.Read(1, 3, leader.group.Applied()+1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	follower.group.applier.inbox.Post(&applyBatch{replica: follower.group.replica, entries: entries})
	for _, task := range l.tasks {
		if task.member == follower && task.name == "applier of group 1" {
			task.turn(l.now)
		}
	}
	want := leader.machine.(*vault).all()
	if got := follower.machine.(*vault).all(); follower.group.Applied() <= applied || !slices.Equal(got, want) {
		t.Fatalf("applied up to %d: %q", follower.group.Applied(), got)
	}
}

// forgetful is a durable state machine that is flushed, and durable nowhere all the same.
type forgetful struct{ vault }

func (*forgetful) Applied() (Position, error) { return Position{}, nil }
func (*forgetful) Durable() (Position, error) { return Position{}, nil }
func (*forgetful) Flush() error               { return nil }

func TestLogIsNotCutBeyondWhatIsDurable(t *testing.T) {
	l := newLab(t, 3, func(MemberID) StateMachine { return &forgetful{} }, cutEarly)
	leader := l.leader()
	for i := range 40 {
		leader.propose(fmt.Sprint("a", i, strings.Repeat(".", 64<<10))).ends(l)
	}
	if first := leader.status().First; first != 1 {
		t.Fatalf("the log begins at index %d", first)
	}
}

// spoiltFollower starts a member that needs a snapshot, and whose state machine has no room for it.
func (l *lab) spoiltFollower() (*labMember, *vault) {
	l.t.Helper()
	follower := l.others(l.leader())[0]
	follower.crash(false)
	l.fill(l.leader(), "a")
	machine := newVault(follower.id).(*vault)
	machine.spoilt = errors.New("no room")
	follower.start(machine)
	return follower, machine
}

func TestFailedRestoreChangesNothingAndIsTriedAgain(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	follower, machine := l.spoiltFollower()
	l.until("it has failed", func() bool { return strings.Contains(l.log.String(), "no room") })
	if applied := follower.group.Applied(); applied != 0 || follower.group.Err() != nil {
		t.Fatalf("applied %d, %v", applied, follower.group.Err())
	}
	machine.spoilt = nil
	l.sameJournals()
}

// lasting is a durable vault.
type lasting struct{ vault }

func (*lasting) Applied() (Position, error) { return Position{}, nil }
func (*lasting) Flush() error               { return nil }

func (v *lasting) Durable() (Position, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.position, nil
}

// TestReceiverThatCrashesWhileItRestoresIsSentAnother loses the follower once it has the whole file and has said so. What it has
// restored by then is lost with it.
func TestReceiverThatCrashesWhileItRestoresIsSentAnother(t *testing.T) {
	l := newLab(t, 3, func(MemberID) StateMachine { return &lasting{} }, cutEarly)
	leader := l.leader()
	follower := l.others(leader)[0]
	follower.crash(false)
	l.fill(l.leader(), "a")
	leader = l.leader()
	follower.start(&lasting{})
	l.tasks = slices.DeleteFunc(l.tasks, func(t *labTask) bool { return t.member == follower && t.name == "applier of group 1" })
	l.until("all was received", func() bool {
		sends := leader.host.snapshots.sends
		return len(sends) == 1 && sends[0].file != nil && sends[0].received == sends[0].file.Size()
	})
	follower.crash(true)
	begin := l.now
	follower.start(&lasting{})
	l.until("it has caught up", func() bool { return follower.group.Applied() >= leader.group.Applied() })
	if took := time.Duration(l.now - begin); took > 10*labElectionTimeout {
		t.Errorf("it took %v, which is %d election timeouts", took, took/labElectionTimeout)
	}
}
