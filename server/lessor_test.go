package server

import (
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// lessors is a cluster of two, on virtual time, which is its log, two stores that apply it at once, and their lessors.
type lessors struct {
	t       *testing.T
	begun   time.Time
	term    raft.Term
	index   raft.Index
	members [2]*lessorMember
}

// lessorMember is one member: what it believes, and where its proposals go.
type lessorMember struct {
	*fakeGroup
	cluster  *lessors
	store    *store.Store
	lessor   *lessor
	held     func(store.Kind) bool // says which commands wait in queue
	queue    []func()
	waiting  []func(balsa.Result, error)
	expiring int // expiries that are not answered
	most     int // that there were at once
	ended    int
}

func newLessors(t *testing.T) *lessors {
	c := &lessors{t: t, begun: time.Now()}
	for i := range c.members {
		s, err := store.Open(engine.NewMemory(), store.Options{Group: 1})
		if err != nil {
			t.Fatal(err)
		}
		m := &lessorMember{fakeGroup: newFakeGroup(nil), cluster: c, store: s, held: func(store.Kind) bool { return false }}
		m.leadership.Store(&raft.Leadership{})
		m.lessor = &lessor{group: m, store: s, timeout: time.Second, expired: func() { m.ended++ }, now: time.Now, wake: func() {}}
		s.FollowLeases(func() {})
		c.members[i] = m
	}
	return c
}

// lead makes a member the leader of the next term. The other one believes what it believed.
func (c *lessors) lead(m int) {
	c.term++
	c.members[m].leadership.Store(&raft.Leadership{Role: raft.Leader, Term: c.term, Leader: raft.MemberID(m + 1)})
}

func (c *lessors) depose(m int) { c.members[m].leadership.Store(&raft.Leadership{Term: c.term}) }

// pass lets time pass, with a turn of each lessor at each tick.
func (c *lessors) pass(d time.Duration) {
	for ; d > 0; d -= tick {
		time.Sleep(min(d, tick))
		for _, m := range c.members {
			m.lessor.turn(true)
		}
	}
}

const tick = 100 * time.Millisecond

// apply appends a command and has everybody apply it.
func (c *lessors) apply(entry raft.Entry) balsa.Result {
	c.index++
	var result balsa.Result
	for _, m := range c.members {
		batch := &balsa.Batch{
			Commands: []balsa.Command{{Index: c.index, Term: c.term, Payload: entry.Payload()}},
			Position: raft.Position{Index: c.index, Term: c.term},
		}
		if err := m.store.Apply(batch); err != nil {
			c.t.Fatal(err)
		}
		result = balsa.Result{Index: c.index, Term: c.term, Value: batch.Commands[0].Result}
	}
	return result
}

// ProposeEntry appends at once, in whatever term it is by then, or keeps the command for release.
func (m *lessorMember) ProposeEntry(entry raft.Entry, _ time.Duration, done func(balsa.Result, error)) {
	kind := store.CommandKind(entry.Payload())
	expiry := 0
	if kind == store.KindLeaseExpire {
		expiry = 1
	}
	m.expiring += expiry
	m.most = max(m.most, m.expiring)
	propose := func() {
		m.expiring -= expiry
		done(m.cluster.apply(entry), nil)
	}
	if m.held(kind) {
		m.queue, m.waiting = append(m.queue, propose), append(m.waiting, done)
		return
	}
	propose()
}

// lose answers what was kept, and appends none of it.
func (m *lessorMember) lose() {
	m.queue, m.expiring = nil, 0
	for _, done := range m.waiting {
		done(balsa.Result{}, balsa.ErrOutcomeUnknown)
	}
	m.waiting, m.held = nil, func(store.Kind) bool { return false }
}

// release appends what was kept.
func (m *lessorMember) release() {
	queue := m.queue
	m.queue, m.waiting, m.held = nil, nil, func(store.Kind) bool { return false }
	for _, propose := range queue {
		propose()
	}
}

func (m *lessorMember) hold(kind store.Kind) { m.held = func(k store.Kind) bool { return k == kind } }

func (c *lessors) grant(id, ttl int64) {
	entry, err := store.EncodeLeaseGrant(&pb.LeaseGrantRequest{ID: id, TTL: ttl})
	if err != nil {
		c.t.Fatal(err)
	}
	c.apply(entry)
}

func (c *lessors) renew(id int64) { c.apply(store.EncodeLeaseRenew([]int64{id})) }

func (c *lessors) lives(id int64) bool {
	_, ok := c.members[0].store.Lease(id)
	return ok
}

// wantUntil lets time pass, and wants the lease to end at a moment since the beginning, or at most slack later.
func (c *lessors) wantUntil(id int64, moment, slack time.Duration) {
	c.t.Helper()
	c.pass(time.Until(c.begun.Add(moment)) - time.Millisecond)
	if !c.lives(id) {
		c.t.Fatalf("the lease ended before %v: early", moment)
	}
	c.pass(slack + time.Millisecond)
	if c.lives(id) {
		c.t.Fatalf("the lease goes on at %v", time.Since(c.begun))
	}
}

func TestLeasesEndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.pass(tick)
		c.grant(1, 5) // at 0.1 s
		c.pass(2 * time.Second)
		c.grant(2, 5) // at 2.1 s
		c.renew(2)
		c.wantUntil(1, 5100*time.Millisecond, 2*tick)
		c.renew(2) // at 5.3 s
		c.wantUntil(2, 10300*time.Millisecond, 2*tick)
		if m := c.members[0]; m.ended != 2 || len(m.lessor.reign.leases) != 0 || len(m.lessor.reign.due) != 0 {
			t.Errorf("%d leases ended, %d are left", m.ended, len(m.lessor.reign.leases))
		}
	})
}

// A change of leader neither shortens a lease nor prolongs it by more than a tick, and the turn that follows.
func TestLeasesKeepTheirTimeOverAChangeOfLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 10)
		c.pass(6 * time.Second)
		for i := range 4 {
			c.depose(i % 2)
			c.lead(1 - i%2)
			c.pass(700 * time.Millisecond)
		}
		c.wantUntil(1, 10*time.Second, 7*tick) // four changes: a tick each, and the turns
	})
}

// While nobody leads nobody can keep a lease alive, so that time does not count.
func TestLeasesDoNotAgeWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 10)
		c.pass(4 * time.Second)
		c.depose(0)
		c.pass(time.Minute)
		c.lead(1)
		c.wantUntil(1, 70*time.Second, 3*tick)
	})
}

// Who was deposed and does not know it ends nothing, though its commands reach the log.
func TestADeposedLeaderEndsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 5)
		c.pass(4500 * time.Millisecond)
		c.members[0].held = func(store.Kind) bool { return true } // it is cut off
		c.pass(time.Second)
		if c.members[0].expiring != 1 {
			t.Fatal("the leader did not want to end the lease")
		}
		c.lead(1)
		c.pass(tick)
		c.members[0].release()
		for range 5 {
			c.pass(4 * time.Second / 5)
			if c.members[0].lessor.reign == nil {
				t.Fatal("the deposed leader knows that it is")
			}
			if !c.lives(1) && time.Since(c.begun) < 6*time.Second {
				t.Fatal("the deposed leader ended the lease")
			}
		}
		if c.lives(1) || c.members[0].ended != 0 || c.members[1].ended != 1 {
			t.Errorf("ended by the deposed leader: %d, by its successor: %d", c.members[0].ended, c.members[1].ended)
		}
	})
}

// A keep-alive that was answered before the end of the lease was appended has saved it.
func TestARenewalOvertakesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 5)
		c.members[0].hold(store.KindLeaseExpire)
		c.pass(5500 * time.Millisecond)
		if c.members[0].expiring != 1 {
			t.Fatal("the leader did not want to end the lease")
		}
		c.renew(1) // at 5.5 s
		c.members[0].release()
		c.wantUntil(1, 10500*time.Millisecond, 2*tick)
	})
}

// An expiry that has failed, as far as the leader can tell, is made again.
func TestAnEndThatWasLostIsProposedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 5)
		c.members[0].hold(store.KindLeaseExpire)
		c.pass(5500 * time.Millisecond)
		c.members[0].lose()
		c.wantUntil(1, 5500*time.Millisecond, 2*tick)
	})
}

// What is renewed while a tick is on its way does not count from that tick.
func TestATickThatWasLongOnItsWayShortensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.pass(3 * tick)
		c.grant(1, 5)
		c.members[0].hold(store.KindLeaseTick)
		c.pass(27 * tick)
		c.renew(1)             // at 3 s
		c.members[0].release() // a tick of 0.4 s
		c.pass(2 * tick)       // and one of now
		c.depose(0)
		c.lead(1)
		c.wantUntil(1, 8*time.Second, 4*tick)
	})
}

// The time during which the leader's process stood still is nobody's loss: keep-alives could not reach it.
func TestTimeThatTheLeaderMissedDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		c.grant(1, 5)
		c.pass(time.Second)
		time.Sleep(time.Minute)
		c.wantUntil(1, 64*time.Second, 3*tick) // a second of that minute counts
	})
}

// A machine's clock that goes back, behind the beginning even, ends nothing: that moment is lost, and no more.
func TestAClockThatGoesBackEndsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		var leap time.Duration
		c.members[0].lessor.now = func() time.Time { return time.Now().Add(leap) }
		c.lead(0)
		c.pass(tick)
		c.grant(1, 5) // at 0.1 s
		c.pass(5 * tick)
		leap = -time.Minute
		c.pass(tick)
		c.grant(2, 5) // at 0.7 s
		c.wantUntil(1, 5100*time.Millisecond, 3*tick)
		c.wantUntil(2, 5700*time.Millisecond, 3*tick)
	})
}

// Where many leases end at once the log has room for others.
func TestManyEndsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLessors(t)
		c.lead(0)
		const n = 10 * maxExpiring
		for id := range int64(n) {
			c.grant(id+1, 2)
		}
		c.pass(2*time.Second - tick)
		c.members[0].hold(store.KindLeaseExpire)
		for range 10 {
			c.pass(2 * tick)
			if got := c.members[0].expiring; got != maxExpiring {
				t.Fatalf("%d expiries are on their way", got)
			}
			c.members[0].release()
			c.members[0].hold(store.KindLeaseExpire)
		}
		if left := c.members[0].store.LeaseCount(); left != 0 {
			t.Errorf("%d leases are left", left)
		}
	})
}
