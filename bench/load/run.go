package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/balsadb/balsa/bench/servers"
)

// result is what one run gave: named figures.
type result map[figure]float64

// figure is the name of a figure, with its unit.
type figure string

// The figures.
const (
	throughput    figure = "requests a second"
	p50           figure = "p50, ms"
	p99           figure = "p99, ms"
	serverCPU     figure = "server CPU, µs a request"
	clientCPU     figure = "client CPU, µs a request"
	logSyncs      figure = "log fdatasyncs a request"
	stateSyncs    figure = "state fdatasyncs a request"
	deviceFlushes figure = "device flushes a request"
	requests      figure = "requests"

	failoverTime figure = "until a write succeeds, ms"

	resident  figure = "resident memory of a member, MiB"
	diskBytes figure = "disk of a member, MiB"
	loadTime  figure = "time to put them, s"
)

func (r result) String() string {
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", f, r[f]))
	}
	return strings.Join(parts, "; ")
}

// warmUp is how long clients work before anything counts: connections are made, heaps have grown.
const warmUp = time.Second

// load lets clients work for a while. The run ends, for throughput and for CPU, only when all members have applied
// everything; and it counts only if they then have the same keys.
func load(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (result, error) {
	f, err := newFleet(ctx, s, cluster, sc)
	if err != nil {
		return nil, err
	}
	defer f.close()
	w := work{request: sc.request, duration: warmUp, limit: s.operations, rate: sc.rate}
	if _, _, err := f.run(ctx, w); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	if err := cluster.AwaitApplied(ctx); err != nil {
		return nil, err
	}
	before, err := cluster.Cost(ctx)
	if err != nil {
		return nil, err
	}
	own := ownCPU()
	begin := time.Now()
	w.duration = s.duration
	n, latencies, err := f.run(ctx, w)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("no request succeeded in %v", s.duration)
	}
	own = ownCPU() - own
	if err := cluster.AwaitApplied(ctx); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := cluster.Cost(ctx)
	if err != nil {
		return nil, err
	}
	cost := after.Sub(before)
	count := float64(n)
	return result{
		requests: count, throughput: count / took.Seconds(),
		p50: float64(latencies.ValueAtQuantile(50)) / 1000, p99: float64(latencies.ValueAtQuantile(99)) / 1000,
		serverCPU: float64(cost.CPU.Microseconds()) / count, clientCPU: float64(own.Microseconds()) / count,
		logSyncs: cost.LogSyncs / count, stateSyncs: cost.StateSyncs / count, deviceFlushes: cost.DeviceFlushes / count,
	}, cluster.Agree(ctx)
}

// ownCPU is the processor time of this process: the clients', and what it takes to read the servers' logs.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
