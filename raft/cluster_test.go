package raft

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestRandomCluster lets members, a network that loses, repeats and reorders, and disks that lose what was not
// synced do as they like, from a seed, and checks after every step what Raft promises:
//
//	election safety         at most one leader per term, ever
//	leader append-only      a leader's log only grows
//	log matching            same index and term, same log below
//	leader completeness     the leader of the highest term has all that was ever committed
//	state machine safety    the same entry at the same index, at all members, in all lives
//	durability              what is committed is on a majority of the disks (the paper's promise, E13, E19)
//	cut logs                none of it changes when logs are cut, and snapshots come early, late, twice or by halves (E25-E28, E51)
//	held back               nothing is sent that follows from a term or vote that a crash would forget (E01)
//	reads                   an answer is at least all that was committed when the read was registered (E39)
//
// Then everything heals, and the members must come to one leader and equal logs. A failure names its seed.
func TestRandomCluster(t *testing.T) {
	var sum tally
	for seed := range *seeds {
		runChaos(t, *firstSeed+uint64(seed), *stepsPerSeed, &sum)
	}
	t.Logf("%+v", sum)
	// Steps in which nothing happens prove nothing.
	if n := *seeds; sum.committed < 10*n || sum.leaders < n || sum.reads < 5*n || sum.rejections < n || sum.crashes < n ||
		sum.compactions < n || sum.needs < n/3 || sum.restarts < n/4 || sum.kept < n/20 || sum.overtaken < n/3 {
		t.Errorf("too little happened in %d runs: %+v", n, sum)
	}
}

var (
	seeds        = flag.Int("seeds", 200, "how many random clusters to run")
	firstSeed    = flag.Uint64("first-seed", 0, "the first one's seed")
	stepsPerSeed = flag.Int("steps", 3000, "how many steps each of them takes")
)

// tally is what happened in all runs.
type tally struct {
	committed, leaders, reads, rejections, crashes, stepDowns int

	compactions, needs int
	// What became of snapshots: the log began anew, it held the position, it had committed more.
	restarts, kept, overtaken int

	changes, joint, joined int
}

// FuzzCluster looks for seeds that fail: go test ./raft -run xxx -fuzz FuzzCluster
func FuzzCluster(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { runChaos(t, seed, 3000, &tally{}) })
}

func runChaos(t *testing.T, seed uint64, steps int, sum *tally) {
	t.Helper()
	newChaos(t, seed, []int{1, 2, 3, 3, 3, 5, 5}).run(steps, sum)
}

func newChaos(t *testing.T, seed uint64, sizes []int) *chaos {
	rng := rand.New(rand.NewPCG(seed, 2))
	limits := Limits{
		UncommittedBytes: 3000, InflightBytes: 600, InflightMessages: 1 + rng.IntN(6), MessageBytes: 100 + rng.IntN(300),
		BufferedBytes: 1500, CacheBytes: rng.IntN(1500) + 1, ApplyingBytes: 100 + rng.IntN(400), Reads: 20,
	}
	c := &chaos{
		world: newWorld(t, sizes[rng.IntN(len(sizes))], limits), rng: rng, seed: seed,
		leaders: map[Term]MemberID{}, lastOf: map[*Raft]Index{},
		voted: make([]HardState, maxChaos), registered: map[ReadID]Index{}, handed: map[*Raft]Index{},
	}
	// Swarm: each run has its own mix of what goes wrong.
	for i := range c.weights {
		c.weights[i] = usual[i] + rng.IntN(3)*rng.IntN(1+trouble[i])
	}
	return c
}

// maxChaos is how many members there are at most.
const maxChaos = 12

func (c *chaos) run(steps int, sum *tally) {
	for range steps {
		c.step()
		c.check()
	}
	c.converge()
	sum.add(c)
}

func (s *tally) add(c *chaos) {
	s.committed += len(c.committed)
	s.leaders += len(c.leaders)
	s.reads += int(c.lastRead) - len(c.registered)
	s.crashes += c.crashes
	s.compactions += c.compactions
	s.needs += c.needs
	s.restarts += c.restarts
	s.kept += c.kept
	s.overtaken += c.overtaken
	s.changes += c.changes
	s.joint += c.joint
	s.joined += c.joined
	for _, m := range c.members {
		s.rejections += int(m.raft.counts.Rejections)
		s.stepDowns += int(m.raft.counts.StepDowns)
	}
}

const (
	actPass = iota
	actDeliver
	actReorder
	actLose
	actRepeat
	actPersist
	actPropose
	actRead
	actServe
	actApply
	actCrash
	actRestart
	actCut
	actHeal
	actTransfer
	actBroken
	actConnected
	actFlush
	actCompact
	actSnapshot
	actTransferSnapshot
	actRestore
	actInstall
	actChange
	actCount
)

// How often things happen: what is usual, and how much more of it a run may have.
var (
	usual = [actCount]int{
		actPass: 60, actDeliver: 400, actPersist: 150, actPropose: 50, actServe: 60, actApply: 60, actRestart: 10, actHeal: 4,
		actTransferSnapshot: 15, actRestore: 15, actInstall: 15,
	}
	trouble = [actCount]int{
		actPass: 60, actReorder: 60, actLose: 30, actRepeat: 40, actPropose: 100, actRead: 40, actCrash: 5, actCut: 8, actHeal: 4,
		actTransfer: 4, actBroken: 8, actConnected: 8,
		actFlush: 80, actCompact: 60, actSnapshot: 60, actTransferSnapshot: 60, actRestore: 60, actInstall: 60,
	}
)

// chaos is a world in which everything goes wrong, with the memory of its observers.
type chaos struct {
	*world
	rng     *rand.Rand
	seed    uint64
	weights [actCount]int
	steps   int

	leaders    map[Term]MemberID
	lastOf     map[*Raft]Index // where a leader's log ended when it was looked at last
	voted      []HardState     // what the disks remembered at their best
	committed  []Entry         // all that was ever committed, by index-1
	registered map[ReadID]Index
	lastRead   ReadID
	commands   int
	handed     map[*Raft]Index // the last entry that was handed out, or that a snapshot had

	crashes, compactions, needs, restarts, kept, overtaken int
	changes, joint, joined                                 int
}

func (c *chaos) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("seed %d, step %d: %s", c.seed, c.steps, fmt.Sprintf(format, args...))
}

func (c *chaos) any() *member { return c.members[c.rng.IntN(len(c.members))] }

func (c *chaos) step() {
	c.steps++
	total := 0
	for _, weight := range c.weights {
		total += weight
	}
	pick := c.rng.IntN(total)
	action := 0
	for pick >= c.weights[action] {
		pick -= c.weights[action]
		action++
	}
	c.act(action, c.any())
	for _, m := range c.members {
		if m.raft != nil && c.rng.IntN(3) > 0 {
			c.output(m)
		}
	}
}

func (c *chaos) act(action int, m *member) {
	up := m.raft != nil
	switch {
	case action == actPass:
		c.now = c.now.Add(time.Duration(c.rng.IntN(8)) * time.Millisecond)
		if up && c.rng.IntN(4) == 0 {
			c.now = max(c.now, m.raft.Deadline())
		}
		for _, m := range c.members {
			if m.raft != nil && m.raft.Deadline() <= c.now {
				m.raft.Tick(c.now)
			}
		}
	case action == actRestart && !up:
		c.restart(m)
	case action == actTransferSnapshot && len(c.bulk) > 0:
		c.moveSnapshot(c.bulk[c.rng.IntN(len(c.bulk))])
	case action == actHeal:
		c.heal()
	case action == actCut:
		c.cut[[2]MemberID{m.id, c.any().id}] = true
	case len(c.network) > 0 && (action == actDeliver || action == actReorder || action == actLose || action == actRepeat):
		c.traffic(action)
	case action == actChange:
		c.actChange()
	case up:
		c.actMember(action, m)
	}
}

func (c *chaos) traffic(action int) {
	i := c.rng.IntN(len(c.network))
	switch action {
	case actDeliver: // some in order
		for range 1 + c.rng.IntN(4) {
			if len(c.network) > 0 {
				c.deliver(0)
			}
		}
	case actReorder:
		c.deliver(i)
	case actLose:
		c.network = append(c.network[:i:i], c.network[i+1:]...)
	case actRepeat:
		c.hand(c.network[i])
	}
}

func (c *chaos) actMember(action int, m *member) {
	switch action {
	case actPersist:
		if n := len(m.pending); n > 0 {
			c.persist(m, 1+c.rng.IntN(n))
		}
	case actPropose:
		for _, leader := range c.members {
			if leader.raft != nil && leader.raft.role == Leader && c.rng.IntN(4) > 0 {
				m = leader
			}
		}
		var commands []string
		for range 1 + c.rng.IntN(3) {
			c.commands++
			commands = append(commands, fmt.Sprintf("%d%s", c.commands, "xxxxxxxxxxxxxxxxxxxxxxxx"[:c.rng.IntN(24)]))
		}
		m.raft.Propose(c.now, commandEntries(commands...))
	case actRead:
		c.lastRead++
		c.registered[c.lastRead] = Index(len(c.committed))
		m.raft.Read(c.now, c.lastRead)
	case actServe:
		c.serve(m)
	case actApply:
		if n := int(min(c.handed[m.raft], Index(len(m.applied)))); n > 0 {
			m.raft.Applied(c.now, m.applied[n-1-c.rng.IntN(min(n, 3))].Index())
		}
	case actFlush, actCompact, actSnapshot, actRestore, actInstall:
		c.actState(action, m)
	case actCrash:
		c.crashes++
		c.crash(m, c.rng.IntN(len(m.pending)+1))
	case actTransfer:
		m.raft.Transfer(c.now, c.any().id)
	case actBroken:
		m.raft.PeerBroken(c.now, c.any().id, c.rng.IntN(2) == 0)
	case actConnected:
		m.raft.PeerConnected(c.now, c.any().id)
	}
}

// output is the world's, but looks at what leaves before it does, and lets the state machine take its time.
func (c *chaos) output(m *member) {
	if !m.raft.HasOutput() {
		return
	}
	c.noteCommit(m)
	o := m.raft.Output()
	for _, e := range o.Messages {
		c.checkHeldBack(m, e.Message)
		c.send(e)
	}
	if o.Write != nil {
		m.pending = append(m.pending, o.Write)
	}
	for _, e := range o.Committed {
		if e.Index() != c.handed[m.raft]+1 {
			c.fail("member %d is handed index %d after %d", m.id, e.Index(), c.handed[m.raft])
		}
		c.handed[m.raft] = e.Index()
		if int(e.Index()) > len(c.committed) {
			c.fail("member %d is handed index %d, the last one that anybody has committed is %d", m.id, e.Index(), len(c.committed))
		}
		if !bytes.Equal(e, c.committed[e.Index()-1]) {
			c.fail("state machine safety: member %d is handed %v at index %d, which was %v", m.id, e.Position(), e.Index(), c.committed[e.Index()-1].Position())
		}
		if int(e.Index()) > len(m.applied) { // else a snapshot that is about to be installed had it
			m.applied = append(m.applied, e)
		}
	}
	m.fetches = append(m.fetches, o.Fetches...)
	c.needs += len(o.Snapshots)
	m.needs = append(m.needs, o.Snapshots...)
	for _, read := range o.Reads {
		c.checkRead(m, read)
	}
}

func (c *chaos) checkHeldBack(m *member, message Message) {
	hard := m.disk.hard
	if message.SenderTerm() > hard.Term {
		c.fail("held back: member %d says it is in term %d, its disk has %d", m.id, message.SenderTerm(), hard.Term)
	}
	if v, ok := message.(*VoteResponse); ok && v.Granted && v.Term == hard.Term && hard.Vote == 0 {
		c.fail("held back: member %d grants its vote in term %d, its disk has none", m.id, v.Term)
	}
	if a, ok := message.(*AppendResponse); ok && a.Match > max(m.disk.last(), Index(len(m.disk.state))) {
		c.fail("held back: member %d acknowledges %d, its disk's log ends at %d, its state at %d", m.id, a.Match, m.disk.last(), len(m.disk.state))
	}
}

func (c *chaos) checkRead(m *member, read ReadResult) {
	floor, ok := c.registered[read.ID]
	if !ok {
		c.fail("member %d answers read %d twice", m.id, read.ID)
	}
	delete(c.registered, read.ID)
	if read.Err == nil && read.Index < floor {
		c.fail("reads: member %d would serve read %d at index %d, %d was committed when it was registered", m.id, read.ID, read.Index, floor)
	}
	if read.Err != nil && !errors.Is(read.Err, ErrNoLeader) && !errors.Is(read.Err, ErrOverloaded) {
		c.fail("read %d: %v", read.ID, read.Err)
	}
}

// noteCommit remembers what is committed for the first time, and that it is on a majority of the disks.
func (c *chaos) noteCommit(m *member) {
	for index := Index(len(c.committed)) + 1; index <= m.raft.commit; index++ {
		term, _ := m.raft.log.term(index)
		var entry Entry
		holders := map[MemberID]bool{}
		for _, other := range c.members {
			if e := other.disk.entry(index); e != nil && e.Term() == term {
				entry = e
				holders[other.id] = true
			}
		}
		if configuration := m.raft.Membership(); !isQuorum(&configuration.Configuration, holders) {
			c.fail("durability: member %d commits %d/t%d, which is on the disks of %v, in configuration %d: %s", m.id, index, term, holders,
				configuration.Index, describeConfiguration(&configuration.Configuration))
		}
		c.committed = append(c.committed, entry)
	}
}

func (c *chaos) check() {
	highest := Term(0)
	var up []*Raft
	for i, m := range c.members {
		hard := m.disk.hard
		if best := c.voted[i]; hard.Term < best.Term || hard.Term == best.Term && best.Vote != 0 && hard.Vote != best.Vote {
			c.fail("member %d forgets: %+v after %+v", m.id, hard, best)
		}
		c.voted[i] = hard
		if m.raft == nil {
			continue
		}
		up = append(up, m.raft)
		c.noteCommit(m)
		if err := m.raft.CheckInvariants(); err != nil {
			c.fail("%v", err)
		}
		if err := m.raft.CheckEntries(); err != nil {
			c.fail("%v", err)
		}
		highest = max(highest, m.raft.hard.Term)
	}
	if err := CheckElectionSafety(up); err != nil {
		c.fail("%v", err)
	}
	for i, a := range up {
		c.checkLeader(a, highest)
		for _, b := range up[:i] {
			if err := CheckLogMatching(a, b); err != nil {
				c.fail("%v", err)
			}
		}
	}
}

func (c *chaos) checkLeader(r *Raft, highest Term) {
	if r.role != Leader {
		delete(c.lastOf, r)
		return
	}
	id := r.config.Self
	if other, ok := c.leaders[r.hard.Term]; ok && other != id {
		c.fail("election safety: %d and %d have led in term %d", other, id, r.hard.Term)
	}
	c.leaders[r.hard.Term] = id
	if r.log.last < c.lastOf[r] {
		c.fail("leader append-only: the log of %d shrinks from %d to %d", id, c.lastOf[r], r.log.last)
	}
	c.lastOf[r] = r.log.last
	if r.hard.Term < highest {
		return
	}
	for _, e := range c.committed {
		if e.Index() >= r.log.before.Index && !r.log.holds(e.Position()) {
			c.fail("leader completeness: %d leads in term %d without %v", id, r.hard.Term, e.Position())
		}
	}
}

// converge heals everything, and demands what must then come: one leader, all logs equal, no read unanswered.
func (c *chaos) converge() {
	c.heal()
	for _, m := range c.members {
		if m.raft == nil {
			c.restart(m)
		}
	}
	for _, m := range c.members {
		for _, other := range c.members {
			m.raft.PeerConnected(c.now, other.id)
		}
	}
	if !c.await(func() bool { c.joinAll(); return c.leader() != nil }) {
		c.fail("liveness: no leader")
	}
	var last Index
	var seats *Configuration
	c.await(func() bool {
		leader := c.leader()
		if leader == nil || !c.settled(leader) {
			return false
		}
		seats = &leader.raft.members.current().Configuration
		p, err := leader.raft.Propose(c.now, commandEntries("last"))
		last = p.First
		return err == nil && c.await(func() bool {
			for _, m := range c.members {
				if Index(len(m.applied)) < last && seats.Seat(m.id) != nil {
					return false
				}
			}
			return true
		})
	})
	for _, m := range c.members {
		if last == 0 || Index(len(m.applied)) < last && seats.Seat(m.id) != nil {
			c.fail("liveness: member %d has applied %d of %d: %+v", m.id, len(m.applied), last, m.raft.Status())
		}
		if since, ok := m.raft.reads.oldestRead(); ok && m.raft.now > since.Add(2*testElection) {
			c.fail("liveness: reads since %d are not answered at %d", since, m.raft.now)
		}
		for _, e := range m.applied {
			if err := e.Check(); err != nil {
				c.fail("an entry was changed: %v", err)
			}
		}
	}
}

func (c *chaos) leader() *member {
	for _, m := range c.members {
		if m.raft.role == Leader && m.raft.ownTermCommitted() {
			return m
		}
	}
	return nil
}

// await lets everything run well, for at most 40 election timeouts, until done.
func (c *chaos) await(done func() bool) bool {
	for end := c.now.Add(40 * testElection); c.now < end; c.now = c.now.Add(time.Millisecond) {
		for busy := true; busy; {
			busy = c.quiet()
			c.check()
		}
		if done() {
			return true
		}
		for _, m := range c.members {
			if m.raft.Deadline() <= c.now {
				m.raft.Tick(c.now)
			}
		}
	}
	return false
}

// quiet does all that is to be done once, and reports whether there was anything.
func (c *chaos) quiet() bool {
	busy := len(c.network) > 0
	for n := len(c.network); n > 0; n-- {
		c.deliver(0)
	}
	for _, m := range c.members {
		busy = busy || m.raft.HasOutput() || len(m.pending) > 0 || len(m.fetches) > 0
		c.output(m)
		c.persist(m, len(m.pending))
		c.serve(m)
		for len(m.needs) > 0 {
			c.meetNeed(m)
		}
		for len(m.spooled) > 0 {
			c.actState(actRestore, m)
		}
		for len(m.arrived) > 0 {
			c.actState(actInstall, m)
		}
		if n := min(c.handed[m.raft], Index(len(m.applied))); n > 0 {
			m.raft.Applied(c.now, n)
		}
	}
	for _, s := range append([]*snapshot(nil), c.bulk...) {
		c.moveSnapshot(s)
	}
	return busy
}

// restart gives a member a new life from what its disk holds.
func (c *chaos) restart(m *member) {
	c.start(m)
	c.handed[m.raft] = Index(len(m.applied))
}

// actState is what happens around the state machine and its snapshots.
func (c *chaos) actState(action int, m *member) {
	switch durable := len(m.disk.state); {
	case action == actFlush && len(m.applied) > durable:
		durable += c.mostly(len(m.applied) - durable)
		m.disk.state = append([]Entry(nil), m.applied[:durable]...)
	case action == actCompact && durable > 0:
		before := m.raft.log.before
		at := m.raft.Compact(Index(c.mostly(durable)))
		if at != before {
			c.compactions++
		}
		if c.rng.IntN(2) == 0 { // else a crash brings the entries back
			m.disk.discard(at)
		}
	case action == actSnapshot && len(m.needs) > 0:
		c.meetNeed(m)
	case action == actSnapshot && m.raft.role == Leader && len(m.applied) > 0: // nobody asked for it
		if to := c.any(); to != m {
			s := c.sendSnapshot(m, SnapshotNeed{To: to.id, FromLife: 1, ToLife: 1, Term: m.raft.hard.Term})
			if c.rng.IntN(2) == 0 { // it is faster than the messages
				c.moveSnapshot(s)
				c.actState(actRestore, to)
				c.actState(actInstall, to)
			}
		}
	case action == actRestore && len(m.spooled) > 0:
		s := m.spooled[0]
		m.spooled = m.spooled[1:]
		c.world.restore(m, s)
	case action == actInstall && len(m.arrived) > 0:
		i := c.rng.IntN(len(m.arrived))
		s := m.arrived[i]
		m.arrived = append(m.arrived[:i:i], m.arrived[i+1:]...)
		c.installSnapshot(m, s)
	}
}

// meetNeed sends the snapshot that was asked for first; mostly not where one that will do is on its way.
func (c *chaos) meetNeed(m *member) {
	need := m.needs[0]
	m.needs = m.needs[1:]
	for _, s := range c.bulk {
		if s.sender == m.raft && s.to == need.To && s.At.Index >= need.AtLeast && c.rng.IntN(4) > 0 {
			return
		}
	}
	c.sendSnapshot(m, need)
}

// moveSnapshot lets a snapshot arrive, or get lost with one of its ends or for no reason.
func (c *chaos) moveSnapshot(s *snapshot) {
	to := c.member(s.to)
	for _, held := range append(append([]*snapshot(nil), to.spooled...), to.arrived...) {
		if held == s {
			return // it has arrived
		}
	}
	lost := c.cut[[2]MemberID{s.From, s.to}] || c.weights[actLose] > 0 && c.rng.IntN(8) == 0
	if lost || !c.spool(s) && !c.spoolUnwanted(s) {
		c.endTransfer(s, true)
	}
}

// spoolUnwanted lets a snapshot arrive at a member that has committed all of it, as if that had happened since.
func (c *chaos) spoolUnwanted(s *snapshot) bool {
	to := c.member(s.to)
	if to.raft == nil || to.raft != s.receiver || to.raft.commit < s.At.Index || c.rng.IntN(3) > 0 {
		return false
	}
	to.spooled = append(to.spooled, s)
	return true
}

// mostly returns n, or any number from 1 on to n.
func (c *chaos) mostly(n int) int {
	if c.rng.IntN(2) == 0 {
		return n
	}
	return 1 + c.rng.IntN(n)
}

func (c *chaos) installSnapshot(m *member, s *snapshot) {
	commit, last := m.raft.commit, m.raft.log.end()
	c.install(m, s)
	c.handed[m.raft] = max(c.handed[m.raft], s.At.Index)
	switch {
	case commit >= s.At.Index:
		c.overtaken++
		if m.raft.log.end() != last || m.raft.commit != commit {
			c.fail("member %d, with %d committed, takes a snapshot at %d: its log ends at %v, then at %v", m.id, commit, s.At.Index, last, m.raft.log.end())
		}
	case m.raft.log.before == s.At:
		c.restarts++
	default:
		c.kept++
	}
	if m.raft.commit < s.At.Index || m.raft.apply.applied < s.At.Index || !m.raft.log.holds(s.At) && m.raft.log.before.Index <= s.At.Index {
		c.fail("member %d, with a snapshot at %v, has commit %d, applied %d", m.id, s.At, m.raft.commit, m.raft.apply.applied)
	}
}
