package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// failover kills leaders, one after the other, and measures how long it takes until a write succeeds at any of the others.
// Each time the member is started again, and the next one is killed only when all have applied everything.
func failover(ctx context.Context, s *settings, cluster *servers.Servers, _ scenario) (report.Result, error) {
	if err := preload(ctx, cluster, 100); err != nil {
		return nil, err
	}
	var all []float64
	for range s.kills {
		took, err := killLeader(ctx, cluster)
		if err != nil {
			return nil, err
		}
		all = append(all, float64(took.Microseconds())/1000)
	}
	return report.Result{failoverTime: report.Median(all)}, cluster.Agree(ctx)
}

func killLeader(ctx context.Context, cluster *servers.Servers) (time.Duration, error) {
	leader, err := cluster.AwaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := syscall.Kill(cluster.Members[leader].PID(), syscall.SIGKILL); err != nil {
		return 0, err
	}
	if err := firstWrite(ctx, cluster, leader); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	cluster.Members[leader].Kill() // returns when it is gone
	if err := cluster.Members[leader].Restart(ctx); err != nil {
		return 0, err
	}
	if err := cluster.AwaitApplied(ctx); err != nil {
		return 0, err
	}
	_, err = cluster.AwaitLeader(ctx)
	return took, err
}

// firstWrite returns once a write has succeeded at a member that is not dead. It asks each of them every few milliseconds, on
// top of what is still unanswered: a server may answer an early request late, or only later ones.
func firstWrite(ctx context.Context, cluster *servers.Servers, dead int) error {
	const every, atMost = 5 * time.Millisecond, 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	succeeded := make(chan struct{}, 1)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		for i := range cluster.Members {
			if i == dead {
				continue
			}
			group.Go(func() {
				if _, err := pb.NewKVClient(cluster.Conn(i)).Put(ctx, &pb.PutRequest{Key: key(0), Value: values[:valueBytes]}); err == nil {
					select {
					case succeeded <- struct{}{}:
					default:
					}
				}
			})
		}
		select {
		case <-succeeded:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("no write succeeded for %v after the leader was killed: %w", atMost, context.Cause(ctx))
		case <-ticks.C:
		}
	}
}
