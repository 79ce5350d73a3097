package balsa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// Membership is who takes part in a group, as one member knows it: the last configuration in its log.
type Membership = raft.Membership

// Change is one step from a configuration to the next; see raft.AddMember and its siblings.
type Change = raft.Change

// ChangeOptions say under which conditions members are changed.
type ChangeOptions struct {
	// From is the index of the configuration that the change was made for (Membership.Index). Where another one is in force
	// by then the error is raft.ErrConfigurationChanged, and nothing happens.
	From Index
	// Lossy makes the change also where it leaves no majority of voters that are heard from, or promotes a learner that does not keep up:
	// the group may stand still afterwards until enough members are there.
	Lossy bool
	// DryRun changes nothing: the result, or the error, is what would come of it.
	DryRun bool
}

// Membership returns who takes part in the group, as this member knows it. It costs nothing. Do not change what it refers to.
func (g *Group) Membership() Membership { return *g.membership.Load() }

// Settled returns the last configuration that is committed and that this member's state machine has applied; all of
// its members know it to hold. It costs nothing.
func (g *Group) Settled() raft.ConfigurationAt { return *g.settled.Load() }

// ChangeMembers changes who takes part in the group, and returns the configuration that came of it once it is committed and no longer
// joint, and applied here. It works on every member. All changes happen at once.
//
// The errors of package raft (ErrMemberExists and those that follow) and ErrMembersFixed say that nothing was done; the others are those of
// Propose: after ErrOutcomeUnknown look at the Membership.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) ChangeMembers(ctx context.Context, options ChangeOptions, changes ...Change) (raft.ConfigurationAt, error) {
	if err := ctx.Err(); err != nil {
		return raft.ConfigurationAt{}, fmt.Errorf("not proposed: %w", err)
	}
	var timeout time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), 1)
	}
	type answer struct {
		c   raft.ConfigurationAt
		err error
	}
	answered := make(chan answer, 1)
	g.ChangeMembersAsync(options, changes, timeout, func(c raft.ConfigurationAt, err error) { answered <- answer{c, err} })
	select {
	case a := <-answered:
		return a.c, a.err
	case <-ctx.Done():
		return raft.ConfigurationAt{}, unknown(ctx.Err())
	}
}

// ChangeMembersAsync is ChangeMembers for callers that do not want to wait: done is called exactly once, often from one of the
// host's actors, and must not block. After timeout (0: never) the answer is as that of ProposeEntry.
func (g *Group) ChangeMembersAsync(options ChangeOptions, changes []Change, timeout time.Duration, done func(raft.ConfigurationAt, error)) {
	if err := g.membersCanChange(); err != nil {
		done(raft.ConfigurationAt{}, err)
		return
	}
	request := changeRequest{from: options.From, lossy: options.Lossy, dryRun: options.DryRun, changes: changes}
	g.ProposeEntry(request.encode(), timeout, func(result Result, err error) {
		c := raft.ConfigurationAt{Index: result.Index}
		if err == nil {
			c.Configuration, err = raft.DecodeConfiguration(result.Value)
		}
		done(c, err)
	})
}

// membersCanChange says why the members of this group cannot change.
func (g *Group) membersCanChange() error {
	machine := g.replica.config.StateMachine
	if _, durable := machine.(DurableStateMachine); durable {
		if _, keeps := machine.(RuntimeKeeper); !keeps {
			return fmt.Errorf("%w: a %T is durable, and no balsa.RuntimeKeeper", ErrMembersFixed, machine)
		}
	}
	return nil
}

// changeWait is a change that is under way.
type changeWait struct {
	proposal
	at Position // the first entry that it made
}

// changeMembers asks the protocol for the changes among the proposals of a turn, and returns the others.
func (r *replica) changeMembers(batch []proposal) []proposal {
	kept := batch[:0]
	for i := range batch {
		if p := batch[i]; p.entry.Kind() == raft.EntryConfiguration {
			r.changeMember(&p)
		} else {
			kept = append(kept, p)
		}
	}
	return kept
}

func (r *replica) changeMember(p *proposal) {
	q, err := decodeChangeRequest(p.entry.Payload())
	if err == nil {
		err = r.group.membersCanChange()
	}
	var at Position
	var dry raft.Configuration
	switch {
	case err != nil:
	case q.dryRun:
		dry, err = r.raft.CheckChange(r.now(), q.from, q.changes...)
	default:
		at, err = r.raft.ChangeMembers(r.now(), q.from, q.lossy, q.changes...)
	}
	switch {
	case errors.As(err, new(*raft.NotLeaderError)):
		r.hold([]proposal{*p})
	case err != nil:
		r.refuse(p, err)
	case q.dryRun:
		r.answerChange(p, &raft.ConfigurationAt{Configuration: dry})
	default:
		r.note(event{what: "change of members appended", term: at.Term, index: at.Index})
		r.changes = append(r.changes, changeWait{*p, at})
		r.expireBy(p.deadline)
	}
}

// answerChange tells who asked for a change what came of it, once this member has applied it.
func (r *replica) answerChange(p *proposal, c *raft.ConfigurationAt) {
	if p.done == nil && p.from == 0 {
		return // its time was over
	}
	if p.from != 0 {
		r.group.forwardedBytes.Add(-int64(len(p.entry)))
		r.loop.answerForwarded(r, p.from, wire.Result{
			ID: p.id, Index: c.Index, Term: r.leadership.Term, Code: wire.CodeApplied, Value: c.Encode(),
		})
		return
	}
	result := Result{Index: c.Index, Term: r.leadership.Term, Value: c.Encode()}
	r.batch().waits = append(r.batch().waits, appliedWait{index: c.Index, done: p.done, result: result, bytes: len(p.entry)})
}

// giveUpChanges answers the changes under way as unknown.
func (r *replica) giveUpChanges(reason error) {
	for i := range r.changes {
		r.giveUpChange(&r.changes[i].proposal, reason)
	}
	clear(r.changes)
	r.changes = r.changes[:0]
}

func (r *replica) giveUpChange(p *proposal, reason error) {
	w := waiter{done: p.done, from: p.from, id: p.id, bytes: len(p.entry)}
	r.giveUp(&w, reason)
}

func (r *replica) expireChanges() {
	r.changes = slices.DeleteFunc(r.changes, func(c changeWait) bool {
		if c.deadline > r.loop.now {
			r.expireBy(c.deadline)
			return false
		}
		r.giveUpChange(&c.proposal, ErrExpired)
		return true
	})
}

// changeMembership takes note of another configuration in force, or that it is committed.
func (r *replica) changeMembership(m Membership) {
	r.note(event{what: "configuration", index: m.Index})
	r.group.membership.Store(&m)
	if r.config.OnMembership != nil {
		r.config.OnMembership(m)
	}
	r.loop.adjustPeers(r, &m)
	r.loop.refuseOlder()
	if !m.Committed || m.Joint {
		return
	}
	r.loop.host.config.Logger.Info("the members have changed", groupAttr(r.config.ID), slog.Uint64("index", uint64(m.Index)),
		slog.String("members", describeMembers(&m.Configuration)))
	r.changes = slices.DeleteFunc(r.changes, func(c changeWait) bool {
		if c.at.Index > m.Index {
			return false
		}
		r.answerChange(&c.proposal, &m.ConfigurationAt)
		return true
	})
	r.checkRemoved()
}

// describeMembers lists members for people.
func describeMembers(c *raft.Configuration) string {
	var parts []string
	for i := range c.Seats {
		parts = append(parts, fmt.Sprintf("%x (%v)", uint64(c.Seats[i].ID), c.Seats[i].Role))
	}
	return strings.Join(parts, ", ")
}

// checkRemoved tells that this member has no seat any more, once that is certain and it does not lead.
func (r *replica) checkRemoved() {
	m := r.group.membership.Load()
	self := r.loop.host.config.Member
	if r.saidRemoved || !m.Committed || m.Joint || !m.WasRemoved(self) || r.leadership.Role == raft.Leader {
		return
	}
	r.removed(fmt.Sprintf("member %x was removed from group %d by the configuration at index %d", uint64(self), r.config.ID, m.Index))
}

func (r *replica) removed(why string) {
	if r.saidRemoved || r.stopped != nil {
		return
	}
	r.saidRemoved = true
	r.loop.host.config.Logger.Warn("this member was removed", groupAttr(r.config.ID), slog.String("reason", why))
	if r.config.OnRemoved != nil {
		r.config.OnRemoved(why)
	}
}

// peerKeeper is a transport that can be told of other hosts while it runs. Without one, who makes the transport must know them all.
type peerKeeper interface {
	// SetPeer adds a host, or changes where it is; urls are those of its seat.
	SetPeer(id MemberID, urls []string) error
	// Expel ends the connections with a host that was removed, and tells it so when it comes again.
	Expel(id MemberID)
}

// expulsion is when a removed host is not listened to any more. Until then it may hear of its removal from the leader.
type expulsion struct {
	member MemberID
	at     actor.Instant
}

// adjustPeers tells the transport of hosts that have come or moved, and those that were removed.
func (l *loop) adjustPeers(r *replica, m *Membership) {
	keeper, ok := l.host.config.Transport.(peerKeeper)
	if !ok {
		return
	}
	for i := range m.Seats {
		seat := &m.Seats[i]
		if seat.ID == l.host.config.Member || seat.Address == "" || l.peers[seat.ID] == seat.Address {
			continue
		}
		if err := keeper.SetPeer(seat.ID, strings.Split(seat.Address, ",")); err != nil {
			l.host.config.Logger.Error("a member cannot be reached at its address", memberAttr("member", seat.ID), slog.String("error", err.Error()))
		}
		l.peers[seat.ID] = seat.Address
		l.strangers = slices.DeleteFunc(l.strangers, func(id MemberID) bool { return id == seat.ID })
	}
	if !m.Committed {
		return
	}
	for _, id := range m.Removed {
		if id != l.host.config.Member && !slices.Contains(l.expelled, id) && !r.expels(id) {
			at := l.now.Add(5 * r.config.ElectionTimeout)
			r.expulsions = append(r.expulsions, expulsion{id, at})
			r.expireBy(at)
		}
	}
}

func (r *replica) expels(id MemberID) bool {
	return slices.ContainsFunc(r.expulsions, func(e expulsion) bool { return e.member == id })
}

// expireExpulsions expels who was removed a while ago and has no seat in any group.
func (r *replica) expireExpulsions() {
	l := r.loop
	r.expulsions = slices.DeleteFunc(r.expulsions, func(e expulsion) bool {
		if e.at > l.now {
			r.expireBy(e.at)
			return false
		}
		if keeper, ok := l.host.config.Transport.(peerKeeper); ok && !l.hasSeat(e.member) {
			keeper.Expel(e.member)
			l.expelled = append(l.expelled, e.member)
			delete(l.peers, e.member)
		}
		return true
	})
}

// hasSeat reports whether a host has a seat in any group of this host.
func (l *loop) hasSeat(id MemberID) bool {
	return slices.ContainsFunc(l.order, func(r *replica) bool { return r.group.membership.Load().Seat(id) != nil })
}

// maxStrangers is how many hosts without a seat that is known here are listened to.
const maxStrangers = 16

// Stranger is called by the transport where a host of this cluster wants to connect that is none of its peers, and says where it is itself.
// It may be a member that was added while this one was away; where all others were replaced meanwhile, those who are there now are all strangers,
// and nobody else can tell this one so. It is let in: what it may say the protocol decides, and the log will tell whether it has a seat.
func (h *Host) Stranger(id MemberID, urls []string) {
	h.loop.control.Post(func() { h.loop.meet(id, urls) })
}

func (l *loop) meet(id MemberID, urls []string) {
	keeper, ok := l.host.config.Transport.(peerKeeper)
	removed := slices.ContainsFunc(l.order, func(r *replica) bool { return r.group.membership.Load().WasRemoved(id) })
	if !ok || removed || len(l.order) == 0 || l.peers[id] != "" || len(l.strangers) >= maxStrangers || slices.Contains(l.strangers, id) {
		return
	}
	if err := keeper.SetPeer(id, urls); err != nil {
		l.host.config.Logger.Warn("a host that is no member as far as this one knows cannot be reached at its address",
			memberAttr("member", id), slog.String("error", err.Error()))
		return
	}
	l.strangers = append(l.strangers, id)
	l.host.config.Logger.Info("a host that is no member as far as this one knows is listened to: this one may have missed that it was added",
		memberAttr("member", id), slog.String("at", strings.Join(urls, ",")))
}

// Expelled is called by the transport where a host says that this one was removed. Ids are never used again, so it is so for ever.
func (h *Host) Expelled(peer MemberID, text string) {
	h.loop.control.Post(func() {
		for _, r := range h.loop.order {
			r.removed(fmt.Sprintf("member %x says: %s", uint64(peer), text))
		}
	})
}
