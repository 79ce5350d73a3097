package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// The figures, in the order in which they are printed.
const (
	throughput    report.Figure = "requests a second"
	p50           report.Figure = "p50, ms"
	p99           report.Figure = "p99, ms"
	serverCPU     report.Figure = "server CPU, µs a request"
	clientCPU     report.Figure = "client CPU, µs a request"
	logSyncs      report.Figure = "log fdatasyncs a request"
	stateSyncs    report.Figure = "state fdatasyncs a request"
	deviceFlushes report.Figure = "device flushes a request"
	requests      report.Figure = "requests"
	failoverTime  report.Figure = "until a write succeeds, ms"
	resident      report.Figure = "resident memory, MiB a member"
	diskBytes     report.Figure = "disk, MiB a member"
	loadTime      report.Figure = "time to put them, s"

	eventRate      report.Figure = "events a second"
	eventCPU       report.Figure = "server CPU, µs an event"
	watchCPU       report.Figure = "beyond the requests', µs an event" // what the same requests cost without watchers
	eventClientCPU report.Figure = "client CPU, µs an event"
	openTime       report.Figure = "time to open them, s"
	watcherBytes   report.Figure = "memory, KiB a watcher"
	toldBytes      report.Figure = "when all are told, KiB"
)

var order = []report.Figure{
	eventRate, eventCPU, watchCPU, eventClientCPU, openTime, watcherBytes, toldBytes,
	throughput, p50, p99, serverCPU, clientCPU, logSyncs, stateSyncs, deviceFlushes, requests,
	failoverTime, resident, diskBytes, loadTime,
}

// warmUp is how long clients work before anything counts: connections are made, heaps have grown.
const warmUp = time.Second

// load lets clients work for a while; it counts only if all members then have the same keys.
func load(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (report.Result, error) {
	f, err := newFleet(ctx, s, cluster, sc)
	if err != nil {
		return nil, err
	}
	defer f.close()
	result, err := s.measured(ctx, cluster, func(d time.Duration) (int64, *hdrhistogram.Histogram, error) {
		return f.run(ctx, work{request: sc.request, duration: d, limit: s.operations, rate: sc.rate})
	})
	if err != nil {
		return nil, err
	}
	return result, cluster.Agree(ctx)
}

// measured lets clients warm up and then work, and says what each of their requests took of them and of the members. The run ends,
// for throughput and for CPU, only when all members have applied everything.
func (s *settings) measured(
	ctx context.Context, cluster *servers.Servers, run func(time.Duration) (int64, *hdrhistogram.Histogram, error),
) (report.Result, error) {
	if _, _, err := run(warmUp); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	if err := cluster.AwaitApplied(ctx); err != nil {
		return nil, err
	}
	defer s.measuring(ctx, cluster)()
	before, err := cluster.Cost(ctx)
	if err != nil {
		return nil, err
	}
	own, begin := ownCPU(), time.Now()
	n, latencies, err := run(s.duration)
	if err == nil && n == 0 {
		err = fmt.Errorf("no request succeeded in %v", s.duration)
	}
	if err != nil {
		return nil, err
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
	return report.Result{
		requests: count, throughput: count / took.Seconds(),
		p50: float64(latencies.ValueAtQuantile(50)) / 1000, p99: float64(latencies.ValueAtQuantile(99)) / 1000,
		serverCPU: float64(cost.CPU.Microseconds()) / count, clientCPU: float64(own.Microseconds()) / count,
		logSyncs: cost.LogSyncs / count, stateSyncs: cost.StateSyncs / count, deviceFlushes: cost.DeviceFlushes / count,
	}, nil
}

// ownCPU is the processor time of this process: the clients', and what it takes to read the servers' logs.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
