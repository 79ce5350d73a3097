package diff

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// newLeaseGenerator makes a generator whose streams have leases: about as many calls are about them as about keys, and
// many puts attach one.
func newLeaseGenerator(seed uint64, members int) *generator {
	g := newGenerator(seed, members)
	g.leases = true
	return g
}

func (g *generator) leaseStream(n int) (all []call) {
	for range n {
		c := g.call()
		if g.chance(50) {
			c = g.leaseCall()
			c.member = g.IntN(g.members)
		}
		all = append(all, c)
	}
	return all
}

func (g *generator) leaseCall() call {
	return pick(g,
		choice[call]{6, func() call { return call{"LeaseGrant", 0, g.grant()} }},
		choice[call]{3, func() call { return call{"LeaseRevoke", 0, &pb.LeaseRevokeRequest{ID: g.lease()}} }},
		choice[call]{3, func() call { return call{"LeaseKeepAlive", 0, &pb.LeaseKeepAliveRequest{ID: g.lease()}} }},
		choice[call]{6, func() call {
			return call{"LeaseTimeToLive", 0, &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.chance(70)}}
		}},
		choice[call]{2, func() call { return call{"LeaseLeases", 0, &pb.LeaseLeasesRequest{}} }},
	)
}

// grant asks for times to live that are far from each other, and long: what they are is compared, not when they end.
func (g *generator) grant() *pb.LeaseGrantRequest {
	ttls := []int64{300, 900, 1800, 86400, 9_000_000_000}
	r := &pb.LeaseGrantRequest{TTL: ttls[g.IntN(len(ttls))]}
	if g.chance(60) {
		r.ID = chosenIDs[g.IntN(len(chosenIDs))]
	}
	if g.chance(4) {
		r.TTL = 9_000_000_001 + g.Int64N(2)<<60 // too large
	}
	return r
}

// chosenIDs are what clients call their leases; the first is the greatest of the small ones.
var chosenIDs = []int64{78, 77, 1, -9, 1 << 62}

// lease is mostly one that may exist.
func (g *generator) lease() int64 {
	return pick(g,
		choice[int64]{6, func() int64 { return chosenIDs[g.IntN(len(chosenIDs))] }},
		choice[int64]{4, func() int64 { return givenID(1 + g.IntN(4)) }},
		choice[int64]{1, func() int64 { return 0 }},
		choice[int64]{1, func() int64 { return 5 }}, // never granted
	)
}
