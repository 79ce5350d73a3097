package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A start that cannot be is refused with one sentence that says why and what to do, a code that is not 0, and not a byte
// changed on disk.
func TestBadDays(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // the cases run after this function has returned
	takenURL := "http://" + taken.Addr().String()
	write := func(dir, name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(dir string) // what is in the data directory
		flags   []string         // override those of a member that is well; DIR is the data directory
		code    int
		want    string
	}{
		{"unknown flag", nil, []string{"--data-dri=x"}, 2, "--data-dri is not a flag; did you mean --data-dir?"},
		{"bad value", nil, []string{"--heartbeat-interval=fast"}, 2, "it must be a whole number"},
		{"refused flag", nil, []string{"--auto-tls=true"}, 2, "--auto-tls=true is refused: certificates are not generated yet: make some"},
		{"configuration file is not there", nil, []string{"--config-file=DIR/none.yaml"}, 2, "--config-file: open DIR/none.yaml: no such file"},
		{"client port in use", nil, []string{"--listen-client-urls=" + takenURL}, 1, "--listen-client-urls: " + takenURL + " is in use by another process: stop that one, or give another port"},
		{"peer port in use", nil, []string{"--listen-peer-urls=" + takenURL}, 1, "is in use by another process: stop that one, or give another port"},
		{"metrics port in use", nil, []string{"--listen-metrics-urls=" + takenURL}, 1, "is in use by another process: stop that one, or give another port"},
		{"not an address here", nil, []string{"--listen-peer-urls=http://192.0.2.1:2380"}, 1, "this machine has no address 192.0.2.1: give one of its own"},
		{"a name to listen on", nil, []string{"--listen-client-urls=http://example.com:2379"}, 1, "needs an address rather than a name"},
		{"no URL", nil, []string{"--listen-client-urls=127.0.0.1:2379"}, 1, `--listen-client-urls: "127.0.0.1:2379" is not a URL`},
		{"nowhere to listen", nil, []string{"--listen-client-urls="}, 1, "--listen-client-urls is empty: give at least one URL"},
		{"nothing advertised", nil, []string{"--advertise-client-urls="}, 1, "--advertise-client-urls is empty"},
		{"not among the members", nil, []string{"--name=m9"}, 1, "has no member of that name: add m9="},
		{"advertises something else", nil, []string{"--initial-advertise-peer-urls=http://127.0.0.1:1"}, 1, "and --initial-advertise-peer-urls says http://127.0.0.1:1: make them the same"},
		{"election too soon", nil, []string{"--heartbeat-interval=100"}, 1, "--election-timeout (200ms) must be at least 5 times --heartbeat-interval (100ms)"},
		{"join", nil, []string{"--initial-cluster-state=existing"}, 1, "asks to join a running cluster, and --initial-cluster"},
		{"TLS without files", nil, []string{"--listen-client-urls=https://127.0.0.1:1"}, 1, "TLS needs both --cert-file and --key-file"},
		{"certificate is not there", nil, []string{"--listen-client-urls=https://127.0.0.1:1", "--cert-file=DIR/a", "--key-file=DIR/b"}, 1, "--cert-file and --key-file: open DIR/a: no such file"},
		{"half TLS", nil, []string{"--listen-peer-urls=https://127.0.0.1:1"}, 1, "some peer URLs are https and others http"},
		{"log file cannot be", nil, []string{"--log-outputs=DIR/a/b/c"}, 1, "--log-outputs: open DIR/a/b/c: no such file"},
		{"etcd's directory", func(dir string) { write(dir, "member/snap/db", "x") }, nil, 1, "data directory DIR is etcd's, whose files are of another format, and was left as it is"},
		{"somebody's directory", func(dir string) { write(dir, "thesis.tex", "x") }, nil, 1, `holds "thesis.tex" but no identity.json`},
		{"a file", func(dir string) { write(filepath.Dir(dir), filepath.Base(dir), "x") }, nil, 1, "data directory DIR cannot be read"},
		{"identity cannot be read", func(dir string) { write(dir, "identity.json/x", "x") }, nil, 1, "identity.json cannot be read"},
		{"identity damaged", func(dir string) { write(dir, "identity.json", "{") }, nil, 1, "identity.json: it cannot be read"},
		{"later version", func(dir string) { write(dir, "identity.json", `{"format":2}`) }, nil, 1, "it has format 2 [], and this version reads format 1; start it with the version that wrote it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			if c.prepare != nil {
				c.prepare(dir)
			}
			flags, _ := alone(t, dir)
			for _, flag := range c.flags {
				flags = append(flags, strings.ReplaceAll(flag, "DIR", dir))
			}
			refused(t, dir, c.code, strings.ReplaceAll(c.want, "DIR", dir), flags)
		})
	}
}

// refused starts a member that cannot be started.
func refused(t *testing.T, dir string, code int, want string, flags []string) {
	t.Helper()
	before := tree(t, dir)
	o := runToEnd(t, program(t, "balsa", append([]string{"serve", "--log-level=error"}, flags...)...))
	if o.code != code || !strings.HasPrefix(o.stderr, "balsa serve: ") || !strings.Contains(o.stderr, want) || strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("exit code %d, want %d; one line on stderr with %q, got\n%s", o.code, code, want, o.stderr)
	}
	if after := tree(t, dir); !maps.Equal(before, after) {
		t.Errorf("the data directory changed: before %v, after %v", before, after)
	}
}

// The same for directories that are in use, or another's: of a real member.
func TestBadDaysOfARealDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	flags, _ := alone(t, dir)
	p := serving(t, flags...)

	others, _ := alone(t, dir) // other ports
	sameIdentity := append(others, flags[len(flags)-2:]...)
	o := runToEnd(t, program(t, "balsa", append([]string{"serve", "--log-level=error"}, sameIdentity...)...))
	if o.code != 1 || !strings.Contains(o.stderr, "data directory "+dir+" is in use by another process: stop that one first") {
		t.Errorf("a directory in use: %+v", o)
	}
	p.terminate()

	refused(t, dir, 1, "belongs to another cluster", append(flags, "--initial-cluster-token=another"))
	_, peer := freePorts(t)
	again := serving(t, append(flags, fmt.Sprintf("--initial-cluster=m1=http://127.0.0.1:%d", peer),
		fmt.Sprintf("--initial-advertise-peer-urls=http://127.0.0.1:%d", peer))...)
	if log := again.terminate(); !strings.Contains(log, "--initial-cluster is not what it was at the first start") {
		t.Errorf("a changed --initial-cluster is not noted: %s", log)
	}
	refused(t, dir, 1, "belongs to another member: it is m1's, and --name says m2", append(flags[1:len(flags)-1:len(flags)-1], "--name=m2"))

	segments, err := filepath.Glob(filepath.Join(dir, "wal", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no log: %v", err)
	}
	for _, name := range []string{"identity.json", "identity.json.copy"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, dir, 1, "but no identity.json, so that it is not known whose it is", flags)
}
