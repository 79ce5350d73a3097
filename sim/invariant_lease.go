package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/store"
)

// leasesHold: a lease that nobody revokes lives for its time since it was renewed last, in the time of the world, whatever clocks,
// pauses and changes of leader there were; its keys are those that the replay has for it, and go with it. That all of
// them go at one revision, and that an answered renewal came before the end, is the replay's to tell.
//
// The leader's clock is believed (decision 0018): by as much as the machines' clocks were fast in the meantime a lease may end
// early. Of a jump no more than a second counts, since the lease clock takes no larger steps.
type leasesHold struct {
	tally
	run     *run
	ends    int // of the replay that were looked at
	checked int // the replay's count of changes when all leases were compared
}

// leaseRounding is what is lost where the lease clock is written down in milliseconds.
const leaseRounding = 2 * time.Millisecond

// longestLeaseStep is the largest step of the lease clock.
const longestLeaseStep = time.Second

func (*leasesHold) name() string { return "leases live as long as was promised" }

// fast is by how much the machines' clocks, all together, have run ahead of the world's since the run's beginning.
func (r *run) fast() (sum time.Duration) {
	for _, h := range r.cluster.ever {
		sum += h.clock.fast(r.world.now)
	}
	return sum
}

// fast returns by how much the clock has run ahead of the world's, in all times when it did.
func (c *clock) fast(now actor.Instant) time.Duration {
	return c.gained + max(0, time.Duration(now-c.since)*time.Duration(c.rate-exactRate)/exactRate)
}

func (l *leasesHold) applied(h *Host, batch *balsa.Batch) error {
	m := l.run.replay
	for ; l.ends < len(m.ends); l.ends++ {
		one := m.ends[l.ends]
		if !one.expired {
			continue
		}
		l.run.counters["leases expired"]++
		l.judges()
		if err := one.early(one.renewals[len(one.renewals)-1], one.ended, m.now(), 0); err != nil {
			return err
		}
	}
	if l.checked == m.leaseChanges || int(batch.Position.Index) < len(m.done)-1 {
		return nil // nothing new, or a member behind others
	}
	l.checked = m.leaseChanges
	return l.compare(h)
}

// early returns an error where a lease has, at a moment, less left than it must have.
func (one *lifetime) early(last renewal, ended balsa.Index, now worldMoment, left time.Duration) error {
	ttl, passed, fast := time.Duration(one.ttl)*time.Second, time.Duration(now.at-last.at), now.fast-last.fast
	if left+passed+fast+leaseRounding >= ttl {
		return nil
	}
	return fmt.Errorf("lease %x of %v, renewed at index %d, has %v left (ended at index %d) %v later, in which clocks were %v fast",
		one.id, ttl, last.index, left, ended, passed, fast)
}

// compare compares all leases of the member that is ahead with the replay's.
func (l *leasesHold) compare(h *Host) error {
	state, m := h.State.(*StoreState), l.run.replay
	var got []store.Lease
	clock := state.Leases(func(one store.Lease) bool {
		got = append(got, one)
		return true
	})
	if clock != m.clock || len(got) != len(m.alive) {
		return fmt.Errorf("member %d has %d leases and the lease clock at %d, the replay %d and %d", h.ID, len(got), clock, len(m.alive), m.clock)
	}
	for i, want := range m.alive {
		left := time.Duration(want.ttl) * time.Second
		if want.deadline != 0 {
			left = time.Duration(int64(want.deadline-m.clock)) * time.Millisecond
		}
		if one := got[i]; one.ID != want.id || one.TTL != time.Duration(want.ttl)*time.Second || one.Renewed != want.renewed || one.Remaining != left {
			return fmt.Errorf("member %d has the lease %+v, the replay %+v with %v left", h.ID, one, *want, left)
		}
		if err := l.sameKeys(h, want.id); err != nil {
			return err
		}
	}
	return nil
}

func (l *leasesHold) sameKeys(h *Host, id int64) error {
	state := h.State.(*StoreState)
	keys, err := state.LeaseKeys(id)
	if want := l.run.replay.attached(id, state.Revision()); err == nil && !slices.Equal(keys, want) {
		err = fmt.Errorf("on member %d lease %x has the keys %q, the replay says %q", h.ID, id, keys, want)
	}
	return err
}

// told compares what a member, which has all that was answered before, has to say about a lease.
func (l *leasesHold) told(h *Host, id int64) error {
	state, m := h.State.(*StoreState), l.run.replay
	got, exists := state.Lease(id)
	at, err := state.Applied()
	if err != nil {
		return err
	}
	want := m.leaseAt(id, at.Index)
	if exists != (want != nil) {
		return fmt.Errorf("at index %d there is a lease %x for member %d: %v, for the replay: %v", at.Index, id, h.ID, exists, want != nil)
	}
	if !exists {
		return nil
	}
	last := want.renewedAt(at.Index)
	if got.Renewed != last.index || got.Remaining > got.TTL {
		return fmt.Errorf("member %d has the lease %+v, which was renewed at index %d", h.ID, got, last.index)
	}
	if err := want.early(last, 0, m.now(), got.Remaining); err != nil {
		return fmt.Errorf("member %d at index %d: %w", h.ID, at.Index, err)
	}
	return l.sameKeys(h, id)
}

// over reports whether no lease lives: where nobody keeps them alive they end.
func (l *leasesHold) over() bool { return len(l.run.replay.alive) == 0 }
