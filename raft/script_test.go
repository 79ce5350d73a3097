package raft

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs the scenarios in testdata: each command with the conversation that it must lead to. They are
// meant to be read. `go test ./raft -run TestScripts -rewrite` writes down what the code does now; read the difference.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { runScript(t, path) })
	}
}

func runScript(t *testing.T, path string) {
	s := &script{}
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		var trace strings.Builder
		if s.world != nil {
			s.world.t, s.world.trace = t, &trace
			if has(d, "quietly") {
				s.world.trace = nil
			}
		}
		run, ok := scriptCommands[d.Cmd]
		if !ok {
			return fmt.Sprintf("there is no command %q", d.Cmd)
		}
		run(s, t, d)
		for _, m := range s.world.members {
			if m.raft == nil {
				continue
			}
			for _, check := range []func() error{m.raft.CheckInvariants, m.raft.CheckEntries} {
				if err := check(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return trace.String()
	})
}

type script struct {
	world   *world
	delayed []parcel
}

// The commands. Members are named by their numbers.
//
//	cluster 3                    three members that have just been started
//	timeout 1                    member 1 waits until its next deadline; the others' time stands still
//	elect 1                      the same, and messages arrive until it leads; what it says then has not arrived
//	pass 25ms                    time passes for all
//	settle                       all messages arrive, all disks write, until everything is quiet
//	step                         each member gives its output once; nothing arrives yet
//	arrive 1 2 [lose]            the messages from 1 to 2 arrive (or are lost)
//	delay 1 2 / late 1 2         the messages from 1 to 2 are held up by the network; they arrive
//	repeat 1 2                   the network makes copies of the messages from 1 to 2; they can arrive late
//	propose 1 a b                member 1 is given two commands
//	slow 1 / fast 1              member 1's writes wait; they do not any more
//	persist 1 [n]                member 1's writes (its first n) are done now
//	isolate 1 / heal             member 1 is cut off; all cuts are mended
//	crash 1 / restart 1          what member 1's disk has not done is lost
//	read 1 7                     a read with id 7 at member 1
//	change 1 add=4 learner=5 promote=5 demote=3 remove=2 [replaces=2] [from=7] [lossy]
//	                             the leader, 1, is asked for a change of membership, of the configuration that it has (or of index 7)
//	join 4 1                     member 4 is started, empty, and is told the configuration that member 1 has
//	configuration 1              the configuration that member 1 has
//	transfer 1 2                 member 1 hands its office to member 2
//	broken 2 1 [refused]         member 2 notices that its connection to 1 broke
//	connected 2 1
//	compact 1 4                  member 1's state machine is durable, and its log forgets what is at or below index 4
//	snapshot 1 3 [lose]          member 1 sends member 3 its state machine, as it is now; it arrives (or is lost)
//	restore 3                    member 3's state machine takes over the first snapshot that has arrived
//	install 3                    and its protocol is told so
//	logs [1 2]                   the terms of every log, with commit and stable index
//	progress 1                   a leader's view of the others
//	append 3 from=1 term=2 prev=(1,1) entries=(1,2) commit=1
//	                             an append as leader 1 might send it arrives at member 3
//	vote 3 from=1 term=2 last=(1,1) [transfer]
//	                             a request for a vote arrives at member 3
//
// With quietly at the end, a command does not tell what happens.
var scriptCommands map[string]func(*script, *testing.T, *datadriven.TestData)

func init() {
	scriptCommands = map[string]func(*script, *testing.T, *datadriven.TestData){
		"cluster":   (*script).cluster,
		"timeout":   func(s *script, t *testing.T, d *datadriven.TestData) { s.world.timeout(s.member(t, d, 0)) },
		"elect":     (*script).elect,
		"pass":      (*script).pass,
		"settle":    func(s *script, _ *testing.T, _ *datadriven.TestData) { s.world.settle() },
		"append":    (*script).append,
		"vote":      (*script).vote,
		"delay":     (*script).delay,
		"late":      (*script).late,
		"repeat":    (*script).repeat,
		"compact":   (*script).compact,
		"snapshot":  (*script).snapshot,
		"restore":   (*script).restore,
		"install":   (*script).install,
		"step":      (*script).step,
		"arrive":    (*script).arrive,
		"propose":   (*script).propose,
		"slow":      func(s *script, t *testing.T, d *datadriven.TestData) { s.member(t, d, 0).slow = true },
		"fast":      func(s *script, t *testing.T, d *datadriven.TestData) { s.member(t, d, 0).slow = false },
		"persist":   (*script).persist,
		"isolate":   func(s *script, t *testing.T, d *datadriven.TestData) { s.world.isolate(s.member(t, d, 0).id) },
		"heal":      func(s *script, _ *testing.T, _ *datadriven.TestData) { s.world.heal() },
		"crash":     func(s *script, t *testing.T, d *datadriven.TestData) { s.world.crash(s.member(t, d, 0), 0) },
		"restart":   func(s *script, t *testing.T, d *datadriven.TestData) { s.world.start(s.member(t, d, 0)) },
		"read":      (*script).read,
		"transfer":  (*script).transfer,
		"broken":    (*script).broken,
		"connected": (*script).connected,
		"change":    (*script).change,
		"join":      (*script).join,

		"configuration": func(s *script, t *testing.T, d *datadriven.TestData) {
			m := s.member(t, d, 0)
			c := m.raft.Membership()
			s.world.say("%d has%s configuration %d: %s", m.id, yesNo(c.Committed, " committed", ""), c.Index, describeConfiguration(&c.Configuration))
		},

		"logs":     (*script).logs,
		"progress": (*script).progress,
	}
}

func number(t *testing.T, d *datadriven.TestData, i int) int {
	t.Helper()
	var n int
	if i >= len(d.CmdArgs) {
		d.Fatalf(t, "argument %d is missing", i+1)
	}
	if _, err := fmt.Sscan(d.CmdArgs[i].Key, &n); err != nil {
		d.Fatalf(t, "argument %d: %v", i+1, err)
	}
	return n
}

func has(d *datadriven.TestData, name string) bool {
	for _, a := range d.CmdArgs {
		if a.Key == name {
			return true
		}
	}
	return false
}

func (s *script) member(t *testing.T, d *datadriven.TestData, i int) *member {
	return s.world.member(MemberID(number(t, d, i)))
}

func (s *script) cluster(t *testing.T, d *datadriven.TestData) {
	var limits Limits
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "message-bytes":
			a.Scan(t, 0, &limits.MessageBytes)
		case "inflight-messages":
			a.Scan(t, 0, &limits.InflightMessages)
		case "cache-bytes":
			a.Scan(t, 0, &limits.CacheBytes)
		default:
			d.Fatalf(t, "unknown limit %s", a.Key)
		}
	}
	s.world = newWorld(t, number(t, d, 0), limits)
}

func (s *script) pass(t *testing.T, d *datadriven.TestData) {
	length, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	s.world.pass(length)
}

func (s *script) elect(t *testing.T, d *datadriven.TestData) {
	candidate := s.member(t, d, 0)
	s.world.timeout(candidate)
	for range 100 {
		s.step(t, d)
		if candidate.raft.role == Leader {
			return
		}
		for n := len(s.world.network); n > 0; n-- {
			s.world.deliver(0)
		}
	}
	t.Fatalf("member %d is not elected", candidate.id)
}

// append is a message from a leader that need not exist. The entries are given by their terms.
func (s *script) append(t *testing.T, d *datadriven.TestData) {
	var from, term, commit, index, prevTerm uint64
	d.ScanArgs(t, "from", &from)
	d.ScanArgs(t, "term", &term)
	d.MaybeScanArgs(t, "commit", &commit)
	d.ScanArgs(t, "prev", &index, &prevTerm)
	m := &AppendEntries{Term: Term(term), Prev: Position{Index(index), Term(prevTerm)}, Commit: Index(commit)}
	for _, a := range d.CmdArgs {
		for i, value := range a.Vals {
			if a.Key == "entries" {
				var entryTerm Term
				fmt.Sscan(value, &entryTerm)
				m.Entries = append(m.Entries, entryAt(Index(index)+Index(i)+1, entryTerm))
			}
		}
	}
	s.inject(t, d, MemberID(from), m)
}

func (s *script) vote(t *testing.T, d *datadriven.TestData) {
	var from, term, index, lastTerm uint64
	d.ScanArgs(t, "from", &from)
	d.ScanArgs(t, "term", &term)
	d.ScanArgs(t, "last", &index, &lastTerm)
	s.inject(t, d, MemberID(from), &RequestVote{
		Term: Term(term), Last: Position{Index(index), Term(lastTerm)}, Transfer: has(d, "transfer"),
	})
}

func (s *script) inject(t *testing.T, d *datadriven.TestData, from MemberID, m Message) {
	to := s.member(t, d, 0)
	s.world.say("%d -> %d %s", from, to.id, describe(m))
	to.raft.Receive(s.world.now, Envelope{Group: 1, From: from, To: to.id, FromLife: 1, ToLife: 1, Message: m})
	s.world.output(to)
}

// between takes the messages from one member to another out of a list.
func (s *script) between(t *testing.T, d *datadriven.TestData, list *[]parcel) (taken []parcel) {
	from, to := s.member(t, d, 0).id, s.member(t, d, 1).id
	var left []parcel
	for _, p := range *list {
		if p.From == from && p.To == to {
			taken = append(taken, p)
		} else {
			left = append(left, p)
		}
	}
	*list = left
	return taken
}

func (s *script) delay(t *testing.T, d *datadriven.TestData) {
	s.delayed = append(s.delayed, s.between(t, d, &s.world.network)...)
}

func (s *script) repeat(t *testing.T, d *datadriven.TestData) {
	network := append([]parcel(nil), s.world.network...)
	s.delayed = append(s.delayed, s.between(t, d, &network)...)
}

func (s *script) late(t *testing.T, d *datadriven.TestData) {
	for _, p := range s.between(t, d, &s.delayed) {
		s.world.say("%d -> %d late: %s", p.From, p.To, describe(p.Message))
		s.world.hand(p)
	}
	s.world.output(s.member(t, d, 1))
}

func (s *script) step(*testing.T, *datadriven.TestData) {
	for _, m := range s.world.members {
		s.world.output(m)
		if !m.slow {
			s.world.persist(m, len(m.pending))
		}
	}
}

func (s *script) arrive(t *testing.T, d *datadriven.TestData) {
	for _, p := range s.between(t, d, &s.world.network) {
		if has(d, "lose") {
			s.world.say("%d -> %d lost: %s", p.From, p.To, describe(p.Message))
			continue
		}
		s.world.hand(p)
	}
	s.world.output(s.member(t, d, 1))
}

func (s *script) propose(t *testing.T, d *datadriven.TestData) {
	var commands []string
	for _, a := range d.CmdArgs[1:] {
		commands = append(commands, a.Key)
	}
	m := s.member(t, d, 0)
	p, err := m.raft.Propose(s.world.now, commandEntries(commands...))
	switch {
	case err != nil:
		s.world.say("%d refuses: %v", m.id, err)
	default:
		s.world.say("%d appends them from index %d on, in term %d", m.id, p.First, p.Term)
	}
}

func (s *script) persist(t *testing.T, d *datadriven.TestData) {
	m := s.member(t, d, 0)
	count := len(m.pending)
	if len(d.CmdArgs) > 1 {
		count = number(t, d, 1)
	}
	s.world.persist(m, count)
	s.world.output(m)
}

func (s *script) read(t *testing.T, d *datadriven.TestData) {
	s.member(t, d, 0).raft.Read(s.world.now, ReadID(number(t, d, 1)))
}

func (s *script) transfer(t *testing.T, d *datadriven.TestData) {
	if err := s.member(t, d, 0).raft.Transfer(s.world.now, s.member(t, d, 1).id); err != nil {
		s.world.say("%v", err)
	}
}

func (s *script) change(t *testing.T, d *datadriven.TestData) {
	m := s.member(t, d, 0)
	from, lossy, replaces := m.raft.Membership().Index, has(d, "lossy"), MemberID(0)
	kinds := map[string]ChangeKind{"add": AddMember, "learner": AddLearner, "promote": Promote, "demote": Demote, "remove": Remove}
	d.MaybeScanArgs(t, "from", (*uint64)(&from))
	d.MaybeScanArgs(t, "replaces", (*uint64)(&replaces))
	var changes []Change
	for _, a := range d.CmdArgs {
		for i := range a.Vals {
			if kind, ok := kinds[a.Key]; ok {
				change := Change{Kind: kind}
				a.Scan(t, i, (*uint64)(&change.Member))
				if kind == AddMember {
					change.Replaces = replaces
				}
				changes = append(changes, change)
			}
		}
	}
	if at, err := m.raft.ChangeMembers(s.world.now, from, lossy, changes...); err != nil {
		s.world.say("%d refuses: %v", m.id, err)
	} else {
		s.world.say("%d appends it at index %d, in term %d", m.id, at.Index, at.Term)
	}
}

func (s *script) join(t *testing.T, d *datadriven.TestData) {
	s.world.join(MemberID(number(t, d, 0)), s.member(t, d, 1))
}

func (s *script) broken(t *testing.T, d *datadriven.TestData) {
	s.member(t, d, 0).raft.PeerBroken(s.world.now, s.member(t, d, 1).id, has(d, "refused"))
}

func (s *script) connected(t *testing.T, d *datadriven.TestData) {
	s.member(t, d, 0).raft.PeerConnected(s.world.now, s.member(t, d, 1).id)
}

func (s *script) logs(_ *testing.T, d *datadriven.TestData) {
	for _, m := range s.world.members {
		if len(d.CmdArgs) > 0 && !has(d, fmt.Sprint(m.id)) {
			continue
		}
		if m.raft == nil {
			s.world.say("%d is down", m.id)
			continue
		}
		begins := ""
		if before := m.raft.log.before; before.Index > 0 {
			begins = "after " + at(before) + ", "
		}
		s.world.say("%d: %sterms %s; commit %d, durable %d", m.id, begins, logOf(m), m.raft.commit, m.raft.log.stable)
	}
}

func (s *script) progress(t *testing.T, d *datadriven.TestData) {
	for _, p := range s.member(t, d, 0).raft.Status().Peers {
		s.world.say("%d: %v, match %d, next %d, %d under way", p.ID, p.State, p.Match, p.Next, p.InflightMessages)
	}
}

func (s *script) compact(t *testing.T, d *datadriven.TestData) {
	m := s.member(t, d, 0)
	s.world.compact(m, Index(number(t, d, 1)))
	s.world.say("%d: its log begins after %s", m.id, at(m.raft.log.before))
}

func (s *script) snapshot(t *testing.T, d *datadriven.TestData) {
	from, to := s.member(t, d, 0), s.member(t, d, 1)
	need := SnapshotNeed{To: to.id, FromLife: 1, ToLife: 1, Term: from.raft.hard.Term}
	if len(from.needs) > 0 {
		need, from.needs = from.needs[0], from.needs[1:]
	}
	snapshot := s.world.sendSnapshot(from, need)
	s.world.say("%d -> %d snapshot: term %d, at %s", from.id, to.id, snapshot.Term, at(snapshot.At))
	switch {
	case has(d, "lose"):
		s.world.say("%d -> %d lost: snapshot", from.id, to.id)
	case s.world.spool(snapshot):
		s.world.say("%d takes it", to.id)
		s.world.output(to)
		return
	default:
		s.world.say("%d does not want it", to.id)
	}
	s.world.endTransfer(snapshot, true)
	s.world.output(from)
	s.world.output(to)
}

func (s *script) restore(t *testing.T, d *datadriven.TestData) {
	m := s.member(t, d, 0)
	snapshot := m.spooled[0]
	m.spooled = m.spooled[1:]
	s.world.restore(m, snapshot)
	s.world.say("%d: its state machine is at %s, durably", m.id, at(m.applied[len(m.applied)-1].Position()))
}

func (s *script) install(t *testing.T, d *datadriven.TestData) {
	m := s.member(t, d, 0)
	snapshot := m.arrived[0]
	m.arrived = m.arrived[1:]
	s.world.install(m, snapshot)
	s.world.output(m)
}
