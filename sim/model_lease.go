package sim

import (
	"encoding/binary"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/store"
)

// modelLeases is the leases of a model, those that have ended included.
type modelLeases struct {
	lifetimes map[int64][]*lifetime // by id, which may be used again once it has ended
	alive     []*lifetime           // in the order of the ids
	ends      []*lifetime           // in their order
	clock     uint64                // of the last tick, in milliseconds

	leaseChanges int
}

// lifetime is one lease, from its grant to its end.
type lifetime struct {
	id, ttl        int64
	granted, ended balsa.Index // ended is 0 while it lives
	expired        bool        // rather than revoked
	renewed        balsa.Index // granted or renewed last
	deadline       uint64      // on the lease clock; 0 until a tick knows of the renewal
	renewals       []renewal
}

// renewal is when a lease got its whole time, in the log and in the world: then the first member had applied it.
type renewal struct {
	index balsa.Index
	worldMoment
}

// lease returns the lease that lives under an id.
func (l *modelLeases) lease(id int64) *lifetime {
	if all := l.lifetimes[id]; len(all) > 0 && all[len(all)-1].ended == 0 {
		return all[len(all)-1]
	}
	return nil
}

// leaseAt returns the lease that an id meant once an index was applied.
func (l *modelLeases) leaseAt(id int64, index balsa.Index) *lifetime {
	for _, one := range l.lifetimes[id] {
		if one.granted <= index && (one.ended == 0 || one.ended > index) {
			return one
		}
	}
	return nil
}

// renewedAt returns the last renewal up to an index.
func (l *lifetime) renewedAt(index balsa.Index) (last renewal) {
	for _, r := range l.renewals {
		if r.index <= index {
			last = r
		}
	}
	return last
}

func (m *model) grant(at balsa.Index, r *pb.LeaseGrantRequest) error {
	switch {
	case r.ID == 0, r.TTL <= 0:
		return store.ErrMalformed
	case r.TTL > store.MaxLeaseTTL:
		return rpctypes.ErrGRPCLeaseTTLTooLarge
	case m.lease(r.ID) != nil:
		return rpctypes.ErrGRPCLeaseExist
	}
	one := &lifetime{id: r.ID, ttl: r.TTL, granted: at}
	m.lifetimes[r.ID] = append(m.lifetimes[r.ID], one)
	place := 0
	for place < len(m.alive) && m.alive[place].id < r.ID {
		place++
	}
	m.alive = append(m.alive[:place], append([]*lifetime{one}, m.alive[place:]...)...)
	m.renew(one, at)
	return nil
}

func (m *model) renew(one *lifetime, at balsa.Index) {
	m.leaseChanges++
	one.renewed, one.deadline = at, 0
	one.renewals = append(one.renewals, renewal{at, m.now()})
}

// revoke ends a lease: its keys go, all at one revision.
func (m *model) revoke(at balsa.Index, id int64, expired bool) error {
	one := m.lease(id)
	if one == nil {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	m.leaseChanges++
	c := m.begin()
	for _, key := range m.attached(id, m.revision) {
		c.set(key, nil)
	}
	one.ended, one.expired = at, expired
	m.ends = append(m.ends, one)
	for i, other := range m.alive {
		if other == one {
			m.alive = append(m.alive[:i:i], m.alive[i+1:]...)
		}
	}
	return nil
}

// attached returns the keys of a lease at a revision, in order.
func (m *model) attached(id, revision int64) (keys []string) {
	for _, pair := range m.within([]byte{0}, []byte{0}, revision) {
		if pair.Lease == id {
			keys = append(keys, string(pair.Key))
		}
	}
	return keys
}

// expire ends a lease whose time was over in the eyes of the leader of a term, unless another term or renewal came before.
func (m *model) expire(c *balsa.Command, term balsa.Term, id int64, renewed balsa.Index) error {
	one := m.lease(id)
	switch {
	case term != c.Term:
		return store.ErrStale
	case one == nil:
		return rpctypes.ErrGRPCLeaseNotFound
	case one.renewed != renewed:
		return store.ErrStale
	}
	return m.revoke(c.Index, id, true)
}

// tick is a reading of the lease clock by the leader of a term that had applied an index before.
func (m *model) tick(c *balsa.Command, term balsa.Term, clock uint64, known balsa.Index) error {
	if term != c.Term || clock < m.clock {
		return store.ErrStale
	}
	m.leaseChanges++
	m.clock = clock
	for _, one := range m.alive {
		if one.deadline == 0 && one.renewed <= known {
			one.deadline = clock + uint64(one.ttl)*1000
		}
	}
	return nil
}

// commandNumbers returns the numbers that a command of leases holds.
func commandNumbers(payload []byte) (numbers []uint64) {
	for rest := payload[2:]; len(rest) >= 8; rest = rest[8:] {
		numbers = append(numbers, binary.LittleEndian.Uint64(rest))
	}
	return numbers
}
