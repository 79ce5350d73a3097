package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/history"
)

// TestChaos kills, stops and cuts off members under load, and has what the clients were told judged. Members keep
// unsynced writes in their own memory, so that a kill is a power cut: what was acknowledged without a sync is lost.
//
// The long version: go test ./cmd/balsa -run 'TestChaos$' -chaos-rounds 20 -timeout 30m
func TestChaos(t *testing.T) {
	s := newStorm(t, breakage, "--testing-hold-unsynced-writes=true", "--testing-log-segment-bytes=16384")
	ctx, cancel := context.WithTimeout(t.Context(), s.patience())
	defer cancel()
	s.live(ctx, 6)
	s.judge(ctx)
	s.wantSnapshots()
}

// wantSnapshots demands that members were brought back by snapshots, where enough has happened for that.
func (s *storm) wantSnapshots() {
	if n := s.snapshots(); n > 0 {
		s.t.Logf("%d snapshots were installed", n)
	} else if s.rounds >= len(s.faults) {
		s.t.Error("no snapshot was installed")
	}
}

// snapshots counts, in the members' logs, those that were installed.
func (s *storm) snapshots() (n int) {
	for _, m := range s.cluster.Members {
		log, err := os.ReadFile(m.Log)
		s.must(err)
		n += bytes.Count(log, []byte(`"a snapshot is installed"`))
	}
	return n
}

// judge reads every key once more, compares the members, and has the history judged.
func (s *storm) judge(ctx context.Context) {
	for round := range s.rounds {
		for key := range 4 {
			op := history.Operation{Kind: history.Get, Key: fmt.Sprintf("round%d-key%d", round, key)}
			call := s.history.Begin(100, op)
			answer, err := ask(ctx, s.clients[key%3], op)
			s.must(err)
			call.End(answer)
		}
	}
	var hashes []uint32
	for _, c := range s.clients {
		_, err := c.Get(ctx, "the end") // so that this member has applied all that was acknowledged
		s.must(err)
	}
	revision := int64(0)
	for i, c := range s.clients {
		r, err := c.HashKV(ctx, s.cluster.Members[i].Endpoint, revision)
		s.must(err)
		revision = r.HashRevision
		hashes = append(hashes, r.Hash)
	}
	if hashes[0] != hashes[1] || hashes[0] != hashes[2] {
		s.t.Errorf("seed %d: the members' hashes at revision %d differ: %x", *chaosSeed, revision, hashes)
	}
	if err := s.history.Check(time.Minute); err != nil {
		s.t.Errorf("seed %d: %v", *chaosSeed, err)
	}
	answered, unknown := s.history.Counts()
	s.t.Logf("%d operations answered, %d of unknown outcome", answered, unknown)
}

// TestChaosNeedsSync shows that TestChaos can fail: members that do not wait for their disks lose, when all are
// killed, what they acknowledged.
func TestChaosNeedsSync(t *testing.T) {
	s := newStorm(t, nil, "--testing-hold-unsynced-writes=true", "--unsafe-no-fsync=true")
	writes := 0
	for n := 0; writes < 50; n++ {
		if _, err := s.clients[n%3].Put(t.Context(), fmt.Sprint("key", n), "value"); err == nil {
			writes++
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	s.cluster.KillAll()
	for _, m := range s.cluster.Members {
		s.must(m.Launch())
	}
	r, err := s.clients[0].KV.Do(t.Context(), clientv3.OpGet("key", clientv3.WithPrefix(), clientv3.WithCountOnly()))
	if err == nil && r.Get().Count >= int64(writes) {
		t.Errorf("all %d writes are there, though nothing was ever synced: a kill is no power cut here", writes)
	}
}
