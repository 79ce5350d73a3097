package sim

import (
	"flag"
	"testing"
	"time"

	"github.com/balsadb/balsa"
)

// A longer run: go test ./sim -run TestFaults$ -first 1000 -seeds 20000 -timeout 1h. One seed again: -first 1234 -seeds 1.
var (
	firstSeed = flag.Uint64("first", 1, "the first seed of TestFaults")
	seedCount = flag.Uint64("seeds", 40, "how many seeds TestFaults runs")
)

// disturb lets something bad happen every now and then until the virtual time end: a machine loses power and comes back, a
// connection breaks, a link swallows what is sent, a host is cut off or stopped for a while, leadership is transferred.
func (c *Cluster) disturb(end time.Duration) {
	w := c.World
	stop := w.Now().Add(end)
	var next func()
	next = func() {
		if w.Now() >= stop {
			return
		}
		h, other := c.Hosts[w.IntN(len(c.Hosts))], c.Hosts[w.IntN(len(c.Hosts))]
		switch w.IntN(8) {
		case 0:
			h.Crash()
			w.After(w.Between(0, 300*time.Millisecond), func() {
				if err := h.Start(); err != nil {
					panic(err)
				}
			})
		case 1:
			c.CutAt = c.Operations + 1 + uint64(w.IntN(20)) // all of them
			w.After(400*time.Millisecond, func() {
				c.CutAt = 0
				if err := c.StartAll(); err != nil {
					panic(err)
				}
			})
		case 2:
			c.Network.Break(h.ID, other.ID)
		case 3:
			c.Network.Cut(h.ID, other.ID)
		case 4:
			c.Network.Isolate(h.ID)
		case 5:
			c.Network.Heal()
		case 6:
			h.Pause()
			w.After(w.Between(10*time.Millisecond, time.Second), h.Resume)
		case 7:
			if leader := c.Leader(); leader != nil {
				leader.Group.TransferAsync(h.ID, func(error) {})
			}
		}
		w.After(w.Between(10*time.Millisecond, 200*time.Millisecond), next)
	}
	next()
}

func faultyRun(seed uint64) (w *World, s *scribe, err error) {
	w = NewWorld(seed)
	members := 3 + 2*w.IntN(2)
	c, err := NewCluster(w, Options{
		Members: members, ElectionTimeout: 50 * time.Millisecond, NewState: newLedger,
		Limits: balsa.GroupLimits{FlushBytes: 1 + w.IntN(4000)},
	})
	if err != nil {
		return w, nil, err
	}
	if err := c.StartAll(); err != nil {
		return w, nil, err
	}
	s = &scribe{cluster: c}
	const length = 4 * time.Second
	c.disturb(length)
	for end := w.Now().Add(length); w.Now() < end; w.Step() {
		s.write(1000, 4)
	}
	return w, s, s.checkAfterwards()
}

// TestFaults writes through crashes, power cuts, broken and silent connections, and transfers; then everything heals, and
// what was acknowledged is there, once, everywhere.
func TestFaults(t *testing.T) {
	seeds := *seedCount
	acknowledged := 0
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
		_, s, err := faultyRun(seed)
		if err != nil {
			t.Fatal(err)
		}
		acknowledged += len(s.acknowledged)
	}
	if acknowledged < int(seeds)*50 {
		t.Errorf("only %d lines were acknowledged in %d runs: the faults left nothing to check", acknowledged, seeds)
	}
	t.Logf("%d runs, %d lines acknowledged", seeds, acknowledged)
}

// TestFaultsReplay runs some seeds twice: the production code, its disks and its network give the same trace.
func TestFaultsReplay(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, _, _ := faultyRun(seed)
		b, _, _ := faultyRun(seed)
		if a.TraceHash() != b.TraceHash() || a.Steps() != b.Steps() {
			t.Errorf("seed %d: %d steps with trace %x, then %d steps with %x", seed, a.Steps(), a.TraceHash(), b.Steps(), b.TraceHash())
		}
	}
}
