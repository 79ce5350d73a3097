package sim

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// ways says who is heard by whom: ways[from][to].
type ways [][]bool

func allWays(n int) ways {
	w := make(ways, n)
	for i := range w {
		w[i] = make([]bool, n)
		for j := range w[i] {
			w[i][j] = true
		}
	}
	return w
}

// majorityTalks reports whether there is a majority in which everybody hears everybody.
func (w ways) majorityTalks() bool {
	n := len(w)
	for set := range 1 << n {
		size, whole := 0, true
		for i := range n {
			if set>>i&1 == 0 {
				continue
			}
			size++
			for j := range n {
				whole = whole && (set>>j&1 == 0 || w[i][j])
			}
		}
		if whole && size > n/2 {
			return true
		}
	}
	return false
}

// TestE06PartialPartitions: under every partial partition in which some majority can talk there is a leader, and commands are
// committed, in bounded time (the bound is in election timeouts of virtual time). All one-way cuts of three members are gone
// through; of four and five members bridges, rings, and many at random. The leader is elected before the links are cut, or after.
func TestE06PartialPartitions(t *testing.T) {
	tried := 0
	try := func(name string, w ways) {
		if !w.majorityTalks() {
			return
		}
		tried++
		for seed := range uint64(2) {
			if err := partial(seed+1, w, seed == 0); err != nil {
				t.Errorf("%s, %v, seed %d: %v", name, w, seed+1, err)
			}
		}
	}
	for cuts := range 1 << 6 {
		w, bit := allWays(3), 0
		for i := range 3 {
			for j := range 3 {
				if i != j {
					w[i][j] = cuts>>bit&1 == 0
					bit++
				}
			}
		}
		try("one-way cuts of three", w)
	}
	for n := 4; n <= 5; n++ {
		for parts := range 1 << n {
			w := allWays(n)
			for i := 1; i < n; i++ {
				for j := 1; j < n; j++ {
					w[i][j] = parts>>i&1 == parts>>j&1
				}
			}
			if parts&1 == 0 {
				try("bridge", w)
			}
		}
	}
	random := rand.New(rand.NewPCG(6, 6))
	for range 60 {
		n := 4 + random.IntN(2)
		w := allWays(n)
		for range 1 + random.IntN(n*2) {
			i, j := random.IntN(n), random.IntN(n)
			w[i][j] = i == j
		}
		try("one-way cuts", w)
	}
	if tried < 60 {
		t.Errorf("only %d partitions were tried", tried)
	}
	t.Logf("%d partitions", tried)
}

// partial cuts the links of a cluster, with a leader or before there is one, and demands progress.
func partial(seed uint64, w ways, settled bool) error {
	const timeout = 100 * time.Millisecond
	world := NewWorld(seed)
	c, err := NewCluster(world, Options{Members: len(w), ElectionTimeout: timeout, NewState: newLedger})
	if err != nil {
		return err
	}
	if err := c.StartAll(); err != nil {
		return err
	}
	if settled {
		if err := world.RunUntil(40*timeout, func() bool { return c.Leader() != nil }); err != nil {
			return err
		}
	}
	for i := range w {
		for j := range w {
			if !w[i][j] {
				c.Network.Cut(c.Hosts[i].ID, c.Hosts[j].ID)
			}
		}
	}
	for round := range 3 { // and it stays so
		if err := world.RunUntil(40*timeout, committing(c, fmt.Sprint("round ", round))); err != nil {
			return err
		}
		world.Run(20 * timeout)
	}
	return nil
}

// committing asks all members again and again, until one of them has committed something.
func committing(c *Cluster, text string) func() bool {
	done, asked, next := false, 0, c.World.Now()
	return func() bool {
		if !done && c.World.Now() >= next {
			next = c.World.Now().Add(c.options.ElectionTimeout)
			h := c.Hosts[asked%len(c.Hosts)]
			asked++
			entry := raft.SealedEntry(raft.EntryNormal, fmt.Append(nil, text, asked))
			h.Group.ProposeEntry(entry, 2*c.options.ElectionTimeout, func(_ balsa.Result, err error) { done = done || err == nil })
		}
		return done
	}
}
