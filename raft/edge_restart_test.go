package raft

import (
	"strings"
	"testing"
)

func TestE51StateAheadOfTheLogIsAFloor(t *testing.T) {
	config := newWorld(t, 3, Limits{}).member(1).config
	for _, test := range []struct {
		name     string
		restored Restored
		first    Index // where the log begins
		last     Position
		restart  Position
		term     Term
	}{
		{"in step", Restored{
			HardState: HardState{Term: 2, Vote: 3}, Commit: 2, Applied: Position{2, 1}, Runs: []TermRun{{1, 1}, {2, 3}}, Last: 4,
		}, 1, Position{4, 2}, Position{}, 2},
		{"the log lost its tail", Restored{
			HardState: HardState{Term: 2, Vote: 3}, Commit: 2, Applied: Position{9, 2}, Runs: []TermRun{{1, 1}, {2, 3}}, Last: 4,
		}, 10, Position{9, 2}, Position{9, 2}, 2},
		{"the log lost everything, and the term", Restored{Applied: Position{9, 4}}, 10, Position{9, 4}, Position{9, 4}, 4},
		{"the log has other entries there, which were replaced", Restored{
			HardState: HardState{Term: 3}, Commit: 2, Applied: Position{4, 3}, Runs: []TermRun{{1, 1}, {2, 3}}, Last: 6,
		}, 5, Position{4, 3}, Position{4, 3}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			config.Random = func() uint64 { return 0 }
			r, err := New(config, test.restored, 0)
			if err != nil {
				t.Fatal(err)
			}
			if s := r.Status(); s.First != test.first || r.log.end() != test.last || s.Term != test.term ||
				s.Applied != test.restored.Applied.Index || s.Commit != s.Applied {
				t.Fatalf("%+v, ends at %v", s, r.log.end())
			}
			if test.term > test.restored.HardState.Term && r.hard.Vote != 0 {
				t.Fatal("it takes an old vote into a new term")
			}
			if err := r.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
			// It goes on above, and tells its log so.
			next := entryAt(test.last.Index+1, 5)
			r.Receive(0, Envelope{Group: 1, From: 2, To: 1, FromLife: 1, ToLife: 1, Message: &AppendEntries{
				Term: 5, Prev: test.last, Entries: []Entry{next}, Commit: next.Index(),
			}})
			o := r.Output()
			if o.Write == nil || o.Write.Restart != test.restart || len(o.Write.Entries) != 1 {
				t.Fatalf("it writes %+v", o.Write)
			}
		})
	}
}

func TestDamagedLogsAreRefused(t *testing.T) {
	config := newWorld(t, 3, Limits{}).member(1).config
	config.Random = func() uint64 { return 0 }
	for want, restored := range map[string]Restored{
		"before its start":            {Before: Position{5, 1}, Applied: Position{5, 1}, Last: 4, HardState: HardState{Term: 1}},
		"0 terms for the entries":     {Last: 4, HardState: HardState{Term: 1}},
		"term 1 from index 3 on":      {Last: 4, Runs: []TermRun{{2, 1}, {1, 3}}, HardState: HardState{Term: 2}},
		"term 1 from index 2 on":      {Last: 4, Runs: []TermRun{{1, 2}}, HardState: HardState{Term: 2}},
		"its hard state of term 1":    {Last: 4, Runs: []TermRun{{2, 1}}, HardState: HardState{Term: 1}},
		"the entries between are mis": {Before: Position{5, 1}, Last: 5, Applied: Position{3, 1}, HardState: HardState{Term: 1}},
		"had recorded that 9":         {Last: 4, Runs: []TermRun{{1, 1}}, Commit: 9, HardState: HardState{Term: 1}},
		"and both as committed":       {Last: 4, Runs: []TermRun{{1, 1}}, Commit: 4, Applied: Position{3, 2}, HardState: HardState{Term: 2}},
	} {
		_, err := New(config, restored, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", restored, err, want)
		}
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	good := newWorld(t, 3, Limits{}).member(1).config
	good.Random = func() uint64 { return 0 }
	for want, change := range map[string]func(*Config){
		"not in its own list": func(c *Config) { c.Self = 9 },
		"listed twice":        func(c *Config) { c.Members = []Member{{1, 1}, {2, 1}, {1, 2}} },
		"reserved":            func(c *Config) { c.Members = []Member{{1, 1}, {0, 1}} },
		"Random is missing":   func(c *Config) { c.Random = nil },
		"must be positive":    func(c *Config) { c.ElectionTimeout = 0 },
		"at most half":        func(c *Config) { c.HeartbeatInterval = c.ElectionTimeout },
	} {
		c := good
		change(&c)
		if _, err := New(c, Restored{}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A restarted member serves nothing from its state before it has caught up with what its log knows to be committed;
// it hands out these entries first of all (E50 is the runtime's to keep).
func TestARestartedMemberHandsOutWhatItsLogKnowsToBeCommitted(t *testing.T) {
	w := newWorld(t, 3, Limits{MessageBytes: 100})
	leader := w.elect(1)
	w.propose(leader, "a", "b", "c")
	w.settle()
	w.propose(leader, "d")
	w.settle()
	m := w.member(2)
	w.crash(m, 0)
	w.start(m)
	w.isolate(2)
	if m.raft.commit < 4 {
		t.Fatalf("commit is %d", m.raft.commit)
	}
	w.settle()
	if got := Index(len(m.applied)); got != m.raft.commit {
		t.Fatalf("%d of %d handed out", got, m.raft.commit)
	}
}

// What could not be read is asked for again, after a while.
func TestAFailedFetchIsRepeated(t *testing.T) {
	w := newWorld(t, 1, Limits{})
	m := w.elect(1)
	w.propose(m, "a")
	w.settle()
	w.crash(m, 0)
	w.start(m)
	o := m.raft.Output()
	if len(o.Fetches) != 1 {
		t.Fatalf("%+v", o)
	}
	m.raft.Fetched(w.now, o.Fetches[0], nil)
	if m.raft.Output(); len(m.raft.Output().Fetches) > 0 {
		t.Fatal("it asks again at once")
	}
	if m.raft.Deadline() > w.now.Add(testHeartbeat) {
		t.Fatal("it does not ask to be woken")
	}
	w.pass(testHeartbeat)
	w.settle()
	if len(m.applied) < 2 {
		t.Fatalf("%d applied", len(m.applied))
	}
	// Entries that are not what the log holds are not taken.
	wrong := []Entry{entryAt(1, 9)}
	if m.raft.areOurs(Fetch{Low: 1, High: 2}, wrong) || m.raft.areOurs(Fetch{Low: 2, High: 3}, wrong) ||
		m.raft.areOurs(Fetch{Low: 1, High: 2}, []Entry{[]byte("short")}) {
		t.Fatal("it takes wrong entries")
	}
}
