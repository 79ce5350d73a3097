package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

const (
	countTime    report.Figure = "count of half the keys, ms"
	pageTime     report.Figure = "page of 500 of half the keys, ms"
	comebackTime report.Figure = "kill -9 of a member until it reads linearizably, s"
	restarted    report.Figure = "its resident memory a moment later, MiB"
)

func init() {
	scenarios = append(scenarios, scenario{name: "count", title: "counting half of many keys of 256 B; a member killed and back; memory", measure: count})
	order = append(order, countTime, pageTime, comebackTime, restarted)
}

// count puts many keys, counts half of them and lists a page of them, kills a member and has it come back, and looks at what
// each member takes then.
func count(ctx context.Context, s *settings, cluster *servers.Servers, _ scenario) (report.Result, error) {
	if err := preload(ctx, cluster, s.keys); err != nil {
		return nil, err
	}
	r := report.Result{}
	half := &pb.RangeRequest{Key: key(s.keys / 4), RangeEnd: key(s.keys/4 + s.keys/2), CountOnly: true}
	var err error
	if r[countTime], err = timeRange(ctx, cluster, half, int64(s.keys/2)); err != nil {
		return nil, err
	}
	page := &pb.RangeRequest{Key: half.Key, RangeEnd: half.RangeEnd, Limit: 500}
	if r[pageTime], err = timeRange(ctx, cluster, page, int64(s.keys/2)); err != nil {
		return nil, err
	}
	inMemory, err := cluster.Resident()
	if err != nil {
		return nil, err
	}
	r[resident] = report.Median(inMemory) / (1 << 20)
	member, took, err := comeBack(ctx, cluster)
	if err != nil {
		return nil, err
	}
	r[comebackTime] = took
	if inMemory, err = cluster.Resident(); err != nil {
		return nil, err
	}
	r[restarted] = inMemory[member] / (1 << 20)
	return r, cluster.Agree(ctx)
}

// timeRange returns the median time of a range, at all members in turn, in milliseconds.
func timeRange(ctx context.Context, cluster *servers.Servers, r *pb.RangeRequest, want int64) (float64, error) {
	const times = 31
	var all []float64
	for i := range times {
		begin := time.Now()
		response, err := pb.NewKVClient(cluster.Conn(i%len(cluster.Members))).Range(ctx, r)
		if err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(begin).Microseconds())/1000)
		if response.Count != want {
			return 0, fmt.Errorf("a count of %d, there are %d keys", response.Count, want)
		}
	}
	return report.Median(all), nil
}

// comeBack kills a member that does not lead and starts it again, and returns its number and the seconds until it answers a linearizable read.
func comeBack(ctx context.Context, cluster *servers.Servers) (member int, seconds float64, err error) {
	leader, err := cluster.AwaitLeader(ctx)
	if err != nil {
		return 0, 0, err
	}
	member = (leader + 1) % len(cluster.Members)
	begin := time.Now()
	if err := syscall.Kill(cluster.Members[member].PID(), syscall.SIGKILL); err != nil {
		return 0, 0, err
	}
	cluster.Members[member].Kill() // returns when it is gone
	if err := cluster.Members[member].Launch(); err != nil {
		return 0, 0, err
	}
	const every, atMost = 10 * time.Millisecond, time.Minute
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		// On a new connection each time: one that was refused waits before it dials again.
		if readsOnce(ctx, cluster.Members[member].Endpoint) {
			return member, time.Since(begin).Seconds(), nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("no linearizable read for %v after a member was started again: %w", atMost, context.Cause(ctx))
		case <-ticks.C:
		}
	}
}

func readsOnce(ctx context.Context, endpoint string) bool {
	conn, err := servers.Dial(endpoint)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: key(1)})
	return err == nil
}
