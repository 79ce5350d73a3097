package server

import (
	"math"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/balsadb/balsa/raft"
)

// watch adds what is read from the server when somebody looks, rather than counted as it happens.
func (m *Metrics) watch(s *Server) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("etcd_server_has_leader", "Whether a leader is known: 1 yes, 0 no.", func() float64 {
		return oneIf(s.group.Leadership().Leader != 0)
	})
	gauge("etcd_server_is_leader", "Whether this member leads: 1 yes, 0 no.", func() float64 {
		return oneIf(s.group.Leadership().Role == raft.Leader)
	})
	gauge("etcd_server_is_learner", "Whether this member is a learner: 1 yes, 0 no.", func() float64 { return 0 })
	gauge("etcd_server_quota_backend_bytes", "The logical size in bytes that the store may reach; +Inf where there is no limit but the disk.", func() float64 {
		if quota := s.store.Quota().Bytes; quota > 0 {
			return float64(quota)
		}
		return math.Inf(1) // so that alerts on the part that is used stay silent
	})
	m.registry.MustRegister(&alarmCollector{s, prometheus.NewDesc("etcd_debugging_server_alarms", "Alarms that stand.", []string{"server_id", "alarm_type"}, nil)})
	gauge("etcd_mvcc_db_total_size_in_bytes", "Logical bytes of all retained revisions.", func() float64 {
		return float64(s.store.Size())
	})
	gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Logical bytes of the retained revisions in use.", func() float64 {
		return float64(s.store.SizeInUse())
	})
	gauge("balsa_store_disk_bytes", "Physical bytes of the store on disk.", func() float64 {
		return float64(s.store.DiskBytes())
	})
	gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction.", func() float64 {
		return float64(s.store.CompactRevision())
	})
	gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", func() float64 {
		return float64(s.store.Revision())
	})
	gauge("etcd_server_proposals_pending", "Writes that wait for their answers.", func() float64 {
		return float64(s.group.Counters().Pending)
	})
	gauge("etcd_server_proposals_committed_total", "The last index that is known to be committed.", func() float64 {
		return float64(s.group.Counters().Committed)
	})
	gauge("etcd_server_proposals_applied_total", "The last index that was applied.", func() float64 {
		return float64(s.group.Counters().Applied)
	})
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "etcd_server_proposals_failed_total", Help: "Writes that were answered with an error of replication.",
	}, func() float64 { return float64(s.group.Counters().Failed) }))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "etcd_server_leader_changes_seen_total", Help: "How often this member learned of another leader.",
	}, func() float64 { return float64(s.group.Counters().LeaderChanges) }))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "balsa_log_entries_mended_total", Help: "Entries that this member's log had lost, and other members gave back.",
	}, func() float64 { return float64(s.group.Counters().EntriesMended) }))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "balsa_log_mended_bytes_total", Help: "Bytes of the entries that other members gave back.",
	}, func() float64 { return float64(s.group.Counters().BytesMended) }))
	gauge("balsa_leases", "Leases that exist.", func() float64 { return float64(s.store.LeaseCount()) })
	gauge("balsa_server_requests", "Requests in progress.", func() float64 { return float64(s.requests.n.Load()) })

	m.watchSnapshots(s.group)
	m.registry.MustRegister(newWatchCollector(s.store.WatchStats))

	constant := func(name, help, label, value string) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}})
		g.Set(1)
		m.registry.MustRegister(g)
	}
	constant("etcd_server_id", "This member's id, as a label.", "server_id", peerLabel(s.config.MemberID))
	constant("etcd_server_version", "The level of etcd's API that is spoken, as a label.", "server_version", version.Version)
	constant("etcd_server_go_version", "The Go version that built this, as a label.", "server_go_version", runtime.Version())
	constant("etcd_cluster_version", "The level of etcd's API of the cluster, as a label.", "cluster_version", version.APIVersion)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// alarmCollector shows the alarms that stand.
type alarmCollector struct {
	server *Server
	desc   *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *alarmCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c *alarmCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, a := range c.server.alarms(pb.AlarmType_NONE) {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, 1, peerLabel(raft.MemberID(a.MemberID)), a.Alarm.String())
	}
}
