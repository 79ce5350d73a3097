package raft

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A world of members on virtual time, with a network and disks that do what the test says. It is what the
// golden scripts, the tests of edge cases and the random cluster are written on.

const (
	testElection  = 100 * time.Millisecond
	testHeartbeat = 10 * time.Millisecond
)

type world struct {
	t       testing.TB
	now     Instant
	members []*member
	network []parcel // sent and not delivered, in order of sending
	bulk    []*snapshot
	cut     map[[2]MemberID]bool
	limits  Limits
	trace   *strings.Builder // what happens, for golden scripts; nil for no trace
}

// parcel is a message under way, with what its entries were when it was sent: nobody may change them.
type parcel struct {
	Envelope
	sealed []Position
}

// member is one replica with its disk and its state machine.
type member struct {
	id      MemberID
	raft    *Raft // nil while it is down
	config  Config
	slow    bool // writes wait for persist
	disk    diskImage
	pending []*Write // on their way to the disk
	applied []Entry  // the state machine; in a crash it goes back to what the disk has of it
	reads   []ReadResult
	fetches []Fetch
	needs   []SnapshotNeed
	spooled []*snapshot // received, not restored
	arrived []*snapshot // restored, not installed
	seed    uint64      // feeds Config.Random
}

// snapshot is a state machine on its way to another member, on a stream of its own.
type snapshot struct {
	SnapshotOffer
	to       MemberID
	state    []Entry
	sender   *Raft // the lives of both ends when it began
	receiver *Raft
}

// diskImage is what a crash leaves.
type diskImage struct {
	hard    HardState
	commit  Index
	before  Position // where the log begins
	entries []Entry  // of the log, from there on
	state   []Entry  // what is durable of the state machine: all entries from index 1 on that it has applied
}

func (d *diskImage) last() Index { return d.before.Index + Index(len(d.entries)) }

// entry returns an entry of the log, nil where the log does not hold it.
func (d *diskImage) entry(index Index) Entry {
	if index <= d.before.Index || index > d.last() {
		return nil
	}
	return d.entries[index-d.before.Index-1]
}

// discard cuts the log behind a position, where it holds that.
func (d *diskImage) discard(upTo Position) {
	if e := d.entry(upTo.Index); e != nil && e.Position() == upTo {
		d.entries = append([]Entry(nil), d.entries[upTo.Index-d.before.Index:]...)
		d.before = upTo
	}
}

func (d *diskImage) write(w *Write) {
	d.hard, d.commit = w.HardState, max(d.commit, w.Commit)
	if w.Restart != (Position{}) {
		d.before, d.entries = w.Restart, nil
	}
	if len(w.Entries) > 0 {
		keep := w.Entries[0].Index() - d.before.Index - 1
		d.entries = append(d.entries[:keep:keep], w.Entries...)
	}
}

func (d *diskImage) restored() Restored {
	s := Restored{HardState: d.hard, Commit: d.commit, Before: d.before, Last: d.last()}
	if n := len(d.state); n > 0 {
		s.Applied = d.state[n-1].Position()
	}
	for _, e := range d.entries {
		s.Runs = termRuns(s.Runs).append(e.Index(), e.Term())
		if e.Kind() == EntryConfiguration {
			s.Configurations = append(s.Configurations, e)
		}
	}
	s.Configuration = configurationOf(d.state)
	return s
}

// configurationOf returns the last configuration that was applied.
func configurationOf(applied []Entry) *ConfigurationAt {
	for i := len(applied) - 1; i >= 0; i-- {
		if e := applied[i]; e.Kind() == EntryConfiguration {
			c, err := DecodeConfiguration(e.Payload())
			if err != nil {
				panic(err)
			}
			return &ConfigurationAt{e.Index(), c}
		}
	}
	return nil
}

// join starts a member that was told the last configuration that another one knows to be committed.
func (w *world) join(id MemberID, of *member) *member {
	for len(w.members) < int(id) {
		w.members = append(w.members, &member{id: MemberID(len(w.members) + 1)})
	}
	m := w.member(id)
	c := of.raft.members.history[0].Configuration
	*m = member{id: id, seed: uint64(id) * 977, config: Config{
		Group: 1, Self: id, Configuration: &c, ElectionTimeout: testElection, HeartbeatInterval: testHeartbeat, Limits: w.limits,
	}}
	w.start(m)
	return m
}

func newWorld(t testing.TB, count int, limits Limits) *world {
	w := &world{t: t, cut: map[[2]MemberID]bool{}, limits: limits}
	var members []Member
	for id := 1; id <= count; id++ {
		members = append(members, Member{ID: MemberID(id), Life: 1})
	}
	for _, m := range members {
		w.members = append(w.members, &member{id: m.ID, seed: uint64(m.ID) * 977, config: Config{
			Group: 1, Self: m.ID, Members: members,
			ElectionTimeout: testElection, HeartbeatInterval: testHeartbeat, Limits: limits,
		}})
	}
	for _, m := range w.members {
		w.start(m)
	}
	return w
}

func (w *world) member(id MemberID) *member { return w.members[id-1] }

// start gives a member a (new) life from what its disk holds.
func (w *world) start(m *member) {
	m.config.Random = func() uint64 {
		m.seed = m.seed*6364136223846793005 + 1442695040888963407
		return m.seed >> 20
	}
	r, err := New(m.config, m.disk.restored(), w.now)
	if err != nil {
		w.t.Fatalf("start of %d: %v", m.id, err)
	}
	m.raft = r
	m.applied = append([]Entry(nil), m.disk.state...)
}

// crash ends a life. Of the writes under way the first survive make it to the disk.
func (w *world) crash(m *member, survive int) {
	for _, write := range m.pending[:survive] {
		m.disk.write(write)
	}
	m.raft, m.pending, m.applied, m.reads, m.fetches = nil, nil, nil, nil, nil
	m.needs, m.spooled, m.arrived = nil, nil, nil
}

func (w *world) say(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, format+"\n", args...)
	}
}

// output carries out what a member wants, up to what the network and the disk do with it.
func (w *world) output(m *member) {
	if m.raft == nil || !m.raft.HasOutput() {
		return
	}
	o := m.raft.Output()
	for _, e := range o.Messages {
		w.send(e)
	}
	if o.Write != nil {
		m.pending = append(m.pending, o.Write)
		w.say("%d writes %s", m.id, describeWrite(o.Write))
	}
	if n := len(o.Committed); n > 0 {
		w.say("%d applies %s", m.id, describeEntries(o.Committed))
		m.applied = append(m.applied, o.Committed...)
		m.raft.Applied(w.now, o.Committed[n-1].Index())
	}
	m.fetches = append(m.fetches, o.Fetches...)
	for _, need := range o.Snapshots {
		w.say("%d needs a snapshot for %d, at %d or above", m.id, need.To, need.AtLeast)
		m.needs = append(m.needs, need)
	}
	for _, read := range o.Reads {
		if read.Err != nil {
			w.say("%d: read %d fails: %v", m.id, read.ID, read.Err)
		} else {
			w.say("%d: read %d may be served at index %d", m.id, read.ID, read.Index)
		}
		m.reads = append(m.reads, read)
	}
	if l := o.Leadership; l != nil {
		w.say("%d is %v of term %d, leader %d", m.id, l.Role, l.Term, l.Leader)
	}
	if s := o.Membership; s != nil {
		w.say("%d has%s configuration %d: %s", m.id, yesNo(s.Committed, " committed", ""), s.Index, describeConfiguration(&s.Configuration))
	}
}

func (w *world) send(e Envelope) {
	p := parcel{Envelope: e}
	if a, ok := e.Message.(*AppendEntries); ok {
		for _, entry := range a.Entries {
			p.sealed = append(p.sealed, entry.Position())
		}
	}
	w.say("%d -> %d %s", e.From, e.To, describe(e.Message))
	w.network = append(w.network, p)
}

// deliver hands the i-th message of the network over, or loses it where the way is cut.
func (w *world) deliver(i int) {
	p := w.network[i]
	w.network = append(w.network[:i:i], w.network[i+1:]...)
	w.hand(p)
}

func (w *world) hand(p parcel) {
	if a, ok := p.Message.(*AppendEntries); ok {
		for i, entry := range a.Entries {
			if entry.Position() != p.sealed[i] {
				w.t.Fatalf("a message changed after it was sent: entry %v was %v", entry.Position(), p.sealed[i])
			}
		}
	}
	if int(p.To) > len(w.members) {
		w.say("%d -> %d nobody is there: %s", p.From, p.To, describe(p.Message))
		return
	}
	to := w.member(p.To)
	if w.cut[[2]MemberID{p.From, p.To}] || to.raft == nil {
		w.say("%d -> %d lost: %s", p.From, p.To, describe(p.Message))
		return
	}
	to.raft.Receive(w.now, p.Envelope)
}

// persist completes the first count writes of a member.
func (w *world) persist(m *member, count int) {
	count = min(count, len(m.pending))
	if count == 0 || m.raft == nil {
		return
	}
	for _, write := range m.pending[:count] {
		m.disk.write(write)
	}
	seq := m.pending[count-1].Seq
	m.pending = append([]*Write(nil), m.pending[count:]...)
	m.raft.Persisted(w.now, seq)
}

// serve answers the first of a member's fetches from its disk.
func (w *world) serve(m *member) {
	if len(m.fetches) == 0 || m.raft == nil {
		return
	}
	f := m.fetches[0]
	m.fetches = append([]Fetch(nil), m.fetches[1:]...)
	var entries []Entry
	bytes := 0
	for i := f.Low; i < f.High && m.disk.entry(i) != nil; i++ {
		e := m.disk.entry(i)
		if bytes += len(e); len(entries) > 0 && bytes > f.MaxBytes {
			break
		}
		entries = append(entries, e)
	}
	w.say("%d reads %s for %d from its log", m.id, describeEntries(entries), f.For)
	m.raft.Fetched(w.now, f, entries)
}

// compact makes the state machine durable up to upTo, and lets the log begin after that, on the disk too.
func (w *world) compact(m *member, upTo Index) {
	if int(upTo) > len(m.disk.state) {
		m.disk.state = append([]Entry(nil), m.applied[:upTo]...)
	}
	at := m.raft.Compact(upTo)
	m.disk.discard(at)
}

// sendSnapshot begins a transfer of a member's state machine as it is.
func (w *world) sendSnapshot(from *member, need SnapshotNeed) *snapshot {
	end := from.applied[len(from.applied)-1].Position()
	if end.Index < need.AtLeast {
		w.t.Fatalf("member %d has applied %d when it asks for a snapshot at %d or above", from.id, end.Index, need.AtLeast)
	}
	s := &snapshot{
		SnapshotOffer: SnapshotOffer{From: from.id, FromLife: need.FromLife, ToLife: need.ToLife, Term: need.Term, At: end},
		to:            need.To, state: append([]Entry(nil), from.applied...),
		sender: from.raft, receiver: w.member(need.To).raft,
	}
	w.bulk = append(w.bulk, s)
	return s
}

// endTransfer forgets a transfer, and tells its sender where it failed.
func (w *world) endTransfer(s *snapshot, failed bool) {
	for i := range w.bulk {
		if w.bulk[i] == s {
			w.bulk = append(w.bulk[:i:i], w.bulk[i+1:]...)
			break
		}
	}
	if from := w.member(s.From); failed && from.raft == s.sender && from.raft != nil {
		from.raft.SnapshotFailed(w.now, s.to)
	}
}

// spool lets a snapshot arrive, if it is wanted.
func (w *world) spool(s *snapshot) bool {
	to := w.member(s.to)
	if to.raft == nil || to.raft != s.receiver || !to.raft.SnapshotOffered(w.now, s.SnapshotOffer) {
		return false
	}
	to.spooled = append(to.spooled, s)
	return true
}

// restore makes a snapshot that has arrived the state machine's state, durably, unless that is newer.
func (w *world) restore(m *member, s *snapshot) {
	if len(s.state) > len(m.applied) {
		m.applied = append([]Entry(nil), s.state...)
		m.disk.state = append([]Entry(nil), s.state...)
	}
	m.arrived = append(m.arrived, s)
}

// install tells the protocol.
func (w *world) install(m *member, s *snapshot) {
	m.raft.Install(w.now, s.At, configurationOf(s.state))
	w.endTransfer(s, false)
}

// settle lets everything happen that needs no time to pass, in a fixed order.
func (w *world) settle() {
	for round := 0; ; round++ {
		if round > 10000 {
			w.t.Fatal("the members do not come to rest")
		}
		busy := false
		for _, m := range w.members {
			for m.raft != nil && m.raft.HasOutput() {
				w.output(m)
				busy = true
			}
			if !m.slow && len(m.pending) > 0 {
				w.persist(m, len(m.pending))
				busy = true
			}
			for m.raft != nil && len(m.fetches) > 0 {
				w.serve(m)
				busy = true
			}
		}
		for n := len(w.network); n > 0; n-- {
			w.deliver(0)
			busy = true
		}
		if !busy {
			return
		}
	}
}

// pass lets time pass, ticking whoever is due, and settles after each tick.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := end
		for _, m := range w.members {
			if m.raft != nil {
				next = min(next, max(m.raft.Deadline(), w.now))
			}
		}
		w.now = next
		for _, m := range w.members {
			if m.raft != nil && m.raft.Deadline() <= w.now {
				m.raft.Tick(w.now)
			}
		}
		w.settle()
		if w.now >= end {
			return
		}
	}
}

// timeout lets a member's election timeout (or whatever it waits for) pass, for this member alone.
func (w *world) timeout(m *member) {
	w.now = max(w.now, m.raft.Deadline())
	m.raft.Tick(w.now)
}

// elect makes a member the leader.
func (w *world) elect(id MemberID) *member {
	w.t.Helper()
	m := w.member(id)
	for range 3 {
		if w.timeout(m); true {
			w.settle()
		}
		if m.raft.role == Leader {
			return m
		}
	}
	w.t.Fatalf("member %d does not become the leader: %+v", id, m.raft.Status())
	return nil
}

// propose gives a member proposals, which it must accept.
func (w *world) propose(m *member, commands ...string) Proposed {
	w.t.Helper()
	p, err := m.raft.Propose(w.now, commandEntries(commands...))
	if err != nil {
		w.t.Fatalf("proposal at %d: %v", m.id, err)
	}
	return p
}

func commandEntries(commands ...string) []Entry {
	var entries []Entry
	for _, c := range commands {
		entries = append(entries, SealedEntry(EntryNormal, []byte(c)))
	}
	return entries
}

// isolate cuts a member off, both ways.
func (w *world) isolate(id MemberID) {
	for _, m := range w.members {
		if m.id != id {
			w.cut[[2]MemberID{id, m.id}], w.cut[[2]MemberID{m.id, id}] = true, true
		}
	}
}

func (w *world) heal() { clear(w.cut) }

// logOf shows a member's log as term/index pairs would read: the commands, or the terms of no-ops.
func logOf(m *member) string {
	var terms []string
	for i := m.raft.log.before.Index + 1; i <= m.raft.log.last; i++ {
		term, _ := m.raft.log.term(i)
		terms = append(terms, fmt.Sprint(term))
	}
	return strings.Join(terms, " ")
}

func describe(m Message) string {
	switch m := m.(type) {
	case *PreVoteRequest:
		return fmt.Sprintf("PreVoteRequest: term %d, would you vote for me in term %d, my log ends at %s", m.Term, m.NextTerm, at(m.Last))
	case *PreVoteResponse:
		return fmt.Sprintf("PreVoteResponse: term %d, %s in term %d", m.Term, yesNo(m.Granted, "would", "would not"), m.NextTerm)
	case *RequestVote:
		return fmt.Sprintf("RequestVote: term %d, my log ends at %s%s", m.Term, at(m.Last), yesNo(m.Transfer, ", leader wants it", ""))
	case *VoteResponse:
		return fmt.Sprintf("VoteResponse: term %d, %s", m.Term, yesNo(m.Granted, "granted", "refused"))
	case *AppendEntries:
		return fmt.Sprintf("AppendEntries: term %d, after %s %s, commit %d, round %d", m.Term, at(m.Prev), describeEntries(m.Entries), m.Commit, m.Round)
	case *AppendResponse:
		if m.Rejected {
			return fmt.Sprintf("AppendResponse: term %d, nothing at %d, look at %s, match %d, round %d", m.Term, m.Prev, at(m.Conflict), m.Match, m.Round)
		}
		return fmt.Sprintf("AppendResponse: term %d, match %d, round %d", m.Term, m.Match, m.Round)
	case *TimeoutNow:
		return fmt.Sprintf("TimeoutNow: term %d", m.Term)
	case *ReadIndexRequest:
		return fmt.Sprintf("ReadIndexRequest: term %d", m.Term)
	case *ReadIndexResponse:
		return fmt.Sprintf("ReadIndexResponse: term %d, index %d", m.Term, m.Index)
	}
	return fmt.Sprintf("%T", m)
}

func at(p Position) string { return fmt.Sprintf("%d/t%d", p.Index, p.Term) }

func yesNo(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func describeEntries(entries []Entry) string {
	if len(entries) == 0 {
		return "nothing"
	}
	var parts []string
	for _, e := range entries {
		what := string(e.Payload())
		switch e.Kind() {
		case EntryNoop:
			what = "noop"
		case EntryConfiguration:
			c, _ := DecodeConfiguration(e.Payload())
			what = describeConfiguration(&c)
		}
		parts = append(parts, fmt.Sprintf("%s %s", at(e.Position()), what))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// describeConfiguration lists the voters; in a joint configuration first those of the one that is being left; then the learners.
func describeConfiguration(c *Configuration) string {
	var former, voters, learners []string
	for _, s := range c.Seats {
		if s.Former {
			former = append(former, fmt.Sprint(s.ID))
		}
		if s.Role == Voter {
			voters = append(voters, fmt.Sprint(s.ID))
		}
		if s.Role == Learner {
			learners = append(learners, fmt.Sprint(s.ID)+yesNo(s.Promote, " to be promoted", "")+yesNo(s.Replaces != 0, fmt.Sprintf(" for %d", s.Replaces), ""))
		}
	}
	text := "voters " + strings.Join(voters, " ")
	if c.Joint {
		text = "joint, voters " + strings.Join(former, " ") + " and " + strings.Join(voters, " ")
	}
	if len(learners) > 0 {
		text += "; learners " + strings.Join(learners, ", ")
	}
	return text
}

func describeWrite(w *Write) string {
	anew := ""
	if w.Restart != (Position{}) {
		anew = fmt.Sprintf("the log begins anew after %s, ", at(w.Restart))
	}
	return fmt.Sprintf("#%d: term %d, vote %d, %s%s", w.Seq, w.HardState.Term, w.HardState.Vote, anew, describeEntries(w.Entries))
}

// entryAt is an entry as a leader of its term would have placed it.
func entryAt(index Index, term Term) Entry {
	e := SealedEntry(EntryNormal, fmt.Appendf(nil, "%d.%d", index, term))
	e.place(1, index, term)
	return e
}

// receive hands a message to a member as if another one had sent it, and returns what the member then wants sent.
func (w *world) receive(to *member, from MemberID, message Message) []Message {
	to.raft.Receive(w.now, Envelope{Group: 1, From: from, To: to.id, FromLife: 1, ToLife: 1, Message: message})
	return w.said(to)
}

// said lets a member give its output, and returns the messages in it, which go nowhere.
func (w *world) said(m *member) []Message {
	before := len(w.network)
	for m.raft.HasOutput() {
		w.output(m)
	}
	var messages []Message
	for _, p := range w.network[before:] {
		messages = append(messages, p.Message)
	}
	w.network = w.network[:before:before]
	return messages
}

// only returns those of the messages that are of type M.
func only[M Message](messages []Message) (found []M) {
	for _, m := range messages {
		if m, ok := m.(M); ok {
			found = append(found, m)
		}
	}
	return found
}
