package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/balsadb/balsa/store"
)

// watchCollector reads the store's counts of watchers when somebody looks.
type watchCollector struct {
	stats                                  func() store.WatchStats
	streams, watchers, slow, events, waits *prometheus.Desc
	bytes, lag                             *prometheus.Desc
}

func newWatchCollector(stats func() store.WatchStats) *watchCollector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &watchCollector{
		stats:    stats,
		streams:  desc("etcd_debugging_mvcc_watch_stream_total", "Watch streams."),
		watchers: desc("etcd_debugging_mvcc_watcher_total", "Watchers."),
		slow:     desc("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind, and read the history to catch up."),
		events:   desc("etcd_debugging_mvcc_events_total", "Events that were handed to watchers."),
		waits:    desc("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent to watchers."),
		bytes:    desc("balsa_watch_pending_bytes", "Bytes of events that wait to be sent to watchers."),
		lag:      desc("balsa_watch_lag_revisions", "Revisions that the watcher that is furthest behind was not told yet."),
	}
}

func (c *watchCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

func (c *watchCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.stats()
	gauge := func(desc *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	gauge(c.streams, float64(stats.Feeds))
	gauge(c.watchers, float64(stats.Watchers))
	gauge(c.slow, float64(stats.Late))
	gauge(c.waits, float64(stats.Pending))
	gauge(c.bytes, float64(stats.PendingBytes))
	gauge(c.lag, float64(stats.Lag))
	out <- prometheus.MustNewConstMetric(c.events, prometheus.CounterValue, float64(stats.Events))
}
