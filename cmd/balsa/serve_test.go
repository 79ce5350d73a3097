package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
	"github.com/balsadb/balsa/internal/tlsfiles"
	"github.com/balsadb/balsa/internal/tlsfiles/tlstest"
)

// A member alone: it serves, logs nothing at level error, ends well, and a restart with the same arguments finds what was written.
func TestServeAndServeAgain(t *testing.T) {
	t.Parallel()
	flags, endpoint := alone(t, filepath.Join(t.TempDir(), "data"))
	p := serving(t, flags...)
	ctlOK(t, endpoint, "put", "hello", "world")
	said := p.terminate()
	if levels := logLevels(t, said); slices.Contains(levels, "error") {
		t.Errorf("errors in normal operation:\n%s", said)
	}

	// Without --initial-cluster, as in etcd, the directory knows.
	p = serving(t, flags[:len(flags)-1]...)
	if got := ctlOK(t, endpoint, "get", "hello", "--print-value-only"); got != "world\n" {
		t.Errorf("after a restart: %q", got)
	}
	p.terminate()

	p = serving(t, append(flags, "--initial-cluster-state=existing", "--log-format=console")...) // ignored on a restart
	if said := p.terminate(); !strings.Contains(said, "\tinfo\t") {
		t.Errorf("not the console's format: %s", said)
	}
}

// The command line of kubeadm's static pod, under the name of etcd, with mutual TLS for clients and peers.
func TestKubeadmStaticPod(t *testing.T) {
	t.Parallel()
	authority := tlstest.New(t)
	for _, name := range []string{"server", "peer", "client"} {
		authority.Issue(name, tlstest.Loopback)
	}
	client, peer := freePorts(t)
	metrics, _ := freePorts(t)
	dir := filepath.Join(t.TempDir(), "etcd")
	line := strings.NewReplacer("CLIENT", fmt.Sprint(client), "PEER", fmt.Sprint(peer), "METRICS", fmt.Sprint(metrics), "DIR", dir,
		"PKI/", authority.Path("")+"/").Replace(`--advertise-client-urls=https://127.0.0.1:CLIENT --cert-file=PKI/server.crt
--client-cert-auth=true --data-dir=DIR --experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s
--initial-advertise-peer-urls=https://127.0.0.1:PEER --initial-cluster=cp1=https://127.0.0.1:PEER --key-file=PKI/server.key
--listen-client-urls=https://127.0.0.1:CLIENT --listen-metrics-urls=http://127.0.0.1:METRICS --listen-peer-urls=https://127.0.0.1:PEER
--name=cp1 --peer-cert-file=PKI/peer.crt --peer-client-cert-auth=true --peer-key-file=PKI/peer.key
--peer-trusted-ca-file=PKI/ca.crt --snapshot-count=10000 --trusted-ca-file=PKI/ca.crt`)
	p := startProcess(t, program(t, "etcd", strings.Fields(line)...))
	p.expect("--initial-corrupt-check is accepted and has no effect")
	p.expect("ready to serve client requests")

	endpoint := fmt.Sprintf("https://127.0.0.1:%d", client)
	files := []string{"--cacert=" + authority.Path("ca.crt"), "--cert=" + authority.Path("client.crt"), "--key=" + authority.Path("client.key")}
	ctlOK(t, endpoint, append(files, "put", "/registry/x", "y")...)
	ctlOK(t, endpoint, append(files, "endpoint", "health")...)
	if o := runToEnd(t, program(t, "balsa", append([]string{"status", "--endpoints=" + endpoint}, files...)...)); o.code != 0 || !strings.Contains(o.stdout, "cp1") {
		t.Errorf("status: %+v", o)
	}
	if o := runToEnd(t, program(t, "balsa", "ctl", "--endpoints="+endpoint, files[0], "--command-timeout=1s", "get", "x")); o.code == 0 {
		t.Errorf("a client without a certificate got in: %+v", o)
	}
	for _, path := range []string{"/health", "/livez", "/readyz", "/metrics", "/version"} {
		if code, body := get(t, fmt.Sprintf("http://127.0.0.1:%d%s", metrics, path)); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	p.terminate()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// All settings from a file; what the command line says is named as ignored. Clients come over a socket in the file system, in
// the clear and with TLS; profiles are served.
func TestConfigFileAndSockets(t *testing.T) {
	t.Parallel()
	authority := tlstest.New(t)
	authority.Issue("server", tlstest.Loopback)
	client, peer := freePorts(t)
	dir := t.TempDir()
	sock, secure := filepath.Join(dir, "c.sock"), filepath.Join(dir, "s.sock")
	leftBehind, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	leftBehind.(*net.UnixListener).SetUnlinkOnClose(false)
	leftBehind.Close() // as after a kill -9
	config := filepath.Join(dir, "balsa.yaml")
	text := fmt.Sprintf(`
name: m1
data-dir: %[1]s/data
heartbeat-interval: 20
election-timeout: 200
enable-pprof: true
listen-client-urls: http://127.0.0.1:%[2]d,unix://%[4]s,unixs://%[5]s
advertise-client-urls: http://127.0.0.1:%[2]d
listen-peer-urls: http://127.0.0.1:%[3]d
initial-advertise-peer-urls: http://127.0.0.1:%[3]d
initial-cluster: m1=http://127.0.0.1:%[3]d
client-transport-security:
  cert-file: %[6]s
  key-file: %[7]s
`, dir, client, peer, sock, secure, authority.Path("server.crt"), authority.Path("server.key"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, program(t, "balsa", "serve", "--config-file="+config, "--name=ignored"))
	p.expect(`--name is ignored: all settings come from the configuration file`)
	p.expect("ready to serve client requests")
	ctlOK(t, "unix://"+sock, "put", "k", "v")
	files := tlsfiles.Files{TrustedCA: authority.Path("ca.crt")}
	tlsConfig, err := files.Client()
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.ServerName = "localhost"
	conn, err := tls.Dial("unix", secure, tlsConfig)
	if err != nil {
		t.Fatalf("unixs: %v", err)
	}
	conn.Close()
	if code, _ := get(t, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/goroutine?debug=1", client)); code != http.StatusOK {
		t.Errorf("pprof: %d", code)
	}
	p.terminate()
}

// A service manager that waits is told READY, and not before the member serves.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	flags, _ := alone(t, filepath.Join(t.TempDir(), "data"))
	cmd := program(t, "balsa", append([]string{"serve"}, flags...)...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
	p := startProcess(t, cmd)
	buffer := make([]byte, 100)
	n, err := socket.Read(buffer)
	if err != nil || string(buffer[:n]) != "READY=1" {
		t.Errorf("got %q, %v", buffer[:n], err)
	}
	p.expect("ready to serve client requests")
	p.terminate()
}

// A member says that it is ready when it has joined, and not before: one of three alone has no majority.
func TestReadyOnlyOnceJoined(t *testing.T) {
	t.Parallel()
	ports, err := cluster.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(3, cluster.Options{Binary: os.Args[0], Dir: t.TempDir(), Ports: ports, Env: []string{playVariable + "=1"},
		Args: []string{"--heartbeat-interval=20", "--election-timeout=100"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	first := c.Members[0]
	p := startProcess(t, program(t, "balsa", first.Args()[1:]...))
	p.expect("could not join the cluster yet")
	if said := p.seen.String(); strings.Contains(said, "ready to serve client requests") {
		t.Errorf("ready, and alone:\n%s", said)
	}
	if code, body := get(t, "http://"+first.Endpoint+"/health"); code != http.StatusServiceUnavailable {
		t.Errorf("/health of a member without a majority: %d %s", code, body)
	}
	if err := c.Members[1].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.expect("ready to serve client requests")
	p.terminate()
}

// A leader that is told to stop hands over first: another leads before it is gone, and it ends with code 0.
func TestLeaderHandsOverAtSIGTERM(t *testing.T) {
	t.Parallel()
	events := make(chan cluster.Event, 100)
	c := startCluster(t, 3, cluster.Options{OnEvent: func(e cluster.Event) { events <- e }})
	leader := leaderOf(t, c)
	ctlOK(t, leader.Endpoint, "put", "k", "v")
	for len(events) > 0 {
		<-events
	}
	if err := leader.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == cluster.Exited {
			t.Fatal("it was gone before another one led")
		}
		if e.Kind == cluster.Leads && e.Member != leader {
			break
		}
	}
	// That it was handed over, and not merely taken as the connections broke, is in its own log: it saw another one lead.
	log, err := os.ReadFile(leader.Log)
	if err != nil {
		t.Fatal(err)
	}
	if _, after, _ := strings.Cut(string(log), "stopping: handing over"); !strings.Contains(after, `"msg":"leadership changed","role":"follower"`) {
		t.Errorf("leadership was not handed over:\n%s", log)
	}
	other := c.Members[leader.Number%3]
	if got := ctlOK(t, other.Endpoint, "get", "k", "--print-value-only"); got != "v\n" {
		t.Errorf("got %q", got)
	}
	if err := leader.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

// leaderOf returns who leads, once somebody does. All members run.
func leaderOf(t *testing.T, c *cluster.Cluster) *cluster.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var clients []*clientv3.Client
	for _, m := range c.Members {
		clients = append(clients, dial(t, m.Endpoint))
	}
	leader, err := leading(ctx, c, clients)
	if err != nil {
		t.Fatal(err)
	}
	return leader
}

func statusJSON(t *testing.T, c *cluster.Cluster) (answers []endpointStatus) {
	t.Helper()
	o := runToEnd(t, program(t, "balsa", "status", "-o", "json", "--endpoints="+strings.Join(c.Endpoints(), ",")))
	if err := json.Unmarshal([]byte(o.stdout), &answers); err != nil {
		t.Fatalf("%v in %+v", err, o)
	}
	return answers
}

// status: a row for each endpoint, also where nobody answers; then the exit code says so.
func TestStatus(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{})
	ctlOK(t, c.Members[0].Endpoint, "put", "k", "v")
	leader := leaderOf(t, c)
	down := c.Members[leader.Number%3]
	down.Kill()
	cmd := program(t, "balsa", "status")
	cmd.Env = append(cmd.Env, "ETCDCTL_ENDPOINTS="+strings.Join(c.Endpoints(), ","))
	o := runToEnd(t, cmd)
	rows := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if o.code != 1 || len(rows) != 5 || !strings.Contains(rows[0], "ROUND TRIP") || !strings.Contains(rows[down.Number], "no answer") ||
		rows[4] != down.Endpoint+" did not answer: connection refused" ||
		!strings.Contains(rows[leader.Number], "leader") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if err := down.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range statusJSON(t, c) {
		if s.Error != "" || s.Status.Applied == 0 || s.Status.Commit == 0 || s.Status.Last == 0 || s.Status.First != 1 || s.Status.Term == 0 || s.RoundTrip == 0 {
			t.Errorf("got %+v, %+v", s, s.Status)
		}
	}
	if o := runToEnd(t, program(t, "balsa", "status", "-o", "xml")); o.code != exitUsage || !strings.Contains(o.stderr, "it must be table or json") {
		t.Errorf("-o xml: %+v", o)
	}
}

// wal dump works beside a running server and after it, for people and for programs.
func TestWalDump(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	flags, endpoint := alone(t, dir)
	p := serving(t, flags...)
	ctlOK(t, endpoint, "put", "hello", "world")
	check := func() {
		t.Helper()
		o := runToEnd(t, program(t, "balsa", "wal", "dump", dir))
		for _, want := range []string{"member m1", "segment 1", "durable before", "noop", `put {key:"hello"`, "end at "} {
			if o.code != 0 || !strings.Contains(o.stdout, want) {
				t.Errorf("exit code %d, no %q in\n%s%s", o.code, want, o.stdout, o.stderr)
			}
		}
		o = runToEnd(t, program(t, "balsa", "wal", "dump", "-o", "json", dir))
		found := map[string]int{}
		for line := range strings.Lines(o.stdout) {
			var object struct{ What string }
			if err := json.Unmarshal([]byte(line), &object); err != nil {
				t.Errorf("%v: %s", err, line)
			}
			found[object.What]++
		}
		if o.code != 0 || found["votes"] == 0 || found["segment"] == 0 || found["batch"] == 0 || found["entry"] < 2 || found["end"] != 1 || found["bad"] != 0 {
			t.Errorf("exit code %d, found %v", o.code, found)
		}
	}
	check()
	p.terminate()
	before := tree(t, dir)
	check()
	if after := tree(t, dir); !maps.Equal(before, after) {
		t.Error("the dump changed the directory")
	}
	if o := runToEnd(t, program(t, "balsa", "wal", "dump", t.TempDir())); o.code != 1 || !strings.Contains(o.stderr, "is not a data directory: there is no identity.json") {
		t.Errorf("not a data directory: %+v", o)
	}
}
