package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// contender is a library with three members in this process.
type contender interface {
	// propose returns once the leader has applied an entry, which is the callee's from now on.
	propose(ctx context.Context, entry []byte) error
	// members are the state machines.
	members() []*counter
	close() error
}

// counter is the state machine: it knows how many entries there were, and a sum that depends on their order.
type counter struct {
	mu    sync.Mutex
	count uint64
	sum   uint64
}

var table = crc64.MakeTable(crc64.ECMA)

func (c *counter) apply(entry []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.sum = crc64.Update(c.sum, table, entry)
}

func (c *counter) state() (count, sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.sum
}

// The figures, in the order in which they are printed.
const (
	throughput    report.Figure = "entries a second"
	p50           report.Figure = "p50, ms"
	p99           report.Figure = "p99, ms"
	cpu           report.Figure = "CPU, µs an entry"
	deviceFlushes report.Figure = "device flushes an entry"
	entries       report.Figure = "entries"
)

var order = []report.Figure{throughput, p50, p99, cpu, deviceFlushes, entries}

// runHere is one run, in this process.
func (s *settings) runHere(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(s.dir, "balsa-bench-library-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := servers.OnDisk(dir); err != nil {
		return err
	}
	c, err := contenders[s.sides[0]](dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r, err := s.load(ctx, c, dir)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// warmUp is how long entries are proposed before anything counts.
const warmUp = time.Second

func (s *settings) load(ctx context.Context, c contender, dir string) (report.Result, error) {
	inFlight := s.inFlight[0]
	if _, err := s.propose(ctx, c, inFlight, warmUp); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	if err := settle(ctx, c); err != nil {
		return nil, err
	}
	if s.profile != "" {
		file, err := os.Create(s.profile)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	flushes, err := servers.DeviceFlushes(dir)
	if err != nil {
		return nil, err
	}
	used, begin := ownCPU(), time.Now()
	latencies, err := s.propose(ctx, c, inFlight, s.duration)
	if err != nil {
		return nil, err
	}
	if err := settle(ctx, c); err != nil {
		return nil, err
	}
	took, count := time.Since(begin), float64(latencies.TotalCount())
	used = ownCPU() - used
	flushed, err := servers.DeviceFlushes(dir)
	return report.Result{
		entries: count, throughput: count / took.Seconds(), cpu: float64(used.Microseconds()) / count,
		p50: float64(latencies.ValueAtQuantile(50)) / 1000, p99: float64(latencies.ValueAtQuantile(99)) / 1000,
		deviceFlushes: (flushed - flushes) / count,
	}, err
}

// propose keeps a number of entries in flight for a while, and returns their latencies in microseconds, to 1%.
func (s *settings) propose(ctx context.Context, c contender, inFlight int, duration time.Duration) (*hdrhistogram.Histogram, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := hdrhistogram.New(1, time.Minute.Microseconds(), 2)
	var mu sync.Mutex
	var group sync.WaitGroup
	begin := time.Now()
	for i := range inFlight {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			own := hdrhistogram.New(1, time.Minute.Microseconds(), 2)
			for ctx.Err() == nil {
				start := time.Now()
				if start.Sub(begin) >= duration {
					break
				}
				if err := c.propose(ctx, randomEntry(random, s.payload)); err != nil {
					cancel(err)
					return
				}
				if err := own.RecordValue(max(1, time.Since(start).Microseconds())); err != nil {
					cancel(err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(own)
		})
	}
	group.Wait()
	return all, context.Cause(ctx)
}

// randomEntry makes an entry that is like no other: its first bytes are random.
func randomEntry(random *rand.Rand, size int) []byte {
	entry := make([]byte, size)
	for i := range min(8, size) {
		entry[i] = byte(random.Uint32())
	}
	return entry
}

// settle waits until all members have applied as much, and returns an error where it was not the same.
func settle(ctx context.Context, c contender) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		members := c.members()
		count, sum := members[0].state()
		level := true
		for _, m := range members[1:] {
			n, s := m.state()
			if n == count && s != sum {
				return fmt.Errorf("after %d entries the members differ: sums %x and %x", n, sum, s)
			}
			level = level && n == count
		}
		if level {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the members do not get level: %w", context.Cause(ctx))
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// leads waits until one of several members says that it leads.
func leads(n int, says func(member int) bool) (int, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for i := range n {
			if says(i) {
				return i, nil
			}
		}
	}
	return 0, errors.New("nobody leads after a minute")
}

func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
