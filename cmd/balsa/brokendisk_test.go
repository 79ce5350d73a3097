package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa/internal/cluster"
)

// TestE45FailedSyncEndsTheLeadersProcess: the leader's disk fails under a write. The client is not told that it failed, the others lead, and the
// process ends with a code and one sentence.
func TestE45FailedSyncEndsTheLeadersProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	broken := filepath.Join(t.TempDir(), "broken")
	c := startCluster(t, 1, cluster.Options{Args: []string{"--testing-fail-log-sync=" + broken}})
	m := c.Members[0]
	client := dial(t, m.Endpoint)
	if _, err := client.Put(ctx, "k", "before"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(ctx, "k", "in flight"); err == nil || errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("the write in flight was answered with %v", err)
	}
	for m.Running() {
		select {
		case <-ctx.Done():
			t.Fatal("the process goes on")
		case <-time.After(10 * time.Millisecond):
		}
	}
	log, err := os.ReadFile(m.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"balsa serve: ", "nothing that was in flight can be trusted", "see to the disk"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("its output lacks %q", want)
		}
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := m.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(ctx, "k"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("after the repair: %v, %v", got, err)
	}
}
