package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// quorum counts, of those who vote in a configuration, the hosts of which something is so. It is not the protocol's own count, which it
// is there to judge.
type quorum struct {
	of, voters       int
	ofFormer, former int // in a joint configuration
	joint            bool
}

// quorum counts the hosts of a configuration of which is reports true. Who is gone for good counts as one of which it is not so, and
// is seldom asked.
func (r *run) quorum(c *raft.ConfigurationAt, is func(*Host) bool) (q quorum) {
	q.joint = c.Joint
	for i := range c.Seats {
		seat := &c.Seats[i]
		if seat.Role != raft.Voter && !seat.Former {
			continue
		}
		h := r.cluster.host(balsa.MemberID(seat.ID))
		yes := h != nil && !h.gone && is(h)
		if seat.Role == raft.Voter {
			q.voters++
			q.of += ones(yes)
		}
		if seat.Former {
			q.former++
			q.ofFormer += ones(yes)
		}
	}
	return q
}

func ones(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// holds reports whether it is a majority, in a joint configuration of both.
func (q quorum) holds() bool { return q.of > q.voters/2 && (!q.joint || q.ofFormer > q.former/2) }

func (q quorum) String() string {
	if q.joint {
		return fmt.Sprintf("%d of %d voters and %d of %d former voters", q.of, q.voters, q.ofFormer, q.former)
	}
	return fmt.Sprintf("%d of %d voters", q.of, q.voters)
}
