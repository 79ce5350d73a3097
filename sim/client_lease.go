package sim

import (
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/store"
)

// leaseClient keeps leases alive, attaches keys to them, asks how they are doing, and lets them end, with and without a word.
type leaseClient struct {
	worker
	held  []int64
	drawn int
}

// mostHeld is how many leases a client keeps at once.
const mostHeld = 3

func (c *leaseClient) next(h *Host, done func()) {
	n := c.random.IntN(20)
	switch {
	case len(c.held) == 0 || len(c.held) < mostHeld && n < 3:
		c.grant(h, done)
	case n < 8:
		c.keepAlive(h, done)
	case n < 12:
		c.attach(h, done)
	case n < 14:
		c.revoke(h, done)
	case n < 17:
		c.timeToLive(h, done)
	default: // from now on nobody keeps it alive
		c.forget(c.any())
		done()
	}
}

func (c *leaseClient) any() int64 { return c.held[c.random.IntN(len(c.held))] }

func (c *leaseClient) forget(id int64) {
	c.held = slices.DeleteFunc(c.held, func(held int64) bool { return held == id })
}

// grant asks for a lease; now and then for one that there may be already.
func (c *leaseClient) grant(h *Host, done func()) {
	known := c.run.crowd.leases
	id, once := int64(c.id)<<32|int64(len(known))<<8|int64(c.drawn&0xff), true
	c.drawn++
	if len(known) > 0 && c.random.IntN(10) == 0 {
		id, once = known[c.random.IntN(len(known))], false
	}
	c.note(h, "grant")
	ttl := 1 + c.random.Int64N(int64(c.run.plan.Crowd.TTL))
	entry := must(store.EncodeLeaseGrant(&pb.LeaseGrantRequest{ID: id, TTL: ttl}))
	c.run.command(h, "a grant", entry, once, func(result balsa.Result, err error) {
		if err == nil {
			if _, err = store.DecodeLeaseGrant(result.Value); err == nil {
				c.run.counters["leases granted"]++
				c.run.crowd.leases = append(c.run.crowd.leases, id)
				c.forget(id)
				c.held = append(c.held, id)
				c.atLastMoment(id, ttl)
			}
		}
		done()
	})
}

// atLastMoment has one more keep-alive come when the lease is about to end: before, after, or together with its end.
func (c *leaseClient) atLastMoment(id, ttl int64) {
	r := c.run
	if c.random.IntN(2) == 0 {
		return
	}
	over := time.Duration(ttl)*time.Second - r.plan.Slowest
	r.later(between(c.random, over, over+r.plan.Crowd.Tick+r.plan.Slowest), func() {
		if h := r.anyHost(c.random); h.Up() && !h.life.paused {
			c.renew(h, []int64{id}, func() {})
		}
	})
}

// keepAlive renews some leases in one command, as a member does for all its clients.
func (c *leaseClient) keepAlive(h *Host, done func()) {
	ids := slices.Clone(c.held)
	c.random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	c.renew(h, ids[:1+c.random.IntN(len(ids))], done)
}

func (c *leaseClient) renew(h *Host, ids []int64, done func()) {
	c.note(h, "keep alive")
	c.run.command(h, "a keep-alive", store.EncodeLeaseRenew(ids), false, func(result balsa.Result, err error) {
		if err == nil {
			_, ttls, err := store.DecodeLeaseRenew(result.Value)
			for i, ttl := range ttls {
				if c.run.counters["keep-alives"]++; ttl == 0 {
					c.run.counters["keep-alives of leases that had ended"]++
					c.forget(ids[i])
				} else {
					c.atLastMoment(ids[i], ttl)
				}
			}
			c.run.fail(c.run.replay.name(), err)
		}
		done()
	})
}

// attach puts a key with a lease, in one of the ways in which clients do.
func (c *leaseClient) attach(h *Host, done func()) {
	c.drawn++
	put := &pb.PutRequest{
		Key: fmt.Appendf(nil, "w%02d", c.random.IntN(c.run.plan.Crowd.Keys)), Value: fmt.Appendf(nil, "%d-%d", c.id, c.drawn), Lease: c.any(),
	}
	if c.random.IntN(2) == 0 {
		put.Key = fmt.Appendf(nil, "lease%d", put.Lease&3)
	}
	entry := must(store.EncodePut(put))
	if c.random.IntN(2) == 0 { // as a lock does
		entry = must(store.EncodeTxn(&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: put.Key, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: put.Key}}}},
		}))
	}
	c.note(h, "attach")
	c.run.command(h, "a put with a lease", entry, true, func(balsa.Result, error) { done() })
}

func (c *leaseClient) revoke(h *Host, done func()) {
	id := c.any()
	c.forget(id)
	c.note(h, "revoke")
	c.run.command(h, "a revocation", must(store.EncodeLeaseRevoke(&pb.LeaseRevokeRequest{ID: id})), false, func(result balsa.Result, err error) {
		if err == nil {
			if _, err := store.DecodeLeaseRevoke(result.Value); err == nil {
				c.run.counters["leases revoked"]++
			}
		}
		done()
	})
}

// timeToLive asks what is left of a lease, which may be another's or over, and which keys it has.
func (c *leaseClient) timeToLive(h *Host, done func()) {
	r, life, id := c.run, h.life, c.any()
	if known := r.crowd.leases; c.random.IntN(3) == 0 {
		id = known[c.random.IntN(len(known))]
	}
	c.note(h, "time to live")
	fresh := r.fresh.barrier(h)
	h.Group.ReadAsync(func(index balsa.Index, err error) {
		switch {
		case life.over:
			return
		case err == nil:
			r.fail(r.fresh.name(), fresh(index))
			r.counters["times to live asked for"]++
			r.fail(r.leases.name(), r.leases.told(h, id))
		}
		done()
	})
}
