package server

import (
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// The lessor ends leases whose time is over, on the member that leads.
//
// It keeps the lease clock: a clock that goes on while this member leads, and in no larger steps than maxStep, so that the time
// that a process was stopped, or starved, is nobody's loss. A reign begins with a round of confirmation; from then on the
// clock goes on from its last reading in the log, and each lease has what that says is left of it. What is
// granted or renewed later counts from the moment at which it was noticed here, which is after it was applied.
//
// All that it decides goes through the log, with the term in which it was decided, and is void in any other: a
// leader that was deposed ends nothing, whatever it believes (package store, lease.go).

const (
	// maxStep is the longest time that the lease clock takes for passed between two looks.
	maxStep = time.Second
	// maxExpiring bounds the expiries that are on their way. With one turn each lease tick it paces the end of many leases at once:
	// the deletions of at most as many leases come between two other writes.
	maxExpiring = 64
)

// lessor is driven by turns: each at a moment, with what came in since the last.
type lessor struct {
	group   Group
	store   Store
	timeout time.Duration // of proposals
	expired func()        // is told of each lease that ended
	now     func() time.Time
	wake    func() // is called where there is something to do; it does not block

	mu    sync.Mutex
	posts []func()

	reign *reign // nil while this member does not lead
}

// reign is the time during which this member leads in one term.
type reign struct {
	term      raft.Term
	asking    bool // for confirmation
	confirmed bool

	clock  time.Duration // the lease clock
	last   time.Time     // when that was read
	leases map[int64]*held
	due    heldHeap

	ticking  bool // a tick is on its way
	expiring int  // so many expiries are
}

func newLessor(s *Server) *lessor {
	return &lessor{
		group: s.group, store: s.store, timeout: s.config.Limits.RequestTimeout,
		expired: s.metrics.leaseExpired.Inc, now: time.Now,
	}
}

// run takes a turn at each tick, and whenever something happens, until the server stops.
func (l *lessor) run(tick time.Duration, stopping <-chan struct{}) {
	every := time.NewTicker(tick)
	defer every.Stop()
	inbox := make(chan struct{}, 1)
	l.wake = func() { signal(inbox) }
	l.store.FollowLeases(l.wake)
	for {
		select {
		case <-every.C:
			l.turn(true)
		case <-inbox:
			l.turn(false)
		case <-stopping:
			return
		}
	}
}

// post has something done in the next turn. It is called from the group's actors.
func (l *lessor) post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = append(l.posts, f)
	l.wake()
}

func (l *lessor) takePosts() []func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	posts := l.posts
	l.posts = nil
	return posts
}

// turn does what is to be done now.
func (l *lessor) turn(tick bool) {
	l.follow()
	if l.reign != nil {
		l.reign.advance(l.now())
	}
	for _, f := range l.takePosts() {
		f()
	}
	changed := l.store.TakeLeaseChanges()
	r := l.reign
	if r == nil || !r.confirmed {
		return
	}
	for _, id := range changed {
		l.refresh(r, id)
	}
	if tick {
		l.expire(r)
		l.tick(r)
	}
}

// follow begins a reign, or ends it.
func (l *lessor) follow() {
	now := l.group.Leadership()
	if now.Role != raft.Leader {
		l.reign = nil
		return
	}
	if l.reign == nil || l.reign.term != now.Term {
		l.reign = &reign{term: now.Term}
	}
	if r := l.reign; !r.confirmed && !r.asking {
		r.asking = true
		l.group.ReadAsync(func(_ raft.Index, err error) { l.post(func() { l.confirm(r, err) }) })
	}
}

// confirm begins with the leases, once this member is known to lead and to have applied what its predecessors have
// committed.
func (l *lessor) confirm(r *reign, err error) {
	r.asking = false
	if l.reign != r || err != nil {
		return
	}
	r.confirmed, r.last, r.leases = true, l.now(), make(map[int64]*held)
	var all []store.Lease
	clock := l.store.Leases(func(one store.Lease) bool {
		all = append(all, one)
		return true
	})
	r.clock = time.Duration(clock) * time.Millisecond
	for i := range all {
		r.hold(all[i].ID, all[i].Renewed, later(r.clock, all[i].Remaining))
	}
}

// advance lets the lease clock go on. It never goes back, though a virtual machine's monotonic clock may have done.
func (r *reign) advance(now time.Time) {
	if r.confirmed {
		r.clock = later(r.clock, max(0, min(now.Sub(r.last), maxStep)))
		r.last = now
	}
}

// refresh looks at a lease that may have been granted, renewed or revoked.
func (l *lessor) refresh(r *reign, id int64) {
	one, exists := l.store.Lease(id)
	h := r.leases[id]
	switch {
	case !exists:
		r.release(id)
	case h == nil || h.renewed != one.Renewed:
		r.hold(id, one.Renewed, later(r.clock, one.TTL))
	case h.place == noPlace: // its expiry had no effect
		r.hold(id, one.Renewed, h.deadline)
	}
}

// expire proposes the end of the leases whose time is over.
func (l *lessor) expire(r *reign) {
	for _, a := range l.store.Alarms() {
		if a.Type == pb.AlarmType_CORRUPT {
			return // it would be refused
		}
	}
	for r.expiring < maxExpiring && len(r.due) > 0 && r.due[0].deadline <= r.clock {
		h := r.next()
		r.expiring++
		l.group.ProposeEntry(store.EncodeLeaseExpire(r.term, h.id, h.renewed), l.timeout, func(result balsa.Result, err error) {
			l.post(func() { l.settle(r, h.id, result, err) })
		})
	}
}

// settle takes the answer to an expiry. Whatever it says, the store knows what has become of the lease.
func (l *lessor) settle(r *reign, id int64, result balsa.Result, err error) {
	r.expiring--
	if err == nil {
		if _, err := store.DecodeLeaseRevoke(result.Value); err == nil {
			l.expired()
		}
	}
	l.refresh(r, id)
}

// tick puts a reading of the clock into the log, where there are leases that it matters to.
func (l *lessor) tick(r *reign) {
	if r.ticking || len(r.leases) == 0 {
		return
	}
	applied, err := l.store.Applied() // first: what is applied from here on, this reading does not know of
	if err != nil {
		return
	}
	r.advance(l.now())
	r.ticking = true
	entry := store.EncodeLeaseTick(r.term, uint64(r.clock.Milliseconds()), applied.Index)
	l.group.ProposeEntry(entry, l.timeout, func(balsa.Result, error) { l.post(func() { r.ticking = false }) })
}
