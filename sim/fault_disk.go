package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/wal"
)

// diskFaultList are what disks do besides forgetting what was not synced: each power cut does that.
var diskFaultList = []fault{
	{"disk", "disk errors", diskError},
	{"disk", "full disks", diskFull},
	{"disk", "stalled disks", diskStall},
	{"disk", "rotten files", rot},
}

// diskError lets one of the next operations fail. The member is fenced then, and an operator starts it again.
func diskError(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.failIn, h.disk.partial = 1+random.IntN(20), random.IntN(2) == 0
	return h.Up()
}

func diskFull(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.full = true
	r.later(r.forSome(random), func() { h.disk.full = false })
	return true
}

func diskStall(r *run, random *rand.Rand) bool {
	h := r.leaderOrAny(random)
	h.disk.stalled = r.world.now.Add(r.forSome(random))
	return true
}

// rotten is a byte that is not what was written.
type rotten struct {
	file   string
	offset int64
	bits   byte
	found  bool // a start has read it
}

// rot ends a process, and changes a bit in a file of its log while it is away: in a segment that was full long ago, or in a copy
// of the votes. The next start repairs what it has twice, and the others give back the rest. Until then no other file rots: what nobody
// has any more is gone. What lies in the last segment is left alone: of that window the log promises less (docs/formats-wal.md).
func rot(r *run, random *rand.Rand) bool {
	h := r.anyHost(random)
	for _, other := range r.cluster.Hosts {
		other.noteMended()
		if other.rotten != nil {
			return false
		}
	}
	if !h.Up() {
		return false
	}
	names, err := h.Disk.List("wal")
	if err != nil {
		return false
	}
	var old, segments []string
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, ".wal"):
			segments = append(segments, name)
		case strings.HasPrefix(name, "votes-") && len(old) == 0: // one of the two
			old = append(old, name)
		}
	}
	old = append(old, segments[:max(0, len(segments)-2)]...) // without the active and the prepared one
	if len(old) == 0 {
		return false
	}
	h.Kill()
	at := &rotten{"wal/" + old[random.IntN(len(old))], random.Int64N(r.plan.SegmentSize), 1 << random.IntN(8), false}
	if h.Disk.Flip(at.file, at.offset, at.bits) {
		h.rotten = at
	}
	r.startLater(h, random)
	return h.rotten != nil
}

// noteMended forgets a rotten file once the life that found it complains of its log no more.
func (h *Host) noteMended() {
	if h.rotten == nil || !h.rotten.found || !h.Up() || h.Group == nil || !h.Group.Recovered() {
		return
	}
	if !slices.ContainsFunc(h.runtime.Troubles(), func(t balsa.Trouble) bool { return t.Kind == balsa.TroubleLog }) {
		h.rotten = nil
	}
}

// restoresRot reports whether a start was refused for a rotten file, and brings back what it was.
func (r *run) restoresRot(h *Host, refusal error) bool {
	if h.rotten == nil || !errors.As(refusal, new(*wal.CorruptionError)) {
		return false
	}
	r.counters["rotten logs refused"]++
	h.Disk.Flip(h.rotten.file, h.rotten.offset, h.rotten.bits)
	h.rotten = nil
	return true
}
