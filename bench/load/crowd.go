package main

import (
	"context"
	"fmt"
	"time"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// crowdStreams is how many streams a crowd of watchers has.
const crowdStreams = 100

// crowd opens very many watchers on one member, each on a key of its own, writes every key once, and waits until each
// watcher was told. Memory is that of the member before there were watchers, when all are there, and when all were told.
func crowd(ctx context.Context, s *settings, cluster *servers.Servers, _ scenario) (report.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := preload(ctx, cluster, s.crowd); err != nil {
		return nil, err
	}
	resident := func() (float64, error) {
		all, err := cluster.Resident()
		if err != nil {
			return 0, err
		}
		return all[0], nil
	}
	before, err := resident()
	if err != nil {
		return nil, err
	}
	l := &watchLoad{watchers: s.crowd, keys: s.crowd, perTxn: 1}
	t := newTold(l)
	begin := time.Now()
	w, err := openWatchers(ctx, cancel, cluster.Endpoints()[:1], crowdStreams, l.watched(), t.heard)
	if err != nil {
		return nil, fmt.Errorf("opening watchers: %w", err)
	}
	defer w.close()
	opened := time.Since(begin)
	open, err := resident()
	if err != nil {
		return nil, err
	}
	cost, err := cluster.Cost(ctx)
	if err != nil {
		return nil, err
	}
	begin = time.Now()
	if err := preload(ctx, cluster, s.crowd); err != nil { // each key once more
		return nil, err
	}
	if err := t.await(ctx, w, int64(s.crowd)); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := cluster.Cost(ctx)
	if err != nil {
		return nil, err
	}
	done, err := resident()
	if err != nil {
		return nil, err
	}
	n := float64(s.crowd)
	return report.Result{
		openTime: opened.Seconds(), eventRate: n / took.Seconds(), eventCPU: float64(after.Sub(cost).CPU.Microseconds()) / n,
		watcherBytes: (open - before) / n / 1024, toldBytes: (done - before) / n / 1024,
	}, cluster.Agree(ctx)
}
