package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// scribe proposes numbered lines, a few at a time, to whichever hosts are up, and remembers what was acknowledged.
type scribe struct {
	cluster      *Cluster
	next         int
	open         int
	acknowledged []string
	refused      []string
}

func (s *scribe) write(total, atOnce int) {
	for s.next < total && s.open < atOnce {
		h := s.cluster.Hosts[s.cluster.World.IntN(len(s.cluster.Hosts))]
		if !h.Up() {
			return
		}
		line := fmt.Sprintf("line-%04d", s.next)
		s.next++
		s.open++
		life := h.life
		h.Group.ProposeEntry(raft.SealedEntry(raft.EntryNormal, []byte(line)), time.Second, func(_ balsa.Result, err error) {
			s.open--
			if life.over {
				return // nobody was there to be told
			}
			switch {
			case err == nil:
				s.acknowledged = append(s.acknowledged, line)
			case !errors.Is(err, balsa.ErrOutcomeUnknown):
				s.refused = append(s.refused, line)
			}
		})
	}
}

// powerCut runs a scripted history, cuts the power of all hosts before disk operation cutAt, starts them
// again, and checks that everything that was acknowledged is there, once, and equally everywhere. It returns how many disk
// operations there were.
func scriptedPowerCut(seed, cutAt uint64, ignoreSync bool) (operations uint64, err error) {
	w := NewWorld(seed)
	c, err := NewCluster(w, Options{
		Members: 3, ElectionTimeout: 50 * time.Millisecond, NewState: newLedger, IgnoreSync: ignoreSync,
		Limits: balsa.GroupLimits{FlushBytes: 600},
	})
	if err != nil {
		return 0, err
	}
	c.CutAt = cutAt
	if err := c.StartAll(); err != nil {
		return 0, err
	}
	const lines = 24
	s := &scribe{cluster: c}
	for end := w.Now().Add(3 * time.Second); w.Now() < end && len(s.acknowledged) < lines; {
		s.write(lines, 3)
		if !w.Step() || c.CutAt > 0 && c.Operations >= c.CutAt {
			break
		}
	}
	operations = c.Operations
	if cutAt == 0 {
		c.PowerCut()
	}
	return operations, s.checkAfterwards()
}

func (s *scribe) checkAfterwards() error {
	c := s.cluster
	if err := c.Converge(20*time.Second, raft.SealedEntry(raft.EntryNormal, []byte("the end"))); err != nil {
		return err
	}
	if err := c.CheckDigests(); err != nil {
		return err
	}
	l := c.Hosts[0].State.(*ledger)
	for _, line := range s.acknowledged {
		if n := l.has(line); n != 1 {
			return fmt.Errorf("seed %d: %s was acknowledged, and is there %d times", c.World.Seed(), line, n)
		}
	}
	for _, line := range s.refused {
		if l.has(line) != 0 {
			return fmt.Errorf("seed %d: %s was refused as not appended, and is there", c.World.Seed(), line)
		}
	}
	for i, line := range l.lines {
		if line != "the end" && slices.Contains(l.lines[:i], line) {
			return fmt.Errorf("seed %d: %s is there twice", c.World.Seed(), line)
		}
	}
	return nil
}

// TestPowerCutAtEveryWriteBoundary cuts the power of all members before each disk operation of one history.
func TestPowerCutAtEveryWriteBoundary(t *testing.T) {
	total, err := scriptedPowerCut(1, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if total < 60 {
		t.Fatalf("the history has only %d disk operations", total)
	}
	for cut := uint64(1); cut <= total; cut++ {
		if _, err := scriptedPowerCut(1, cut, false); err != nil {
			t.Fatalf("power cut before operation %d of %d: %v", cut, total, err)
		}
	}
	t.Logf("%d disk operations, the power cut before each", total)
}

// TestPowerCutAtRandom does the same on other histories, at a random operation each.
func TestPowerCutAtRandom(t *testing.T) {
	seeds := 300
	if testing.Short() {
		seeds = 30
	}
	for seed := uint64(100); seed < 100+uint64(seeds); seed++ {
		if _, err := scriptedPowerCut(seed, 1+NewWorld(seed).Uint64()%160, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCutNeedsSync shows that the tests above can fail: with disks that lie about Sync, they must.
func TestPowerCutNeedsSync(t *testing.T) {
	for seed := uint64(100); seed < 200; seed++ {
		_, err := scriptedPowerCut(seed, 1+NewWorld(seed).Uint64()%160, true)
		if err != nil {
			if !strings.Contains(err.Error(), fmt.Sprint("seed ", seed)) {
				t.Errorf("the error does not name the seed: %v", err)
			}
			t.Logf("found after %d seeds: %v", seed-99, err)
			return
		}
	}
	t.Error("the power was cut a hundred times on disks that keep nothing, and nobody noticed")
}
