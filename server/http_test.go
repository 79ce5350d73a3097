package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

func request(s *Server, method, target string) (status int, body string, header http.Header) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	text, _ := io.ReadAll(w.Body)
	return w.Code, string(text), w.Header()
}

// The expected answers were observed at the reference server.
func TestHTTPEndpoints(t *testing.T) {
	member := startStore(t)
	for _, test := range []struct {
		target string
		status int
		body   string
	}{
		{"/version", 200, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{"/health", 200, `{"health":"true","reason":""}`},
		{"/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{"/health?exclude=NOSPACE", 200, `{"health":"true","reason":""}`},
		{"/livez", 200, "ok\n"},
		{"/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"/livez?exclude=serializable_read", 200, "ok\n"},
		{"/livez?exclude=nonsense&verbose", 200, "[+]serializable_read ok\nok\n"},
		{"/livez/serializable_read", 200, "ok\n"},
		{"/readyz", 200, "ok\n"},
		{"/readyz?verbose", 200, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"},
		{"/readyz?verbose&exclude=data_corruption&exclude=non_learner", 200, "[+]serializable_read ok\n[+]linearizable_read ok\nok\n"},
		{"/readyz/linearizable_read?verbose", 200, "[+]linearizable_read ok\nok\n"},
		{"/readyz/nonsense", 404, "404 page not found\n"},
		{"/", 404, "404 page not found\n"},
	} {
		if status, body, _ := request(member.server, http.MethodGet, test.target); status != test.status || body != test.body {
			t.Errorf("GET %s: %d %q, want %d %q", test.target, status, body, test.status, test.body)
		}
	}
	for _, target := range []string{"/version", "/health", "/livez", "/readyz/non_learner"} {
		for _, method := range []string{http.MethodPost, http.MethodHead} {
			status, _, header := request(member.server, method, target)
			if status != http.StatusMethodNotAllowed || header.Get("Allow") != "GET" {
				t.Errorf("%s %s: %d, allowed %q", method, target, status, header.Get("Allow"))
			}
		}
	}
}

// A member without a leader is not ready, but alive: to restart it would help nobody.
func TestHealthWithoutALeader(t *testing.T) {
	member := startStore(t)
	member.group.leadership.Store(&raft.Leadership{Term: 4})
	member.group.read = func() error { return balsa.ErrClosed }
	for _, test := range []struct {
		target string
		status int
		body   string
	}{
		{"/health", 503, `{"health":"false","reason":"RAFT NO LEADER"}`},
		{"/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{"/livez", 200, "ok\n"},
		{"/readyz", 503, "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: " +
			"rpc error: code = Unavailable desc = etcdserver: server stopped\n[+]non_learner ok\nreadyz check failed\n"},
		{"/readyz?exclude=linearizable_read", 200, "ok\n"},
	} {
		if status, body, _ := request(member.server, http.MethodGet, test.target); status != test.status || body != test.body {
			t.Errorf("GET %s: %d %q, want %d %q", test.target, status, body, test.status, test.body)
		}
	}
	_, metrics, _ := request(member.server, http.MethodGet, "/metrics")
	for _, line := range []string{
		"etcd_server_has_leader 0", "etcd_server_health_failures 1", "etcd_server_health_success 1",
		`etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0`, `etcd_server_healthcheck{name="serializable_read",type="livez"} 1`,
		`etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 1`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

func TestHandlersOfTheProcessAreServedToo(t *testing.T) {
	kvs, group := newStore(t)
	s, _ := start(t, Config{Group: group, Store: kvs, Handlers: map[string]http.Handler{
		"/balsa/": http.RedirectHandler("/elsewhere", http.StatusFound),
	}})
	if status, _, _ := request(s, http.MethodGet, "/balsa/x"); status != http.StatusFound {
		t.Errorf("status %d", status)
	}
}

// Dashboards and alerts that were made for etcd ask for these.
func TestMetricsHaveEtcdsNames(t *testing.T) {
	kvs, group := newStore(t)
	m := NewMetrics()
	s, address := start(t, Config{Group: group, Store: kvs, Metrics: m, ExtensiveMetrics: true})
	client := newClient(t, address)
	if _, err := client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "", "v"); err == nil {
		t.Fatal("a put without key succeeded")
	}
	m.LogWritten(balsa.LogWritten{Entries: 3, Bytes: 100, Write: 1, Sync: 1})
	m.BatchApplied(1, 3, 1)
	m.Flushed(1, 1)
	m.PeerRoundTrip(0x2a, 1)
	m.WatchPeers(1, func() transport.Stats {
		return transport.Stats{Malformed: 5, Peers: []transport.PeerStats{{Peer: 0x2a, SentBytes: 11, ReceivedBytes: 12, Breaks: 13}}}
	})
	_, metrics, _ := request(s, http.MethodGet, "/metrics")
	put := `grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"`
	for _, line := range []string{
		"etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_server_is_learner 0", "etcd_server_leader_changes_seen_total 0",
		"etcd_server_proposals_committed_total 1", "etcd_server_proposals_applied_total 1", "etcd_server_proposals_pending 0",
		"etcd_server_proposals_failed_total 0", "etcd_server_quota_backend_bytes +Inf", `etcd_server_id{server_id="1"} 1`,
		`etcd_server_version{server_version="3.7.3"} 1`, `etcd_cluster_version{cluster_version="3.7"} 1`,
		`etcd_server_request_duration_seconds_count{success="true",type="Put"} 1`,
		`etcd_server_request_duration_seconds_count{success="false",type="Put"} 1`,
		"etcd_disk_wal_fsync_duration_seconds_count 1", "etcd_disk_wal_write_bytes_total 100", "etcd_disk_backend_commit_duration_seconds_count 1",
		"etcd_debugging_mvcc_current_revision 2", "etcd_debugging_mvcc_compact_revision -1",
		"grpc_server_started_total{" + put + "} 2", "grpc_server_msg_received_total{" + put + "} 2", "grpc_server_msg_sent_total{" + put + "} 1",
		`grpc_server_handled_total{grpc_code="OK",` + put + "} 1", `grpc_server_handled_total{grpc_code="InvalidArgument",` + put + "} 1",
		"grpc_server_handling_seconds_count{" + put + "} 2",
		`etcd_network_peer_round_trip_time_seconds_count{To="2a"} 1`, `etcd_network_peer_sent_bytes_total{To="2a"} 11`,
		`etcd_network_peer_received_bytes_total{From="2a"} 12`, `etcd_network_active_peers{Local="1",Remote="2a"} 0`,
		`etcd_network_disconnected_peers_total{Local="1",Remote="2a"} 13`, "balsa_transport_malformed_total 5",
		"balsa_log_entries_written_total 3", "balsa_apply_batch_duration_seconds_count 1", "balsa_apply_commands_total 3",
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	for _, name := range []string{
		"etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_server_go_version", "go_goroutines",
		"process_resident_memory_bytes", "process_open_fds", "etcd_network_client_grpc_received_bytes_total",
		"etcd_network_client_grpc_sent_bytes_total", "balsa_store_disk_bytes", "balsa_server_requests",
	} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	for _, zero := range []string{"etcd_network_client_grpc_received_bytes_total 0", "etcd_network_client_grpc_sent_bytes_total 0"} {
		if strings.Contains(metrics, "\n"+zero+"\n") {
			t.Errorf("/metrics has %s after two requests", zero)
		}
	}
}

// A code that gRPC does not define is counted, not a panic.
func TestUnknownCodesAreCounted(t *testing.T) {
	m := NewMetrics().method("s", "m", "unary", false)
	m.handled(t.Context(), status.Error(codes.Code(99), "new"), 0)
}
