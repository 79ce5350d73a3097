package balsa

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// task returns one of a member's actors.
func (l *lab) task(m *labMember, name string) *labTask {
	l.t.Helper()
	i := slices.IndexFunc(l.tasks, func(t *labTask) bool { return t.member == m && t.name == name && !t.stopped })
	if i < 0 {
		l.t.Fatalf("member %d has no %s", m.id, name)
	}
	return l.tasks[i]
}

// TestLogIsCutThoughTheLoopHearsOfDurabilityFirst lets the applier and the flusher have their turns while the loop waits, so that
// in its next one it finds what is durable before what is applied.
func TestLogIsCutThoughTheLoopHearsOfDurabilityFirst(t *testing.T) {
	l := newLab(t, 1, func(MemberID) StateMachine { return &lasting{} }, cutEarly)
	m := l.leader()
	loop, applier := l.task(m, "loop"), l.task(m, "applier of group 1")
	applier.stopped = true
	var last *outcome
	for range 20 {
		last = m.propose("a" + strings.Repeat(".", 64<<10))
		l.run() // a write of its own
	}
	loop.stopped, applier.stopped = true, false
	l.run()
	loop.stopped = false
	l.run()
	last.ends(l)
	if first := m.status().First; first < 10 { // of 21, in segments of 16
		t.Fatalf("the log begins at index %d", first)
	}
}

// snapshots returns the files in a member's spool.
func (m *labMember) snapshots() []snapshot.Entry {
	m.lab.t.Helper()
	all, err := m.host.snapshots.spool.List()
	if err != nil {
		m.lab.t.Fatal(err)
	}
	return all
}

// TestSnapshotThatCannotBeRemovedIsRemovedLater: a disk that does not let go of a file, or that fails the very last sync, leaves a
// snapshot that nobody needs for a while, and not until the next start.
func TestSnapshotThatCannotBeRemovedIsRemovedLater(t *testing.T) {
	for name, fails := range map[string]func(vfs.Op) bool{
		"removal":       func(op vfs.Op) bool { return op.Kind == vfs.OpRemove && strings.HasSuffix(op.Name, ".snap") },
		"the last sync": func(op vfs.Op) bool { return op.Kind == vfs.OpSyncDir && strings.HasPrefix(op.Name, "snapshots") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 3, newVault, cutEarly)
			follower, _ := l.spoiltFollower()
			met := 0
			follower.disk.OnOp(func(op vfs.Op) error {
				if fails(op) {
					met++
					return errors.New("input/output error")
				}
				return nil
			})
			l.until("it has failed", func() bool { return met > 0 && strings.Contains(l.log.String(), "could not be installed") })
			l.isolate(follower)
			follower.disk.OnOp(nil)
			l.advance(2 * sweepEvery)
			if all := follower.snapshots(); len(all) > 0 {
				t.Errorf("there are still %v", all)
			}
		})
	}
}

// slowVault writes its snapshots only when it may.
type slowVault struct {
	vault
	may  chan struct{}
	done func() // a snapshot is written
}

func (v *slowVault) Snapshot() (Snapshot, error) {
	s, err := v.vault.Snapshot()
	return &slowSnapshot{s.(*vaultSnapshot), v}, err
}

type slowSnapshot struct {
	*vaultSnapshot
	of *slowVault
}

func (s *slowSnapshot) WriteTo(w io.Writer) (int64, error) {
	<-s.of.may
	n, err := s.vaultSnapshot.WriteTo(w)
	s.of.done()
	return n, err
}

// TestASlowSnapshotDelaysNoOtherGroup: what one group writes for as long as it likes, another group does not wait for. (Where it
// does, this test hangs.)
func TestASlowSnapshotDelaysNoOtherGroup(t *testing.T) {
	network := transport.NewMemory(transport.Limits{})
	host, err := OpenHost(HostConfig{Member: 1, FS: vfs.NewMem(), Transport: network.Join(1)})
	if err != nil {
		t.Fatal(err)
	}
	open, written := make(chan struct{}), make(chan struct{})
	close(open)
	slow := &slowVault{may: make(chan struct{}), done: func() {}}
	quick := &slowVault{may: open, done: sync.OnceFunc(func() { close(written) })}
	var groups []*Group
	for i, machine := range []StateMachine{slow, quick} {
		config := GroupConfig{ID: GroupID(i + 1), Members: []raft.Member{{ID: 1, Life: 1}}, StateMachine: machine}
		cutEarly(&config)
		g, err := host.StartGroup(config)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	for _, g := range groups {
		for range 3 {
			if _, err := g.Propose(t.Context(), []byte(strings.Repeat(".", 64<<10))); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-written
	close(slow.may)
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSendsTakeTurns: where there is room for one piece at a time, each of several sends gets its share.
func TestSendsTakeTurns(t *testing.T) {
	disk := vfs.NewMem()
	spool, err := snapshot.OpenSpool(disk, "snapshots")
	if err != nil {
		t.Fatal(err)
	}
	const piece = 64 << 10
	narrow := &narrowTransport{}
	w := &snapshotWorker{spool: spool, host: &Host{config: HostConfig{Transport: narrow, SnapshotPiece: piece, Logger: slog.New(slog.DiscardHandler)}}, now: 1}
	for id := range GroupID(3) {
		e := snapshot.Entry{Group: id + 1, Position: raft.Position{Index: 9, Term: 1}}
		part, err := spool.Create(e)
		if err != nil {
			t.Fatal(err)
		}
		state := &vaultSnapshot{e.Position, []string{strings.Repeat(".", 8*piece)}}
		if err := errors.Join(writeSnapshot(part, snapshot.Meta{Group: e.Group, Position: e.Position}, state, piece), part.Commit()); err != nil {
			t.Fatal(err)
		}
		file, err := spool.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		w.sends = append(w.sends, &snapshotSend{
			replica: &replica{group: &Group{}, config: GroupConfig{ID: e.Group, ElectionTimeout: time.Hour}}, need: raft.SnapshotNeed{To: 2}, file: file, heard: 1, resent: 1,
		})
	}
	for range 9 {
		narrow.room = 1
		w.pumpSends()
	}
	for _, s := range w.sends {
		if pieces := s.sent / piece; pieces < 2 {
			t.Errorf("group %d has sent %d pieces of nine", s.replica.config.ID, pieces)
		}
	}
}

// narrowTransport has room for so many frames.
type narrowTransport struct {
	transport.Transport
	room int
}

func (n *narrowTransport) SendBulk(raft.MemberID, [][]byte) bool {
	n.room--
	return n.room >= 0
}

// TestStatusTellsOfASnapshotThatCannotBeInstalled: why, what to do, and no longer once one is installed. The group is not fenced.
func TestStatusTellsOfASnapshotThatCannotBeInstalled(t *testing.T) {
	for remedy, cause := range map[string]error{
		"make room":                   fmt.Errorf("writing: %w", vfs.ErrNoSpace),
		"another one is made":         fmt.Errorf("reading: %w", snapshot.ErrDamaged),
		"the state machine is in the": errors.New("it does not like it"),
	} {
		l := newLab(t, 3, newVault, cutEarly)
		leader := l.leader()
		follower := l.others(leader)[0]
		follower.crash(false)
		l.fill(l.leader(), "a")
		machine := newVault(follower.id).(*vault)
		machine.spoilt = cause
		follower.start(machine)
		l.until("it has failed", func() bool { return follower.group.Behind() != nil })
		s := follower.status()
		failed := (*SnapshotError)(nil)
		if !errors.As(s.Behind, &failed) || failed.Position.Index == 0 || !errors.Is(s.Behind, cause) || !strings.Contains(s.Behind.Error(), remedy) {
			t.Errorf("the status says %v", s.Behind)
		}
		if list := follower.host.Troubles(); len(list) != 1 || list[0].Kind != TroubleSnapshot || !strings.Contains(list[0].Remedy, remedy) {
			t.Errorf("the troubles are %+v", list)
		}
		if s.Fenced != nil {
			t.Errorf("it is fenced: %v", s.Fenced)
		}
		machine.spoilt = nil
		l.sameJournals()
		if s := follower.status(); s.Behind != nil {
			t.Errorf("the status still says %v", s.Behind)
		}
		if list := follower.host.Troubles(); len(list) != 0 {
			t.Errorf("the troubles still are %+v", list)
		}
	}
}

// TestSnapshotOfALaterVersionIsRefusedAtItsFirstPiece: nothing that is tried mends that, so that not all of it is sent each time.
func TestSnapshotOfALaterVersionIsRefusedAtItsFirstPiece(t *testing.T) {
	l := newLab(t, 3, newVault, cutEarly)
	leader := l.leader()
	follower := l.others(leader)[0]
	follower.crash(false)
	for range 3 {
		l.fill(l.leader(), "a")
	}
	l.loses = func(f labFrame) bool {
		if f.bulk {
			f.ofALaterVersion(t)
		}
		return false
	}
	follower.start(newVault(follower.id))
	written := int64(0)
	follower.disk.OnOp(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, "snapshots") {
			written += op.Size
		}
		return nil
	})
	l.until("it has failed", func() bool { return follower.group.Behind() != nil })
	if err := follower.group.Behind(); !errors.Is(err, snapshot.ErrUnsupported) || !strings.Contains(err.Error(), "upgrade this member") {
		t.Errorf("the status says %v", err)
	}
	if written > 0 {
		t.Errorf("%d bytes were received", written)
	}
	l.loses = nil
	l.sameJournals()
}

// ofALaterVersion makes the head of a snapshot that is on its way say that a later version wrote it.
func (f *labFrame) ofALaterVersion(t *testing.T) {
	t.Helper()
	packets, err := wire.Decode(nil, f.bytes)
	if err != nil || len(packets) != 1 || packets[0].Chunk == nil {
		t.Fatal(packets, err)
	}
	chunk := *packets[0].Chunk
	if chunk.Offset > 0 {
		return
	}
	chunk.Data = slices.Clone(chunk.Data)
	head := chunk.Data[:binary.LittleEndian.Uint32(chunk.Data[12:])]
	head[8]++
	binary.LittleEndian.PutUint32(head[4:], crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), head[8:]))
	var e wire.Encoder
	e.SnapshotChunk(chunk)
	copy(f.bytes, slices.Concat(e.Frame()...))
}
