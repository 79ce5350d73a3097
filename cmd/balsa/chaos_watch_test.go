package main

import (
	"context"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestChaosWatch watches while members are killed, stopped and cut off, connections break and revisions are compacted, under
// load. Whatever happens, each watcher is told every change once, in order, each revision in one piece and none after progress
// beyond it was announced; and all are told the same: what was acknowledged, and what makes of nothing what is there.
//
// The long version: go test ./cmd/balsa -run TestChaosWatch -chaos-rounds 50 -timeout 60m
func TestChaosWatch(t *testing.T) {
	var a *audience
	compaction := fault{"what all were told is compacted", 0, func(ctx context.Context, s *storm) (func(context.Context) error, error) {
		return nothing, a.compact(ctx)
	}}
	s := newStorm(t, slices.Concat(breakage, nuisances, []fault{compaction}),
		"--testing-hold-unsynced-writes=true", "--testing-log-segment-bytes=16384", "--watch-progress-notify-interval=200ms")
	ctx, cancel := context.WithTimeout(t.Context(), s.patience())
	defer cancel()
	a = &audience{storm: s, compacted: 1}
	defer a.leave()
	everywhere := dial(t, s.cluster.Endpoints()...)
	through := dial(t, s.doors[0].Address(), s.doors[1].Address(), s.doors[2].Address())
	a.add(ctx, "of any member", everywhere)
	a.add(clientv3.WithRequireLeader(ctx), "that needs a leader", everywhere)
	a.add(ctx, "whose connections break", through)
	a.addWanderer(ctx)
	for i := range s.clients {
		a.add(ctx, "of "+s.cluster.Members[i].Name, s.clients[i])
	}
	s.live(ctx, 4)
	end, err := everywhere.Put(ctx, "round-end", "")
	s.must(err)
	for i := range s.clients {
		a.add(ctx, "that comes late to "+s.cluster.Members[i].Name, s.clients[i])
	}
	told := a.until(ctx, end.Header.Revision)
	s.wantWritten(told)
	s.wantState(ctx, everywhere, told, end.Header.Revision)
	s.wantSnapshots()
}

// wantWritten demands that changes which were acknowledged are among those that were told.
func (s *storm) wantWritten(told []change) {
	at := map[int64]change{}
	for _, c := range told {
		at[c.revision] = c
	}
	for _, w := range s.written {
		if c := at[w.revision]; c.key != w.key || c.deleted != w.deleted || !w.deleted && c.value != w.value {
			s.t.Errorf("seed %d: %+v was acknowledged, and what was told is %+v", *chaosSeed, w, c)
		}
	}
	s.t.Logf("%d changes were told, %d acknowledged", len(told), len(s.written))
}

// wantState demands that all the changes together make what is there.
func (s *storm) wantState(ctx context.Context, client *clientv3.Client, told []change, revision int64) {
	made := map[string]int64{}
	for _, c := range told {
		if c.previous != made[c.key] {
			s.t.Errorf("seed %d: %+v comes after revision %d of its key", *chaosSeed, c, made[c.key])
		}
		made[c.key] = c.revision
		if c.deleted {
			delete(made, c.key)
		}
	}
	there, err := client.Get(ctx, watched, clientv3.WithPrefix(), clientv3.WithRev(revision))
	s.must(err)
	for _, kv := range there.Kvs {
		if made[string(kv.Key)] != kv.ModRevision {
			s.t.Errorf("seed %d: %s is there, of revision %d, and the changes make it of revision %d", *chaosSeed, kv.Key, kv.ModRevision, made[string(kv.Key)])
		}
	}
	if len(made) != len(there.Kvs) {
		s.t.Errorf("seed %d: %d keys are there, and the changes make %d", *chaosSeed, len(there.Kvs), len(made))
	}
}
