package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/balsadb/balsa"
)

// snapshotTeller is a group that tells how its snapshots are doing.
type snapshotTeller interface {
	Snapshots() []balsa.SnapshotProgress
}

// watchSnapshots adds what is known of snapshots: how many, how many bytes, and how far those are that are under way.
func (m *Metrics) watchSnapshots(g interface{ Counters() balsa.Counters }) {
	counter := func(name, help string, value func(balsa.Counters) uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value(g.Counters())) }))
	}
	counter("balsa_snapshots_sent_total", "Snapshots that other members took from this one.",
		func(c balsa.Counters) uint64 { return c.SnapshotsSent })
	counter("balsa_snapshots_installed_total", "Snapshots that took the place of this member's state.",
		func(c balsa.Counters) uint64 { return c.SnapshotsInstalled })
	counter("balsa_snapshots_resumed_total", "Snapshots that went on from what was kept here of an earlier attempt.",
		func(c balsa.Counters) uint64 { return c.SnapshotsResumed })
	counter("balsa_snapshots_delegated_total", "Snapshots that this member had others send while it led.",
		func(c balsa.Counters) uint64 { return c.SnapshotsDelegated })
	counter("balsa_snapshot_sent_bytes_total", "Bytes of snapshots that were sent.",
		func(c balsa.Counters) uint64 { return c.SnapshotBytesSent })
	counter("balsa_snapshot_received_bytes_total", "Bytes of snapshots that were received.",
		func(c balsa.Counters) uint64 { return c.SnapshotBytesTaken })
	if teller, ok := g.(snapshotTeller); ok {
		m.registry.MustRegister(snapshotCollector{teller})
	}
}

var (
	snapshotDone = prometheus.NewDesc("balsa_snapshot_done_bytes", "Bytes of a snapshot under way that are done.", []string{"stage", "peer"}, nil)
	snapshotSize = prometheus.NewDesc("balsa_snapshot_size_bytes", "Bytes of a snapshot under way, 0 while that is not known.", []string{"stage", "peer"}, nil)
)

// snapshotCollector shows what is under way at the moment, and nothing while nothing is.
type snapshotCollector struct{ group snapshotTeller }

// Describe implements prometheus.Collector.
func (snapshotCollector) Describe(to chan<- *prometheus.Desc) {
	to <- snapshotDone
	to <- snapshotSize
}

// Collect implements prometheus.Collector.
func (c snapshotCollector) Collect(to chan<- prometheus.Metric) {
	type key struct{ stage, peer string }
	seen := map[key]bool{}
	for _, p := range c.group.Snapshots() {
		k := key{string(p.Stage), ""}
		if p.Peer != 0 {
			k.peer = peerLabel(p.Peer)
		}
		if seen[k] {
			continue // the former one is just ending
		}
		seen[k] = true
		to <- prometheus.MustNewConstMetric(snapshotDone, prometheus.GaugeValue, float64(p.Done), k.stage, k.peer)
		to <- prometheus.MustNewConstMetric(snapshotSize, prometheus.GaugeValue, float64(p.Total), k.stage, k.peer)
	}
}
