package balsa

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

// counter is the cheapest state machine: what is measured is the way to it.
type counter struct{ n uint64 }

func (c *counter) Apply(b *Batch) error {
	c.n += uint64(len(b.Commands))
	return nil
}

// BenchmarkPropose replicates commands of 128 bytes over three members in one process, through loopback TCP and real
// files, proposed at the leader, and ends when all members have applied them. Reported: CPU of all members and the proposers
// per entry, and syncs of all members per entry.
func BenchmarkPropose(b *testing.B) {
	for _, inFlight := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) { benchmarkPropose(b, inFlight, false) })
	}
	b.Run("inflight=1000/everywhere", func(b *testing.B) { benchmarkPropose(b, 1000, true) })
}

func benchmarkPropose(b *testing.B, inFlight int, everywhere bool) {
	c := newTCPTrio(b, func(int) StateMachine { return &counter{} })
	c.propose(0, "warm up")
	leader := c.leader(0)
	c.converge()
	syncs := c.syncs()
	cpu := cpuTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	c.drive(inFlight, b.N, func(i int) *Group {
		if everywhere {
			return c.groups[i%3]
		}
		return c.groups[leader]
	})
	c.converge()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1000, "cpu-µs/entry")
	b.ReportMetric(float64(c.syncs()-syncs)/float64(b.N), "syncs/entry")
}

// drive keeps inFlight proposals under way until total were answered.
func (c *trio) drive(inFlight, total int, group func(i int) *Group) {
	var left sync.WaitGroup
	payload := make([]byte, 128)
	for lane := range min(inFlight, total) {
		g := group(lane)
		count := total/inFlight + min(1, max(0, total%inFlight-lane))
		if count == 0 {
			continue
		}
		left.Add(1)
		var done func(Result, error)
		next := func() {
			g.ProposeEntry(raft.SealedEntry(raft.EntryNormal, payload), 0, done)
		}
		done = func(_ Result, err error) {
			if err != nil {
				c.t.Error(err)
			}
			if count--; count > 0 {
				next()
			} else {
				left.Done()
			}
		}
		next()
	}
	left.Wait()
}

func (c *trio) syncs() (total uint64) {
	for _, h := range c.hosts {
		total += h.LogStats().Syncs
	}
	return total
}

// BenchmarkReadBarrier measures read barriers on a follower.
func BenchmarkReadBarrier(b *testing.B) {
	c := newTCPTrio(b, func(int) StateMachine { return &counter{} })
	c.propose(0, "warm up")
	follower := (c.leader(0) + 1) % 3
	for _, inFlight := range []int{1, 100} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			var running sync.WaitGroup
			for lane := range inFlight {
				running.Go(func() {
					for i := lane; i < b.N; i += inFlight {
						if _, err := c.groups[follower].ReadBarrier(within(b)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			running.Wait()
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
