package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

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

// load lets clients work for a while. The run ends, for throughput and for CPU, only when all members have applied
// everything; and it counts only if they then have the same keys.
func load(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (report.Result, error) {
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
	defer s.measuring(ctx, cluster)()
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
	return report.Result{
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
