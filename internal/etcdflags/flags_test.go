package etcdflags

import (
	"slices"
	"strings"
	"testing"
)

// reference lists every flag of etcd 3.7's help, and the experimental spellings of 3.5 and 3.6: each must be in a
// class. (bench compares with the reference binary itself.)
const reference = `
name data-dir wal-dir snapshot-count heartbeat-interval election-timeout initial-election-tick-advance listen-peer-urls
listen-client-urls listen-client-http-urls max-snapshots max-wals memory-mlock quota-backend-bytes backend-bbolt-freelist-type
backend-batch-interval backend-batch-limit max-txn-ops max-request-bytes max-concurrent-streams grpc-keepalive-min-time
grpc-keepalive-interval grpc-keepalive-timeout socket-reuse-port socket-reuse-address enable-grpc-gateway raft-read-timeout
raft-write-timeout feature-gates initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
advertise-client-urls discovery discovery-token discovery-endpoints discovery-dial-timeout discovery-request-timeout
discovery-keepalive-time discovery-keepalive-timeout discovery-insecure-transport discovery-insecure-skip-tls-verify discovery-cert
discovery-key discovery-cacert discovery-user discovery-password discovery-fallback discovery-proxy discovery-srv discovery-srv-name
strict-reconfig-check pre-vote auto-compaction-retention auto-compaction-mode v2-deprecation cert-file key-file client-cert-auth
client-cert-file client-key-file client-crl-file client-cert-allowed-hostname trusted-ca-file auto-tls peer-cert-file peer-key-file
peer-client-cert-auth peer-client-cert-file peer-client-key-file peer-trusted-ca-file peer-cert-allowed-cn
peer-cert-allowed-hostname peer-auto-tls self-signed-cert-validity peer-crl-file cipher-suites cors host-whitelist tls-min-version
tls-max-version auth-token bcrypt-cost auth-token-ttl enable-pprof metrics listen-metrics-urls logger log-outputs log-level
log-format enable-log-rotation log-rotation-config-json warning-unary-request-duration enable-distributed-tracing
distributed-tracing-address distributed-tracing-service-name distributed-tracing-instance-id distributed-tracing-sampling-rate
corrupt-check-time compact-hash-check-time compaction-batch-limit peer-skip-client-san-verification watch-progress-notify-interval
warning-apply-duration bootstrap-defrag-threshold-megabytes max-learners compaction-sleep-interval downgrade-check-time
snapshot-catchup-entries force-new-cluster unsafe-no-fsync config-file initial-corrupt-check

experimental-initial-corrupt-check experimental-corrupt-check-time experimental-compact-hash-check-enabled
experimental-compact-hash-check-time experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
experimental-compaction-batch-limit experimental-compaction-sleep-interval experimental-peer-skip-client-san-verification
experimental-watch-progress-notify-interval experimental-downgrade-check-time experimental-warning-apply-duration
experimental-warning-unary-request-duration experimental-memory-mlock experimental-txn-mode-write-with-shared-buffer
experimental-bootstrap-defrag-threshold-megabytes experimental-max-learners experimental-stop-grpc-service-on-defrag
experimental-snapshot-catchup-entries experimental-backend-bbolt-freelist-type experimental-enable-distributed-tracing
experimental-distributed-tracing-address experimental-distributed-tracing-service-name experimental-distributed-tracing-instance-id
experimental-distributed-tracing-sampling-rate experimental-set-member-localaddr experimental-enable-v2v3`

func TestEveryFlagOfTheReferenceIsInAClass(t *testing.T) {
	known := map[string]bool{}
	for _, f := range Table() {
		for _, name := range append([]string{f.Name}, f.Former...) {
			if known[name] {
				t.Errorf("--%s is in the table twice", name)
			}
			known[name] = true
		}
	}
	for _, name := range strings.Fields(reference) {
		if !known[name] {
			t.Errorf("--%s has no class", name)
		}
	}
}

// Every row is sound: its default and what it accepts pass its own checks, and it says something.
func TestTableIsSound(t *testing.T) {
	for _, f := range Table() {
		for _, value := range append([]string{f.Default}, f.Accept...) {
			if value == "" {
				continue
			}
			if err := f.check(value); err != nil {
				t.Errorf("--%s: its own value %q: %v", f.Name, value, err)
			}
		}
		if f.Help == "" || strings.HasSuffix(f.Help, ".") {
			t.Errorf("--%s: help %q should be a phrase without a full stop", f.Name, f.Help)
		}
		if f.Missing && f.Class != Tuning || len(f.Accept) > 0 && f.Class != Refused {
			t.Errorf("--%s: Missing belongs to Tuning, Accept to Refused", f.Name)
		}
	}
}

// Each flag by class: a Tuning flag gives exactly one line that names it; a Refused one refuses any other
// value than those that ask for what holds anyway, with its reason; one that Works gives neither.
func TestClasses(t *testing.T) {
	other := map[Kind]string{String: "something", List: "a,b", Bool: "true", Count: "7", Number: "7", Duration: "7s", Rate: "7MiB"}
	for _, f := range Table() {
		value := other[f.Kind]
		switch {
		case f.Name == "config-file":
			continue
		case len(f.Choices) > 0:
			value = f.Choices[len(f.Choices)-1]
		case f.Kind == Bool && f.Default == "true":
			value = "false"
		}
		s, err := load("--" + f.Name + "=" + value)
		switch f.Class {
		case Refused:
			if err == nil || !strings.Contains(err.Error(), "--"+f.Name+"="+value+" is refused: "+f.Help) {
				t.Errorf("--%s=%s: got %v, want a refusal with its reason", f.Name, value, err)
			}
			for _, fine := range append([]string{f.Default}, f.Accept...) {
				if _, err := load("--" + f.Name + "=" + fine); err != nil {
					t.Errorf("--%s=%s asks for what holds anyway: got %v", f.Name, fine, err)
				}
			}
		case Tuning:
			if err != nil || len(s.Notices) != 1 || s.Notices[0].Flag != f.Name {
				t.Errorf("--%s=%s: got %v and %v, want one line that names it", f.Name, value, err, s)
			}
		case Works:
			if err != nil || len(s.Notices) != 0 || s.String(f.Name) != value {
				t.Errorf("--%s=%s: got %v and %v", f.Name, value, err, s)
			}
		}
	}
}

// What is about security, durability or topology works or is refused; to accept it and do nothing would be a lie.
func TestNoSilentNoOps(t *testing.T) {
	serious := []string{"wal-dir", "quota-backend-bytes", "pre-vote", "strict-reconfig-check", "force-new-cluster", "initial-cluster-state",
		"unsafe-no-fsync", "cert-file", "client-cert-auth", "client-crl-file", "client-cert-allowed-hostname", "trusted-ca-file", "auto-tls",
		"peer-client-cert-auth", "peer-trusted-ca-file", "peer-auto-tls", "peer-cert-allowed-cn", "peer-cert-allowed-hostname", "peer-crl-file",
		"peer-skip-client-san-verification", "cipher-suites", "tls-min-version", "tls-max-version", "cors", "host-whitelist", "auth-token",
		"auth-token-ttl", "bcrypt-cost", "discovery", "discovery-endpoints", "discovery-srv", "listen-client-http-urls"}
	for _, f := range Table() {
		if slices.Contains(serious, f.Name) && f.Class == Tuning {
			t.Errorf("--%s is accepted and has no effect", f.Name)
		}
	}
}

// kubeadm writes this command line into its static pod: 1.30 with the experimental spellings, 1.34 without.
var kubeadm = map[string]string{
	"1.30": `--advertise-client-urls=https://10.0.0.5:2379 --cert-file=/etc/kubernetes/pki/etcd/server.crt --client-cert-auth=true
--data-dir=/var/lib/etcd --experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s
--initial-advertise-peer-urls=https://10.0.0.5:2380 --initial-cluster=cp1=https://10.0.0.5:2380
--key-file=/etc/kubernetes/pki/etcd/server.key --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.5:2379
--listen-metrics-urls=http://127.0.0.1:2381 --listen-peer-urls=https://10.0.0.5:2380 --name=cp1
--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt --peer-client-cert-auth=true --peer-key-file=/etc/kubernetes/pki/etcd/peer.key
--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt --snapshot-count=10000 --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt`,
	"1.34": `--advertise-client-urls=https://10.0.0.5:2379 --cert-file=/etc/kubernetes/pki/etcd/server.crt --client-cert-auth=true
--data-dir=/var/lib/etcd --feature-gates=InitialCorruptCheck=true --initial-advertise-peer-urls=https://10.0.0.5:2380
--initial-cluster=cp1=https://10.0.0.5:2380 --initial-cluster-state=existing --key-file=/etc/kubernetes/pki/etcd/server.key
--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.5:2379 --listen-metrics-urls=http://127.0.0.1:2381
--listen-peer-urls=https://10.0.0.5:2380 --name=cp1 --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt --peer-client-cert-auth=true
--peer-key-file=/etc/kubernetes/pki/etcd/peer.key --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt --snapshot-count=10000
--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt --watch-progress-notify-interval=5s`,
}

func TestKubeadmCommandLineIsAccepted(t *testing.T) {
	for version, line := range kubeadm {
		s, err := load(strings.Fields(line)...)
		if err != nil {
			t.Fatalf("kubeadm %s: %v", version, err)
		}
		if got := s.List("listen-client-urls"); !slices.Equal(got, []string{"https://127.0.0.1:2379", "https://10.0.0.5:2379"}) {
			t.Errorf("kubeadm %s: client URLs %v", version, got)
		}
		if len(s.Notices) != 2 { // snapshot-count, the corruption check
			t.Errorf("kubeadm %s: notices %v", version, s.Notices)
		}
	}
}

func load(args ...string) (*Settings, error) { return Load(args, nil, nil) }

func TestSpellings(t *testing.T) {
	for _, args := range [][]string{{"--name=m1", "--client-cert-auth"}, {"--name", "m1", "--client-cert-auth=true"}, {"-name", "m1", "-client-cert-auth"}} {
		s, err := load(args...)
		if err != nil || s.String("name") != "m1" || !s.Bool("client-cert-auth") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestFlagOverEnvironmentOverDefault(t *testing.T) {
	environ := []string{"ETCD_NAME=env", "ETCD_DATA_DIR=/env", "ETCD_HEARTBEAT_INTERVAL=", "ETCDCTL_ENDPOINTS=x", "PATH=/bin",
		"ETCD_EXPERIMENTAL_MAX_LEARNERS=3", "ETCD_NONSENSE=1"}
	s, err := Load([]string{"--name=flag"}, environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.String("name") != "flag" || s.String("data-dir") != "/env" || s.Count("heartbeat-interval") != 100 || s.Count("max-learners") != 3 {
		t.Errorf("got %v", s.values)
	}
	if len(s.Notices) != 1 || !strings.Contains(s.Notices[0].Text, "ETCD_NONSENSE") {
		t.Errorf("notices: %v", s.Notices)
	}
}

func TestBadCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--data-dri=x"}, `--data-dri is not a flag; did you mean --data-dir? See balsa serve --help`},
		{[]string{"--frobnicate"}, `--frobnicate is not a flag; see balsa serve --help`},
		{[]string{"--pre-vote", "true"}, `"true" is not a flag (a boolean takes its value with an equals sign`},
		{[]string{"--name"}, `flag needs an argument: -name; see balsa serve --help`},
		{[]string{"--heartbeat-interval=fast"}, `--heartbeat-interval="fast": it must be a whole number, 0 or more`},
		{[]string{"--grpc-keepalive-timeout=20"}, `it must be a duration such as 5s or 10m`},
		{[]string{"--client-cert-auth=perhaps"}, `it must be true or false`},
		{[]string{"--log-format=xml"}, `--log-format="xml": it must be one of json, console`},
		{[]string{"--initial-cluster-state=old"}, `it must be one of new, existing`},
		{[]string{"--quota-backend-bytes=8GiB"}, `--quota-backend-bytes="8GiB": it must be a whole number`},
	} {
		if _, err := load(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %s", c.args, err, c.want)
		}
	}
}

func TestHelpAndVersionAreAskedFor(t *testing.T) {
	if _, err := load("--help"); err != ErrHelp {
		t.Errorf("--help: %v", err)
	}
	if _, err := load("--name=x", "--version"); err != ErrVersion {
		t.Errorf("--version: %v", err)
	}
	var help strings.Builder
	WriteHelp(&help)
	for _, f := range Table() {
		if !strings.Contains(help.String(), "--"+f.Name) {
			t.Errorf("the help does not name --%s", f.Name)
		}
	}
}
