package balsa

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// lab runs hosts in the test's own goroutine, on virtual time: nothing happens but in run and advance, and always in the same
// order. It is for tests that need to be exact about what happened before what; randomness is the simulator's job.
type lab struct {
	t       *testing.T
	now     actor.Instant
	random  *rand.Rand
	tasks   []*labTask
	members []*labMember
	frames  []labFrame
	cut     map[[2]MemberID]bool
	loses   func(labFrame) bool  // frames that never arrive
	full    map[[2]MemberID]bool // queues of a transport for a peer that take nothing
	log     strings.Builder
	config  func(*GroupConfig)
	host    func(*HostConfig)
}

const labElectionTimeout = 100 * time.Millisecond

// labMember is one host with one group.
type labMember struct {
	lab      *lab
	id       MemberID
	disk     *vfs.Mem
	machine  StateMachine
	host     *Host
	group    *Group
	receiver transport.Receiver
	up       bool

	joins    *raft.Configuration // what it was told when it joined; nil for the first members
	peers    map[MemberID]string // what its transport was told
	expelled []MemberID
	removed  []string // what it was told about itself
}

type labFrame struct {
	from, to MemberID
	bytes    []byte
	bulk     bool
}

// newLab starts n members, whose state machines machine makes.
func newLab(t *testing.T, n int, machine func(id MemberID) StateMachine, config func(*GroupConfig)) *lab {
	l := &lab{
		t: t, now: actor.Instant(time.Second), random: rand.New(rand.NewPCG(1, 2)),
		cut: map[[2]MemberID]bool{}, full: map[[2]MemberID]bool{}, config: config,
	}
	for i := range n {
		l.members = append(l.members, &labMember{lab: l, id: MemberID(i + 1), disk: vfs.NewMem()})
	}
	for _, m := range l.members {
		m.start(machine(m.id))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.log.String())
		}
	})
	return l
}

func (m *labMember) start(machine StateMachine) {
	m.lab.t.Helper()
	if err := m.tryStart(machine); err != nil {
		m.lab.t.Fatal(err)
	}
}

func (m *labMember) tryStart(machine StateMachine) (err error) {
	m.up, m.machine = true, machine
	host := HostConfig{
		Member: m.id, FS: m.disk, Transport: m, Scheduler: &labScheduler{m.lab, m}, Random: m.lab.random.Uint64,
		Logger: slog.New(slog.NewTextHandler(&m.lab.log, &slog.HandlerOptions{Level: slog.LevelDebug})), SegmentSize: 1 << 20,
		SnapshotsByLeader: true,
	}
	if m.lab.host != nil {
		m.lab.host(&host)
	}
	m.host, err = OpenHost(host)
	if err != nil {
		return err
	}
	config := GroupConfig{ID: 1, StateMachine: machine, ElectionTimeout: labElectionTimeout, HeartbeatInterval: labElectionTimeout / 10}
	for _, other := range m.lab.members {
		config.Members = append(config.Members, raft.Member{ID: other.id})
	}
	if m.joins != nil {
		config.Members, config.Configuration = nil, m.joins
	}
	config.OnRemoved = func(reason string) { m.removed = append(m.removed, reason) }
	if m.lab.config != nil {
		m.lab.config(&config)
	}
	m.group, err = m.host.StartGroup(config)
	return err
}

// crash ends the member's process; the others' connections with it break and cannot be made again. With power the machine
// loses what was not synced, too.
func (m *labMember) crash(power bool) {
	m.up = false
	for _, task := range m.lab.tasks {
		if task.member == m {
			task.stopped = true
		}
	}
	if power {
		m.disk = m.disk.PowerCut(nil)
	} else {
		m.disk = m.disk.Kill()
	}
	m.lab.frames = slices.DeleteFunc(m.lab.frames, func(f labFrame) bool { return f.from == m.id || f.to == m.id })
	for _, other := range m.lab.members {
		if other.up {
			other.receiver.Broken(m.id, true)
		}
	}
}

// breakConnection ends the connections between two members, with what is on them, and makes them again.
func (l *lab) breakConnection(a, b *labMember) {
	l.frames = slices.DeleteFunc(l.frames, func(f labFrame) bool {
		return f.from == a.id && f.to == b.id || f.from == b.id && f.to == a.id
	})
	for _, pair := range [][2]*labMember{{a, b}, {b, a}} {
		pair[0].receiver.Broken(pair[1].id, false)
		pair[0].receiver.Connected(pair[1].id)
	}
}

// isolate makes what a member and the others send to each other vanish, until heal.
func (l *lab) isolate(m *labMember) {
	for _, other := range l.members {
		l.cut[[2]MemberID{m.id, other.id}], l.cut[[2]MemberID{other.id, m.id}] = true, true
	}
}

func (l *lab) heal() {
	clear(l.cut)
	for i, a := range l.members {
		for _, b := range l.members[i+1:] {
			if a.up && b.up {
				l.breakConnection(a, b)
			}
		}
	}
}

// run lets everything happen that can without time passing.
func (l *lab) run() {
	for steps := 0; l.step(); steps++ {
		if steps > 1_000_000 {
			l.t.Fatal("the hosts do not come to rest")
		}
	}
}

func (l *lab) step() bool {
	for _, task := range l.tasks {
		if task.ready && !task.stopped {
			task.ready = false
			task.alarm = task.turn(l.now)
			return true
		}
	}
	if len(l.frames) > 0 {
		f := l.frames[0]
		l.frames = l.frames[1:]
		if l.loses != nil && l.loses(f) {
			return true
		}
		if to := l.member(f.to); to.up {
			if f.bulk {
				to.receiver.ReceivedBulk(f.from, f.bytes)
			} else {
				to.receiver.Received(f.from, f.bytes)
			}
		}
		return true
	}
	return false
}

// advance lets d pass.
func (l *lab) advance(d time.Duration) {
	for end := l.now.Add(d); ; {
		l.run()
		next := actor.Never
		for _, task := range l.tasks {
			if !task.stopped {
				next = min(next, task.alarm)
			}
		}
		if next > end {
			l.now = end
			return
		}
		l.now = max(l.now, next)
		for _, task := range l.tasks {
			if task.alarm <= l.now {
				task.ready = true
			}
		}
	}
}

// until lets time pass until done reports true, ten seconds at most.
func (l *lab) until(what string, done func() bool) {
	l.t.Helper()
	for end := l.now.Add(10 * time.Second); !done(); l.advance(time.Millisecond) {
		if l.now > end {
			l.t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func (l *lab) member(id MemberID) *labMember { return l.members[id-1] }

// leader waits for a leader that all members which are up agree on.
func (l *lab) leader() *labMember {
	l.t.Helper()
	var leader *labMember
	l.until("a leader", func() bool {
		leader = nil
		for _, m := range l.members {
			if !m.up {
				continue
			}
			now := m.group.Leadership()
			if now.Leader == 0 || leader != nil && leader.id != now.Leader || !l.member(now.Leader).up {
				return false
			}
			leader = l.member(now.Leader)
		}
		return leader.group.Leadership().Role == raft.Leader
	})
	l.run()
	return leader
}

// others returns the members besides one.
func (l *lab) others(m *labMember) (others []*labMember) {
	for _, other := range l.members {
		if other != m {
			others = append(others, other)
		}
	}
	return others
}

// outcome is what became of a proposal or read.
type outcome struct {
	answered int
	result   Result
	err      error
	applied  Index // by the member that was asked, at that moment
}

func (m *labMember) propose(command string) *outcome { return m.proposeFor(command, 0) }

func (m *labMember) proposeFor(command string, timeout time.Duration) *outcome {
	o := &outcome{}
	m.group.ProposeEntry(raft.SealedEntry(raft.EntryNormal, []byte(command)), timeout, func(r Result, err error) {
		o.answered++
		o.result, o.err, o.applied = r, err, m.group.Applied()
	})
	return o
}

func (m *labMember) read() *outcome {
	o := &outcome{}
	m.group.ReadAsync(func(index Index, err error) {
		o.answered++
		o.result.Index, o.err = index, err
	})
	return o
}

func (m *labMember) status() (s Status) {
	m.group.StatusAsync(func(now Status) { s = now })
	m.lab.run()
	return s
}

// wants checks an outcome: answered once, with an error that is all of wants, or none.
func (o *outcome) wants(t *testing.T, wants ...error) {
	t.Helper()
	if o.answered != 1 {
		t.Fatalf("answered %d times", o.answered)
	}
	if len(wants) == 0 && o.err != nil {
		t.Fatalf("unexpected error: %v", o.err)
	}
	for _, want := range wants {
		if !errors.Is(o.err, want) {
			t.Fatalf("the error is %v, not %v", o.err, want)
		}
	}
}

// neverAppended checks that the outcome's error promises that.
func (o *outcome) neverAppended(t *testing.T) {
	t.Helper()
	if o.answered != 1 || o.err == nil || errors.Is(o.err, ErrOutcomeUnknown) {
		t.Fatalf("answered %d times with %v: that does not say that nothing was appended", o.answered, o.err)
	}
}

func (m *labMember) SetReceiver(r transport.Receiver) {
	m.receiver = r
	for _, other := range m.lab.members {
		if other != m && other.up && other.receiver != nil {
			other.receiver.Connected(m.id)
			r.Connected(other.id)
		}
	}
}

func (m *labMember) Send(to raft.MemberID, parts [][]byte) bool { return m.send(to, parts, false) }

func (m *labMember) SendBulk(to raft.MemberID, parts [][]byte) bool { return m.send(to, parts, true) }

func (m *labMember) send(to raft.MemberID, parts [][]byte, bulk bool) bool {
	l := m.lab
	if int(to) > len(l.members) || slices.Contains(m.expelled, to) {
		return false
	}
	if !l.member(to).up || l.member(to).receiver == nil || l.full[[2]MemberID{m.id, to}] {
		return false
	}
	if !l.cut[[2]MemberID{m.id, to}] {
		l.frames = append(l.frames, labFrame{m.id, to, slices.Concat(parts...), bulk})
	}
	return true
}

func (m *labMember) Close() error { return nil }

func (m *labMember) SetPeer(id MemberID, urls []string) error {
	if m.peers == nil {
		m.peers = map[MemberID]string{}
	}
	m.peers[id] = strings.Join(urls, ",")
	return nil
}

func (m *labMember) Expel(id MemberID) {
	m.expelled = append(m.expelled, id)
	delete(m.peers, id)
}

type labScheduler struct {
	lab    *lab
	member *labMember
}

type labTask struct {
	member         *labMember
	name           string
	turn           actor.Turn
	ready, stopped bool
	alarm          actor.Instant
}

func (s *labScheduler) Now() actor.Instant { return s.lab.now }

func (s *labScheduler) Start(name string, turn actor.Turn) actor.Task {
	task := &labTask{member: s.member, name: name, turn: turn, ready: true, alarm: actor.Never}
	s.lab.tasks = append(s.lab.tasks, task)
	return task
}

func (t *labTask) Wake() { t.ready = true }
func (t *labTask) Stop() { t.stopped = true }

// journal is a state machine in memory that remembers its commands. A command "fail" is an error, "panic" a panic.
type journal struct {
	mu       sync.Mutex
	commands []string
	position Position
	batches  int
	gate     chan struct{} // a command "gated" takes one when it begins and one when it ends
}

func newJournal(MemberID) StateMachine { return &journal{} }

func (j *journal) Apply(b *Batch) error {
	for _, c := range b.Commands {
		if string(c.Payload) == "gated" {
			<-j.gate
			<-j.gate
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.batches++
	for i := range b.Commands {
		c := &b.Commands[i]
		switch string(c.Payload) {
		case "fail":
			return errors.New("the journal is out of paper")
		case "panic":
			panic("the journal is on fire")
		}
		if c.Index <= j.position.Index {
			return fmt.Errorf("index %d comes after %d", c.Index, j.position.Index)
		}
		j.commands = append(j.commands, string(c.Payload))
		c.Result = fmt.Appendf(nil, "%d:%s", len(j.commands), c.Payload)
	}
	j.position = b.Position
	return nil
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.commands)
}
