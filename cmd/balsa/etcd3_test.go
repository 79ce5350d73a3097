package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/cluster"
)

// npmVariable allows tests to have npm fetch packages: go test by itself asks the network for nothing but Go's modules.
const npmVariable = "BALSA_TEST_NPM"

// npm's etcd3 client, of the version in testdata/etcd3/package-lock.json: its basic flows, with a kill of the leader under its watch.
// It runs where node is, and where npm has the client or can fetch it.
func TestNodeClient(t *testing.T) {
	t.Parallel()
	if os.Getenv(npmVariable) == "" {
		t.Skipf("NOT RUN: it may fetch npm's etcd3, which %s=1 allows", npmVariable)
	}
	dir := installNodeClient(t)
	c := startCluster(t, 3, cluster.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"flows.js"}, c.Endpoints()...)...)
	cmd.Dir = dir
	p := startProcess(t, cmd)
	p.expect(`^kill the leader$`)
	leader := leaderOf(t, c)
	leader.Kill()
	p.keys.WriteString("done\n")
	p.expect(`^start it again$`)
	if err := leader.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	p.keys.WriteString("done\n")
	code, said := p.end()
	if code != 0 || strings.Count("\n"+said, "\nok ") != 7 {
		t.Errorf("exit code %d, and seven flows should be ok:\n%s", code, said)
	}
	t.Logf("%s", said)
}

// installNodeClient returns a directory with the client and what drives it.
func installNodeClient(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: %v", err)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "etcd3"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a registry that does not answer
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0")
	install.Dir = dir
	install.WaitDelay = time.Second // for what npm leaves running when it is ended
	if said, err := install.CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: npm cannot install etcd3 (%v):\n%s", err, said)
	}
	return dir
}
