package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/balsadb/balsa"
)

// Metrics collects what /metrics shows, in a registry of its own. What means the same as in etcd has etcd's
// name, so that dashboards and alerts go on working; what only Balsa has starts with balsa_.
//
// It observes the host too: give it to the host's configuration as its Observer.
type Metrics struct {
	balsa.NoObserver
	registry *prometheus.Registry

	fsync, logWrite, flush, applied prometheus.Observer
	logBytes, logEntries            prometheus.Counter
	appliedCommands                 prometheus.Counter
	troubles                        *prometheus.GaugeVec
	troublesBegun                   *prometheus.CounterVec

	rpcStarted, rpcHandled       *prometheus.CounterVec
	rpcReceived, rpcSent         *prometheus.CounterVec
	requestDuration, rpcHandling *prometheus.HistogramVec
	clientReceived, clientSent   prometheus.Counter
	roundTrips                   *prometheus.HistogramVec
	healthSuccess, healthFailure prometheus.Counter
	checkState                   *prometheus.GaugeVec
	checks                       *prometheus.CounterVec

	leaseGranted, leaseRevoked, leaseRenewed, leaseExpired prometheus.Counter
	leaseTTL                                               prometheus.Observer
}

// NewMetrics returns metrics that nothing was counted in yet.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.hostMetrics()
	m.rpcMetrics()
	m.healthMetrics()
	m.peerMetrics()
	m.leaseMetrics()
	return m
}

// Registry is where further collectors of this process can be registered.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

func (m *Metrics) hostMetrics() {
	milliseconds := prometheus.ExponentialBuckets(0.001, 2, 14) // etcd's, so that quantiles compare
	m.fsync = m.histogram("etcd_disk_wal_fsync_duration_seconds", "How long syncs of the log take.", milliseconds)
	m.logWrite = m.histogram("etcd_disk_wal_write_duration_seconds", "How long writes of the log take.", milliseconds)
	m.flush = m.histogram("etcd_disk_backend_commit_duration_seconds",
		"How long it takes to make the state machine's changes durable.", milliseconds)
	m.applied = m.histogram("balsa_apply_batch_duration_seconds", "How long a batch of commands takes to apply.",
		prometheus.ExponentialBuckets(0.0001, 2, 20))
	m.logBytes = m.counter("etcd_disk_wal_write_bytes_total", "Bytes of entries that were written to the log.")
	m.logEntries = m.counter("balsa_log_entries_written_total", "Entries that were written to the log.")
	m.appliedCommands = m.counter("balsa_apply_commands_total", "Commands that were applied.")
	m.troubles = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "balsa_troubles", Help: "Troubles of this member that stand; balsa status says which, and what to do.",
	}, []string{"kind"})
	m.troublesBegun = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "balsa_troubles_begun_total", Help: "Troubles of this member that began.",
	}, []string{"kind"})
	m.registry.MustRegister(m.troubles, m.troublesBegun)
}

func (m *Metrics) healthMetrics() {
	m.healthSuccess = m.counter("etcd_server_health_success", "How often /health said that the member is well.")
	m.healthFailure = m.counter("etcd_server_health_failures", "How often /health said that the member is not well.")
	m.checkState = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "etcd_server_healthcheck", Help: "The last result of each check: 1 passed, 0 failed.",
	}, []string{"type", "name"})
	m.checks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "etcd_server_healthchecks_total", Help: "Results of each check.",
	}, []string{"type", "name", "status"})
	m.registry.MustRegister(m.checkState, m.checks)
}

// leaseMetrics are counted where a client asks, and expiries where the leader is, rather than on every member: add them up.
func (m *Metrics) leaseMetrics() {
	m.leaseGranted = m.counter("etcd_debugging_lease_granted_total", "Leases that were granted to clients of this member.")
	m.leaseRevoked = m.counter("etcd_debugging_lease_revoked_total", "Leases that clients of this member revoked.")
	m.leaseRenewed = m.counter("etcd_debugging_lease_renewed_total", "Keep-alives of clients of this member that found their lease.")
	m.leaseExpired = m.counter("etcd_server_lease_expired_total", "Leases that ended while this member led, since their time was over.")
	m.leaseTTL = m.histogram("etcd_debugging_lease_ttl_total", "Times to live in seconds of the leases that were granted.",
		prometheus.ExponentialBuckets(1, 2, 24))
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// LogWritten implements balsa.Observer.
func (m *Metrics) LogWritten(w balsa.LogWritten) {
	m.logWrite.Observe(w.Write.Seconds())
	m.fsync.Observe(w.Sync.Seconds())
	m.logBytes.Add(float64(w.Bytes))
	m.logEntries.Add(float64(w.Entries))
}

// BatchApplied implements balsa.Observer.
func (m *Metrics) BatchApplied(_ balsa.GroupID, commands int, took time.Duration) {
	m.applied.Observe(took.Seconds())
	m.appliedCommands.Add(float64(commands))
}

// Flushed implements balsa.Observer.
func (m *Metrics) Flushed(_ balsa.GroupID, took time.Duration) { m.flush.Observe(took.Seconds()) }

// TroubleChanged implements balsa.Observer.
func (m *Metrics) TroubleChanged(trouble balsa.Trouble, stands bool) {
	if !stands {
		m.troubles.WithLabelValues(trouble.Kind).Dec()
		return
	}
	m.troubles.WithLabelValues(trouble.Kind).Inc()
	m.troublesBegun.WithLabelValues(trouble.Kind).Inc()
}

var _ balsa.Observer = (*Metrics)(nil)
