package store

import (
	"sync"
	"time"

	"github.com/balsadb/balsa"
)

// Lease is a lease as the last batch left it.
type Lease struct {
	ID  int64
	TTL time.Duration
	// Renewed is the index of the command that granted the lease, or renewed it last.
	Renewed balsa.Index
	// Remaining is what is left of the time to live as of the last tick of the lease clock. It is negative where the time is over.
	Remaining time.Duration
}

func (s *leaseSums) lease(id int64, l *lease) Lease {
	out := Lease{ID: id, TTL: l.duration(), Renewed: l.renewed, Remaining: l.duration()}
	if l.deadline != uncounted {
		out.Remaining = time.Duration(int64(l.deadline-s.clock)) * time.Millisecond
	}
	return out
}

// Lease returns a lease; ok says whether there is one with this id.
func (s *Store) Lease(id int64) (found Lease, ok bool) {
	now := s.state.Load()
	l, ok := now.leases.Get(id)
	if !ok {
		return Lease{}, false
	}
	return now.sums.lease(id, &l), true
}

// Leases calls visit for all leases of one moment, in the order of their ids, until it returns false. It returns the
// reading of the lease clock at that moment, in milliseconds.
func (s *Store) Leases(visit func(Lease) bool) (clock uint64) {
	now := s.state.Load()
	now.leases.Scan(func(id int64, l lease) bool { return visit(now.sums.lease(id, &l)) })
	return now.sums.clock
}

// LeaseCount returns the number of leases. It costs nothing.
func (s *Store) LeaseCount() int { return s.state.Load().leases.Len() }

// LeaseKeys returns the keys that are attached to a lease, in order; none where there is no such lease.
func (s *Store) LeaseKeys(id int64) ([]string, error) {
	now := s.use()
	defer now.engine.leave()
	return attachedKeys(now.engine, s.layout, id)
}

// leaseNews tells one follower which leases were granted, renewed or revoked.
type leaseNews struct {
	mu      sync.Mutex
	wake    func()
	changed []int64
}

// FollowLeases has wake called whenever leases have changed, until the next call of TakeLeaseChanges; wake must not block.
// There is one follower. A store without one remembers no changes.
func (s *Store) FollowLeases(wake func()) {
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	s.news.wake = wake
}

// TakeLeaseChanges returns the ids of the leases that were granted, renewed or revoked since the last call, or since FollowLeases. The
// state that Lease returns is at least as new. A Restore changes leases without a word.
func (s *Store) TakeLeaseChanges() []int64 {
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	changed := s.news.changed
	s.news.changed = nil
	return changed
}

// tell is called after each batch, once its state is published.
func (n *leaseNews) tell(touched []int64) {
	if len(touched) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wake == nil {
		return
	}
	if n.changed = append(n.changed, touched...); len(n.changed) == len(touched) {
		n.wake()
	}
}
