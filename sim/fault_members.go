package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// memberFaults are what operators do: members come and go, whatever else happens. It is done by the code that serves, at any
// member, for the configuration that this one has applied; what was overtaken is refused.
var memberFaults = []fault{
	{"members", "members added", addMember},
	{"members", "learners added", addLearner},
	{"members", "members removed", removeMember},
	{"members", "members replaced", replaceMember},
	{"members", "learners promoted", promoteLearner},
	{"members", "members demoted", demoteMember},
	{"members", "several changes at once", severalChanges},
	{"members", "addresses changed", changeAddress},
}

// mostMembers is how many a run has at most at a time, mostHosts how many it ever has.
const mostMembers, mostHosts = 7, 24

// operator is one change of members, from the draw to its answer.
type operator struct {
	run    *run
	random *rand.Rand
	asked  *Host
	known  raft.ConfigurationAt
	taken  []raft.MemberID // of whom this change speaks already
	hosts  []*Host         // that are added by it
}

// operator finds a member to ask; nil where none is up.
func (r *run) operator(random *rand.Rand) *operator {
	for _, h := range r.shuffled(random) {
		if h.Up() && !h.life.paused && h.Group.Recovered() {
			return &operator{run: r, random: random, asked: h, known: h.Group.Settled()}
		}
	}
	return nil
}

// seat draws a member for which the condition holds, half of the time the leader where it does for that one; 0 for none.
func (o *operator) seat(when func(*raft.Seat) bool) raft.MemberID {
	var ids []raft.MemberID
	for i := range o.known.Seats {
		if s := &o.known.Seats[i]; when(s) && !slices.Contains(o.taken, s.ID) {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	id := ids[o.random.IntN(len(ids))]
	if l := o.run.cluster.Leader(); l != nil && slices.Contains(ids, l.ID) && o.random.IntN(2) == 0 {
		id = l.ID
	}
	o.taken = append(o.taken, id)
	return id
}

func anySeat(*raft.Seat) bool       { return true }
func voterSeat(s *raft.Seat) bool   { return s.Role == raft.Voter }
func learnerSeat(s *raft.Seat) bool { return s.Role == raft.Learner }
func (o *operator) mayShrink() bool { return o.known.Voters() > 1 }

// host makes a machine for a new member, sometimes at the address of one that is gone.
func (o *operator) host() *Host {
	r := o.run
	if len(o.known.Seats)+len(o.hosts) >= mostMembers || len(r.cluster.ever) >= mostHosts {
		return nil
	}
	address := ""
	if o.random.IntN(2) == 0 {
		address = o.freeAddress()
	}
	h := must(r.cluster.Add(address))
	o.hosts = append(o.hosts, h)
	return h
}

// freeAddress returns that of a machine that is gone, "" where there is none.
func (o *operator) freeAddress() string {
	for _, gone := range o.run.cluster.ever {
		free := gone.gone
		for _, h := range o.run.cluster.Hosts {
			free = free && h.Address != gone.Address
		}
		for i := range o.known.Seats {
			free = free && o.known.Seats[i].Address != gone.Address
		}
		if free {
			return gone.Address
		}
	}
	return ""
}

// change asks for the changes.
func (o *operator) change(changes ...balsa.Change) bool {
	r := o.run
	options := balsa.ChangeOptions{From: o.known.Index, Lossy: o.random.IntN(16) == 0, DryRun: o.random.IntN(16) == 0 && len(o.hosts) == 0}
	if o.random.IntN(32) == 0 && options.From > 0 {
		options.From-- // of an operator who has looked long ago (E37)
	}
	for _, h := range o.hosts { // it may be started before it is known to anybody
		r.later(between(o.random, 0, 4*r.plan.ElectionTimeout), func() { r.start(h) })
	}
	life := o.asked.life
	o.asked.Group.ChangeMembersAsync(options, changes, r.patience(), func(c raft.ConfigurationAt, err error) {
		if !life.over {
			o.answered(options, changes, c, err)
		}
	})
	return true
}

// answered judges the answer.
func (o *operator) answered(options balsa.ChangeOptions, changes []balsa.Change, c raft.ConfigurationAt, err error) {
	r := o.run
	switch {
	case errors.Is(err, balsa.ErrOutcomeUnknown):
		r.counters["changes of unknown outcome"]++
		return
	case err != nil:
		r.counters["changes refused: "+reasonOf(err)]++
		for _, h := range o.hosts {
			r.members.refused[h.ID] = true
			if h.first == nil {
				r.cluster.Retire(h)
			}
		}
		return
	case options.DryRun:
		r.counters["dry runs"]++
		return
	}
	r.counters["changes made"]++
	if options.From != o.known.Index {
		err = fmt.Errorf("a change for the configuration at index %d was made, where %d was in force (E37)", options.From, o.known.Index)
	} else {
		err = r.members.answered(&c)
	}
	r.fail(r.members.name(), err)
	for _, change := range changes {
		h := r.cluster.host(change.Member)
		if change.Kind == raft.Remove && !h.gone && c.Seat(change.Member) == nil && r.world.Chance(3) {
			r.cluster.Retire(h) // before it was told
		}
	}
}

var changeReasons = []error{
	raft.ErrMemberExists, raft.ErrMemberUnknown, raft.ErrNotLearner, raft.ErrLearnerNotReady, raft.ErrTooManyMembers, raft.ErrBadChange,
	raft.ErrMajorityLost, raft.ErrConfigurationChanged, raft.ErrChangeUnderWay, raft.ErrTransferring,
}

func reasonOf(err error) string {
	for _, known := range changeReasons {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "no leader"
}

func addMember(r *run, random *rand.Rand) bool { return r.add(random, raft.AddMember) }

func addLearner(r *run, random *rand.Rand) bool { return r.add(random, raft.AddLearner) }

func (r *run) add(random *rand.Rand, kind raft.ChangeKind) bool {
	o := r.operator(random)
	if o == nil {
		return false
	}
	if gone := r.cluster.ever[random.IntN(len(r.cluster.ever))]; gone.gone && r.members.seated[gone.ID] && random.IntN(2) == 0 { // with the id of one that is no more
		return o.change(balsa.Change{Kind: kind, Member: gone.ID, Address: gone.Address})
	}
	h := o.host()
	return h != nil && o.change(balsa.Change{Kind: kind, Member: h.ID, Address: h.Address})
}

func removeMember(r *run, random *rand.Rand) bool {
	o := r.operator(random)
	if o == nil || !o.mayShrink() {
		return false
	}
	id := o.seat(anySeat)
	return id != 0 && o.change(balsa.Change{Kind: raft.Remove, Member: id})
}

// replaceMember puts a new member in another's place, which may be dead.
func replaceMember(r *run, random *rand.Rand) bool {
	o := r.operator(random)
	if o == nil {
		return false
	}
	id := o.seat(anySeat)
	if id == 0 {
		return false
	}
	h := o.host()
	if h == nil {
		return false
	}
	if old := r.cluster.host(id); random.IntN(3) == 0 && old != o.asked && old.Up() {
		old.Crash()
		r.startLater(old, random)
	}
	return o.change(balsa.Change{Kind: raft.AddMember, Member: h.ID, Address: h.Address, Replaces: id})
}

func promoteLearner(r *run, random *rand.Rand) bool { return r.turn(random, raft.Promote, learnerSeat) }

func demoteMember(r *run, random *rand.Rand) bool { return r.turn(random, raft.Demote, voterSeat) }

// turn makes a learner a voter, or the other way round.
func (r *run) turn(random *rand.Rand, kind raft.ChangeKind, of func(*raft.Seat) bool) bool {
	o := r.operator(random)
	if o == nil {
		return false
	}
	id := o.seat(of)
	return id != 0 && o.change(balsa.Change{Kind: kind, Member: id})
}

// severalChanges asks for some changes in one step.
func severalChanges(r *run, random *rand.Rand) bool {
	o := r.operator(random)
	if o == nil {
		return false
	}
	var changes []balsa.Change
	for range 2 + random.IntN(2) {
		change := balsa.Change{Kind: pick(random, raft.AddMember, raft.AddLearner, raft.Remove, raft.Remove, raft.Promote, raft.Demote)}
		switch change.Kind {
		case raft.AddMember, raft.AddLearner:
			if h := o.host(); h != nil {
				change.Member, change.Address = h.ID, h.Address
			}
		case raft.Remove:
			change.Member = o.seat(anySeat)
		case raft.Promote:
			change.Member = o.seat(learnerSeat)
		case raft.Demote:
			change.Member = o.seat(voterSeat)
		}
		if change.Member != 0 {
			changes = append(changes, change)
		}
	}
	return len(changes) > 0 && o.change(changes...)
}

func changeAddress(r *run, random *rand.Rand) bool {
	o := r.operator(random)
	if o == nil {
		return false
	}
	id := o.seat(func(s *raft.Seat) bool { return r.cluster.host(s.ID).first != nil }) // others are known by their addresses
	return id != 0 && o.change(balsa.Change{Kind: raft.SetAddress, Member: id, Address: fmt.Sprintf("host%d-%x", id, random.Uint32())})
}

// toldRemoved is what a process does that learns that it is no member any more: it ends, and nobody starts it again.
func (r *run) toldRemoved(h *Host) {
	r.counters["members that learned of their removal"]++
	if !r.members.committed.WasRemoved(h.ID) {
		r.fail(r.members.name(), fmt.Errorf("member %d was told that it was removed, and was not", h.ID))
		return
	}
	life := h.life
	r.world.After(r.world.Between(0, r.plan.ElectionTimeout/2), func() {
		if h.life == life && !life.over {
			r.cluster.Retire(h)
		}
	})
}

// join has a new host ask, as a process does that is to join a running cluster, who it is: any member, by its address. It tries until
// somebody knows.
func (r *run) join(h *Host) {
	if h.joining {
		return
	}
	h.joining = true
	r.inquire(h)
}

func (r *run) inquire(h *Host) {
	if h.gone || r.world.failed != nil {
		return
	}
	if first := r.asksWho(h, r.cluster.Hosts[r.world.IntN(len(r.cluster.Hosts))]); first != nil {
		h.first = first
		r.counters["members joined"]++
		r.start(h)
		return
	}
	r.world.After(r.world.Between(r.plan.ElectionTimeout/20, r.plan.ElectionTimeout/2), func() { r.inquire(h) })
}

// asksWho asks one member, which answers as cmd/balsa does: with the configuration that it has applied, where the host has a seat there.
func (r *run) asksWho(h, other *Host) *raft.Configuration {
	if !other.Up() || other.life.paused || !other.Group.Recovered() || r.network.link(h.ID, other.ID).cut || r.network.link(other.ID, h.ID).cut {
		return nil
	}
	settled := other.Group.Settled()
	for i := range settled.Seats {
		if seat := &settled.Seats[i]; seat.Address == h.Address && seat.ID == h.ID {
			return &settled.Configuration
		}
	}
	return nil
}

// settleMembers waits until no change is under way any more: no joint configuration, no learner that is to be a voter, and no host that is not
// a member. What was asked for and never happened is given up, and who was removed must have learned of it, unless nobody whom it knows is there.
func (r *run) settleMembers() {
	r.within(settleMembersWithin, "the membership", "has settled", r.seldom(func() bool {
		leader := r.cluster.Leader()
		if leader == nil {
			return false
		}
		m := leader.life.protocol.Membership()
		if m.Joint || !m.Committed {
			return false
		}
		for i := range m.Seats {
			if m.Seats[i].Promote {
				return false
			}
		}
		settled := true
		for _, h := range slices.Clone(r.cluster.Hosts) {
			switch {
			case m.Seat(h.ID) != nil:
				settled = settled && h.Up() && h.Group.Membership().Index == m.Index
			case h.first == nil:
				r.cluster.Retire(h) // it was never added
			case r.network.lost(h.ID):
				r.counters["removed members whose acquaintances are all gone"]++
				r.cluster.Retire(h)
			default:
				settled = false
			}
		}
		return settled
	}))
}

// settleMembersWithin is how many election timeouts members have to come and go when all is healed.
const settleMembersWithin = 200

// healable draws a set of hosts without which nothing can be expected: majorities of each configuration that may be in force, and those who are
// about to become voters.
func (r *run) healable(random *rand.Rand) []*Host {
	hosts := r.shuffled(random)
	n := 0
	for n < len(hosts) && !r.possible(hosts[:n]) {
		n++
	}
	n += random.IntN(len(hosts) - n + 1)
	healed := hosts[:n]
	for _, h := range hosts[n:] {
		if r.learns(h) {
			healed = append(slices.Clone(healed), h)
		}
	}
	return healed
}

// learns reports whether a host is a learner in a configuration that may be in force.
func (r *run) learns(h *Host) bool {
	return slices.ContainsFunc(r.inForce(), func(c *raft.ConfigurationAt) bool {
		seat := c.Seat(h.ID)
		return seat != nil && seat.Role == raft.Learner
	})
}

// possible reports whether these hosts are majorities of all configurations that may be in force.
func (r *run) possible(hosts []*Host) bool {
	for _, c := range r.inForce() {
		if !r.quorum(c, func(h *Host) bool { return slices.Contains(hosts, h) }).holds() {
			return false
		}
	}
	return true
}

// inForce returns the configurations that may be: the last that is committed, and what members have behind that one.
func (r *run) inForce() []*raft.ConfigurationAt {
	x := r.members
	all := []*raft.ConfigurationAt{&x.committed}
	for _, h := range r.cluster.Hosts {
		if v := x.views[h.ID]; v != nil && v.c.Index > x.committed.Index {
			all = append(all, &v.c)
		}
	}
	return all
}

// taking returns those of the hosts that have a seat as the leader knows it, or all where nobody leads.
func (r *run) taking(hosts []*Host) []*Host {
	leader := r.cluster.Leader()
	if leader == nil {
		return hosts
	}
	m := leader.life.protocol.Membership()
	return slices.DeleteFunc(slices.Clone(hosts), func(h *Host) bool { return m.Seat(h.ID) == nil })
}
