package sim

import (
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa"
)

// sendingPlan is how snapshots are sent.
type sendingPlan struct {
	Piece    int   // bytes; so small that a snapshot has many
	Rate     int64 // bytes a second; negative for no bound
	ByLeader bool  // and never by a follower in its place
}

func drawSending(seed uint64, electionTimeout time.Duration) sendingPlan {
	r := rand.New(rand.NewPCG(seed, 0x73656e64))
	perTimeout := pick[int64](r, -1, -1, 80_000, 200_000) // so that a large state takes some election timeouts, and two at once far less than commitWithin
	return sendingPlan{
		Piece:    pick(r, 300, 1000, 1000, 4000, 0),
		Rate:     perTimeout * int64(time.Second) / int64(electionTimeout),
		ByLeader: r.IntN(3) == 0,
	}
}

func (p sendingPlan) configure(host *balsa.HostConfig) {
	host.SnapshotPiece, host.SnapshotRate, host.SnapshotsByLeader = p.Piece, p.Rate, p.ByLeader
}
