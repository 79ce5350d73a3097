package wal

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// The model of a log is a naive one: every group's entries in a slice. A history is a list of steps; after each write the
// model is kept, so that what a recovered log holds can be looked up: it must be the state after one of the writes, not
// before the last that was acknowledged, and not after the last that was tried.

type modelGroup struct {
	hard    raft.HardState
	commit  raft.Index
	before  raft.Position
	entries []raft.Entry
}

type model map[raft.GroupID]modelGroup

func (m model) clone() model { return maps.Clone(m) }

func (m model) apply(w GroupWrite) {
	g := m[w.Group]
	if w.Write.HardState != (raft.HardState{}) {
		g.hard = w.Write.HardState
	}
	if w.Write.Restart != (raft.Position{}) {
		g.before, g.entries = w.Write.Restart, nil
	}
	if list := w.Write.Entries; len(list) > 0 {
		keep := int(list[0].Index() - g.before.Index - 1)
		g.entries = append(slices.Clone(g.entries[:keep]), list...)
	}
	g.commit = max(g.commit, min(w.Write.Commit, g.before.Index+raft.Index(len(g.entries))))
	m[w.Group] = g
}

// discard gives up a group's entries up to an index.
func (m model) discard(id raft.GroupID, upTo raft.Index) raft.Position {
	g := m[id]
	n := int(upTo - g.before.Index)
	g.before = g.entries[n-1].Position()
	g.entries = g.entries[n:]
	m[id] = g
	return g.before
}

// differs says how what a log holds differs from the model, reading every entry; "" where it does not.
func (m model) differs(l *Log, recovered []GroupState) string {
	if len(recovered) != len(m) {
		return fmt.Sprintf("%d groups, want %d", len(recovered), len(m))
	}
	for _, got := range recovered {
		want, ok := m[got.Group]
		last := want.before.Index + raft.Index(len(want.entries))
		if !ok || got.HardState != want.hard || got.Commit != want.commit || got.Before != want.before || got.Last != last {
			return fmt.Sprintf("got %+v, want %+v up to %d", got, want, last)
		}
		if d := want.differsEntries(l, got.Group, last); d != "" {
			return d
		}
		if d := want.differsRuns(got.Runs); d != "" {
			return d
		}
	}
	return ""
}

func (want modelGroup) differsEntries(l *Log, id raft.GroupID, last raft.Index) string {
	for at := want.before.Index + 1; at <= last; {
		list, err := l.Read(id, at, last+1, 1<<20)
		if err != nil {
			return err.Error()
		}
		for _, e := range list {
			if expected := want.entries[at-want.before.Index-1]; string(e) != string(expected) {
				return fmt.Sprintf("group %d entry %d: got %v %q, want %v %q", id, at, e.Position(), e.Payload(), expected.Position(), expected.Payload())
			}
			at++
		}
	}
	return ""
}

func (want modelGroup) differsRuns(runs []raft.TermRun) string {
	var expected []raft.TermRun
	for _, e := range want.entries {
		if n := len(expected); n == 0 || expected[n-1].Term != e.Term() {
			expected = append(expected, raft.TermRun{Term: e.Term(), First: e.Index()})
		}
	}
	if !slices.Equal(runs, expected) {
		return fmt.Sprintf("terms %v, want %v", runs, expected)
	}
	return ""
}

// floor is what a group's log gives up.
type floor struct {
	group raft.GroupID
	upTo  raft.Index
}

// step is one call of the log writer, or an append after discards, which are recorded with it.
type step struct {
	discard []floor
	append  []GroupWrite
	sync    bool
	idle    bool
	prepare bool
	reopen  bool
}

// scriptedHistory has one of everything: several groups in a batch, entries replaced, votes, a restart, rolls, a segment
// of its own for a large entry, marks, and a clean reopening.
func scriptedHistory() []step {
	sync, idle := step{sync: true}, step{idle: true}
	big := entry(3, 1, 4, string(make([]byte, 5000)))
	return []step{
		{append: []GroupWrite{write(1, 1, 7, 0)}}, sync, idle, sync,
		{append: []GroupWrite{write(1, 1, 7, 0, entries(1, 1, 3, 1)...), write(2, 1, 0, 0, entries(2, 1, 1, 1)...)}}, sync,
		{append: []GroupWrite{write(1, 1, 7, 2, entries(1, 4, 8, 1)...)}},
		{append: []GroupWrite{write(2, 1, 0, 1, entries(2, 2, 4, 1)...)}}, sync, idle,
		{append: []GroupWrite{write(1, 2, 0, 4, entries(1, 6, 9, 2)...)}}, sync, {prepare: true},
		{append: []GroupWrite{write(1, 3, 8, 5)}}, sync,
		{append: []GroupWrite{write(1, 3, 8, 6, entries(1, 10, 25, 3)...), write(2, 2, 9, 4, entries(2, 5, 20, 2)...)}}, sync,
		{append: []GroupWrite{write(1, 3, 8, 20, entries(1, 26, 30, 3)...)}}, sync, idle, sync, {reopen: true},
		{append: []GroupWrite{write(3, 4, 1, 0, big)}}, sync, {prepare: true},
		{append: []GroupWrite{write(2, 5, 9, 15, entries(2, 18, 30, 5)...), write(3, 4, 1, 1, entries(3, 2, 5, 4)...)}},
		{append: []GroupWrite{{Group: 1, Write: &raft.Write{Restart: raft.Position{Index: 50, Term: 6}, HardState: raft.HardState{Term: 6}, Commit: 50}}}}, sync,
		{append: []GroupWrite{write(1, 6, 2, 52, entries(1, 51, 60, 6)...)}}, sync,
		{append: []GroupWrite{write(2, 5, 9, 30, entries(2, 31, 45, 5)...)}},
	}
}

// history runs steps on a log and keeps the models.
type history struct {
	disk   *vfs.Mem
	log    *Log
	states []model // after each write that was tried; states[0] is empty
	acked  int     // the state that the last Sync acknowledged
}

func openHistory(disk *vfs.Mem) (*history, error) {
	h := &history{disk: disk, states: []model{{}}}
	return h, h.open()
}

func powerOptions() Options { return Options{Identity: testIdentity, SegmentSize: minSegmentSize} }

func (h *history) open() (err error) {
	h.log, _, err = Open(h.disk, "wal", powerOptions())
	return err
}

func (h *history) run(steps []step) error {
	for _, s := range steps {
		if err := h.step(s); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) step(s step) error {
	switch {
	case s.sync:
		if err := h.log.Sync(); err != nil {
			return err
		}
		h.acked = len(h.states) - 1
	case s.idle:
		return h.log.Idle()
	case s.prepare:
		return h.log.Prepare()
	case s.reopen:
		if err := h.log.Close(); err != nil {
			return err
		}
		h.acked = len(h.states) - 1
		return h.open()
	default:
		if len(s.discard) > 0 {
			next := h.states[len(h.states)-1].clone()
			for _, f := range s.discard {
				if err := h.log.Discard(f.group, next.discard(f.group, f.upTo)); err != nil {
					return err
				}
			}
			h.states = append(h.states, next)
		}
		for _, w := range s.append {
			next := h.states[len(h.states)-1].clone()
			next.apply(w)
			h.states = append(h.states, next)
		}
		return h.log.Append(s.append)
	}
	return nil
}

// check opens what a power cut left, and returns the index of the state that is found.
func (h *history) check(disk *vfs.Mem) (*Log, int, error) {
	l, r, err := Open(disk, "wal", powerOptions())
	if err != nil {
		return nil, 0, err
	}
	why := ""
	for i := len(h.states) - 1; i >= h.acked; i-- {
		d := h.states[i].differs(l, r.Groups)
		if d == "" {
			return l, i, nil
		}
		why += fmt.Sprintf("\nnot state %d: %s", i, d)
	}
	return nil, 0, fmt.Errorf("acknowledged %d, tried %d; recovered as %q: %s", h.acked, len(h.states)-1, r.Report.Row, why)
}

var errCut = errors.New("the power goes here")

// cutAt lets the first n mutating operations of a disk through.
func cutAt(disk *vfs.Mem, n uint64) (reached func() bool) {
	count, hit := uint64(0), false
	disk.OnOp(func(vfs.Op) error {
		if count++; count > n {
			hit = true
			return errCut
		}
		return nil
	})
	return func() bool { return hit }
}

// runCut runs a history whose power goes after n operations. It reports whether it came so far.
func runCut(n uint64, steps []step, ignoreSync bool) (*history, bool, error) {
	disk := vfs.NewMem()
	disk.IgnoreSync(ignoreSync)
	reached := cutAt(disk, n)
	h, err := openHistory(disk)
	if err == nil {
		err = h.run(steps)
	}
	if err != nil && !reached() {
		return nil, false, err
	}
	return h, reached(), nil
}

func random(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, 99)).Uint64 }

// cutSeeds are how the power may go at one boundary: without a seed nothing unsynced survives.
const cutSeeds = 6

func cutWith(disk *vfs.Mem, seed uint64) *vfs.Mem {
	if seed == 0 {
		return disk.PowerCut(nil)
	}
	return disk.PowerCut(random(seed))
}

// The power goes before every single write, sync, creation and removal of a scripted history, in several ways: what Sync
// returned for is there, nothing else is invented, and the log goes on.
func TestPowerCutAtEveryBoundary(t *testing.T) {
	for _, steps := range histories() {
		powerCutAtEveryBoundary(t, steps)
	}
}

// histories are the scripted ones.
func histories() [][]step { return [][]step{scriptedHistory(), cuttingHistory()} }

func powerCutAtEveryBoundary(t *testing.T, steps []step) {
	for n := uint64(0); ; n++ {
		more := false
		for seed := range uint64(cutSeeds) {
			h, reached, err := runCut(n, steps, false)
			if err != nil {
				t.Fatal(err)
			}
			more = reached
			if err := h.survives(cutWith(h.disk, seed), seed); err != nil {
				t.Fatalf("cut after operation %d, seed %d: %v", n, seed, err)
			}
		}
		if !more {
			if n < 100 {
				t.Fatalf("the history has only %d operations", n)
			}
			return
		}
	}
}

// survives checks what a cut left, goes on from there, cuts again, and checks that too.
func (h *history) survives(disk *vfs.Mem, seed uint64) error {
	l, found, err := h.check(disk)
	if err != nil {
		return err
	}
	// What was found is durable now, whatever happens next (E52).
	after := &history{disk: disk, log: l, states: []model{h.states[found]}}
	next := h.states[found][1].before.Index + raft.Index(len(h.states[found][1].entries)) + 1
	term := h.states[found][1].hard.Term + 1
	if err := after.run([]step{
		{append: []GroupWrite{write(1, term, 3, 0, entries(1, next, next+2, term)...)}}, {sync: true}, {idle: true},
		{append: []GroupWrite{write(2, 9, 3, 0)}},
	}); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	l, _, err = after.check(disk.PowerCut(random(seed + 100)))
	if err != nil {
		return fmt.Errorf("after a second cut: %w", err)
	}
	return l.Close()
}

// The power goes again while recovery is at work, at every boundary of that.
func TestPowerCutDuringRecovery(t *testing.T) {
	for _, steps := range histories() {
		powerCutDuringRecovery(t, steps)
	}
}

func powerCutDuringRecovery(t *testing.T, steps []step) {
	total, rows := 0, map[string]int{}
	for n := uint64(3); ; n++ {
		h, reached, err := runCut(n, steps, false)
		if err != nil {
			t.Fatal(err)
		}
		if !reached {
			break
		}
		left, row := tornCut(h, n)
		rows[row]++
		for m := uint64(0); ; m++ {
			disk := left.Clone()
			again := cutAt(disk, m)
			if l, _, err := Open(disk, "wal", powerOptions()); err == nil {
				_ = l.Prepare() // which goes on with removing segments
			}
			if !again() {
				break
			}
			total++
			if err := h.survives(disk.PowerCut(random(m*1000+n)), n); err != nil {
				t.Fatalf("cut after operation %d, and after operation %d of the recovery: %v", n, m, err)
			}
		}
	}
	if total < 500 || rows["torn tail"] == 0 || rows["clean end"] == 0 || rows["creation interrupted"] == 0 {
		t.Fatalf("%d cuts, rows %v: that shows too little", total, rows)
	}
}

// tornCut cuts the power so that the tail is torn, if one of a few seeds does it, and says what recovery will find.
func tornCut(h *history, n uint64) (left *vfs.Mem, row string) {
	for seed := n + 1; seed < n+9; seed++ {
		left = h.disk.Clone().PowerCut(random(seed))
		if _, r, err := Open(left.Clone(), "wal", powerOptions()); err == nil {
			row = r.Report.Row
		}
		if row == "torn tail" {
			break
		}
	}
	return left, row
}

// The same test must fail where syncs do nothing, or it would prove nothing.
func TestPowerCutTestNoticesIgnoredSyncs(t *testing.T) {
	steps, failed, cuts := scriptedHistory(), 0, 0
	for n := uint64(10); ; n += 7 {
		h, reached, err := runCut(n, steps, true)
		if err != nil {
			t.Fatal(err)
		}
		if !reached {
			break
		}
		if h.acked == 0 {
			continue
		}
		cuts++
		if _, _, err := h.check(h.disk.PowerCut(nil)); err != nil {
			failed++
		}
	}
	if cuts == 0 || failed != cuts {
		t.Fatalf("with syncs ignored %d of %d cuts went unnoticed", cuts-failed, cuts)
	}
}

// Killing a process whose files are held back until Sync is a power cut too.
func TestKillOnHeldBackFiles(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		below := vfs.NewMem()
		disk := vfs.NewUnsynced(below)
		l, _, err := Open(disk, "wal", powerOptions())
		if err != nil {
			t.Fatal(err)
		}
		disk.IgnoreSync(ignore)
		for i := raft.Index(1); i <= 40; i += 4 {
			mustAppend(t, l, write(1, 1, 7, 0, entries(1, i, i+3, 1)...))
			mustSync(t, l)
		}
		mustAppend(t, l, write(1, 1, 7, 0, entries(1, 41, 50, 1)...))
		_, r, err := Open(vfs.NewUnsynced(below.Kill()), "wal", powerOptions())
		if ignore {
			if err == nil && len(r.Groups) > 0 {
				t.Fatalf("with syncs ignored there is %+v", r.Groups)
			}
			continue
		}
		if err != nil || r.Groups[0].Last != 40 {
			t.Fatal(r, err)
		}
	}
}
