package server

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// PeerRoundTrip counts a round trip that was measured: it is transport.TCPConfig's OnRoundTrip.
func (m *Metrics) PeerRoundTrip(peer raft.MemberID, roundTrip time.Duration) {
	m.roundTrips.WithLabelValues(peerLabel(peer)).Observe(roundTrip.Seconds())
}

func (m *Metrics) peerMetrics() {
	m.roundTrips = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "etcd_network_peer_round_trip_time_seconds",
		Help:    "How long a message to a peer and back takes.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	}, []string{"To"})
	m.registry.MustRegister(m.roundTrips)
}

// WatchPeers shows what the transport has counted.
func (m *Metrics) WatchPeers(self raft.MemberID, stats func() transport.Stats) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m.registry.MustRegister(&peerCollector{
		self: self, stats: stats,
		sent:        desc("etcd_network_peer_sent_bytes_total", "Bytes sent to a peer.", "To"),
		received:    desc("etcd_network_peer_received_bytes_total", "Bytes received from a peer.", "From"),
		dropped:     desc("etcd_network_peer_sent_failures_total", "Frames that could not be sent to a peer.", "To"),
		active:      desc("etcd_network_active_peers", "Whether there is a connection to a peer: 1 yes, 0 no.", "Local", "Remote"),
		breaks:      desc("etcd_network_disconnected_peers_total", "Connections to a peer that broke.", "Local", "Remote"),
		queuedBytes: desc("balsa_transport_queued_bytes", "Bytes that wait to be sent to a peer.", "To"),
		malformed:   desc("balsa_transport_malformed_total", "Connections that ended because of bytes that no peer would send."),
		refused:     desc("balsa_transport_refused_total", "Handshakes that were refused, by this member or by peers."),
		strangers:   desc("balsa_transport_strangers_total", "Connections that ended before a handshake."),
	})
}

// peerCollector reads the transport's counts when somebody looks.
type peerCollector struct {
	self                                                 raft.MemberID
	stats                                                func() transport.Stats
	sent, received, dropped, active, breaks, queuedBytes *prometheus.Desc
	malformed, refused, strangers                        *prometheus.Desc
}

func (c *peerCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

func (c *peerCollector) Collect(out chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	stats, self := c.stats(), peerLabel(c.self)
	count(c.malformed, stats.Malformed)
	count(c.refused, stats.Refused)
	count(c.strangers, stats.Strangers)
	for _, p := range stats.Peers {
		peer := peerLabel(p.Peer)
		count(c.sent, p.SentBytes, peer)
		count(c.received, p.ReceivedBytes, peer)
		count(c.dropped, p.Dropped, peer)
		gauge(c.active, oneIf(!p.ConnectedSince.IsZero()), self, peer)
		count(c.breaks, p.Breaks, self, peer)
		gauge(c.queuedBytes, float64(p.QueuedBytes), peer)
	}
}

// peerLabel writes a member's id as etcdctl does.
func peerLabel(id raft.MemberID) string { return fmt.Sprintf("%x", uint64(id)) }
