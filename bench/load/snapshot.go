package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

const (
	rateBefore   report.Figure = "puts a second before"
	rateDuring   report.Figure = "puts a second meanwhile"
	lossDuring   report.Figure = "loss, %"
	p99Before    report.Figure = "p99 before, ms"
	p99During    report.Figure = "p99 meanwhile, ms"
	leaderExtra  report.Figure = "leader's extra resident memory, MiB"
	snapshotTime report.Figure = "until the member has caught up, s"
)

func init() {
	scenarios = append(scenarios, scenario{
		name: "snapshot", title: "a member that was away for all of -bytes comes back, at half of full load", clients: 100,
		request: (*client).put, measure: snapshotUnderLoad,
	})
	order = append(order, rateBefore, rateDuring, lossDuring, p99Before, p99During, leaderExtra, snapshotTime)
}

// largeValue is the size of the values that make up the state.
const largeValue = 1 << 10

// snapshotUnderLoad has a member miss the writing of a state, finds out what full load is without it, lets clients ask for half of that,
// and starts the member again. It compares what clients get until that has caught up with what they got just before.
func snapshotUnderLoad(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (report.Result, error) {
	leader, err := cluster.AwaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	away := (leader + 1) % len(cluster.Members)
	cluster.Members[away].Kill()
	f, err := newFleetFor(ctx, s, cluster, sc, away)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := writeState(ctx, f, s.bytes); err != nil {
		return nil, fmt.Errorf("writing a state of %d bytes: %w", s.bytes, err)
	}
	put := work{request: sc.request, duration: s.duration, limit: 1 << 40}
	n, _, err := f.run(ctx, put)
	if err != nil {
		return nil, fmt.Errorf("at full load: %w", err)
	}
	put.rate = float64(n) / s.duration.Seconds() / 2

	memory := watchResident(ctx, cluster.Members[leader].PID())
	before, err := f.at(ctx, put, func() bool { return true })
	if err != nil {
		return nil, fmt.Errorf("at half of it: %w", err)
	}
	had := memory.most()
	begin := time.Now()
	if err := cluster.Members[away].Launch(); err != nil {
		return nil, err
	}
	during, err := f.at(ctx, put, func() bool { return time.Since(begin) > snapshotAtMost || hasCaughtUp(ctx, cluster, leader, away) })
	if err != nil {
		return nil, fmt.Errorf("while the member comes back: %w", err)
	}
	took := time.Since(begin)
	extra := memory.most() - had
	if err := memory.stop(); err != nil {
		return nil, err
	}
	if err := tookSnapshot(ctx, cluster, away); err != nil {
		return nil, err
	}
	return report.Result{
		rateBefore: before.rate, rateDuring: during.rate, lossDuring: 100 * (1 - during.rate/before.rate), p99Before: before.p99, p99During: during.p99,
		leaderExtra: extra / (1 << 20), snapshotTime: took.Seconds(),
	}, cluster.Agree(ctx)
}

// snapshotAtMost is how long a member may take to come back.
const snapshotAtMost = 5 * time.Minute

// newFleetFor is newFleet without the member that is away.
func newFleetFor(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario, away int) (*fleet, error) {
	f := &fleet{}
	var shared []pb.KVClient
	for i := range sc.clients {
		if i%s.perConn == 0 {
			shared = nil
			for member, endpoint := range cluster.Endpoints() {
				if member == away {
					continue
				}
				conn, err := servers.Dial(endpoint)
				if err != nil {
					return nil, errors.Join(err, f.close())
				}
				f.conns = append(f.conns, conn)
				shared = append(shared, pb.NewKVClient(conn))
			}
		}
		f.clients = append(f.clients, &client{endpoints: shared, turn: i, random: rand.New(rand.NewPCG(uint64(i), 2))})
	}
	return f, ctx.Err()
}

// writeState puts so many bytes, in values of a kilobyte that do not compress, two hundred with each transaction.
func writeState(ctx context.Context, f *fleet, bytes int64) error {
	const perTxn = 100
	few := &fleet{clients: f.clients[:min(16, len(f.clients))]}
	var next atomic.Int64
	_, _, err := few.run(ctx, work{duration: time.Hour, limit: bytes / largeValue / perTxn, request: func(c *client) error {
		txn := &pb.TxnRequest{}
		for range perTxn {
			value := make([]byte, largeValue)
			for i := 0; i < len(value); i += 8 {
				n := c.random.Uint64()
				for j := range 8 {
					value[i+j] = byte(n >> (8 * j))
				}
			}
			put := &pb.PutRequest{Key: fmt.Appendf(nil, "state/%010d", next.Add(1)), Value: value}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		_, err := c.endpoint().Txn(c.ctx, txn)
		return err
	}})
	return err
}

// got is what clients got.
type got struct{ rate, p99 float64 }

// at lets clients work, for a run's duration and then on until done, and says what they got.
func (f *fleet) at(ctx context.Context, w work, done func() bool) (got, error) {
	begin, count, worst := time.Now(), int64(0), 0.0
	for {
		n, latencies, err := f.run(ctx, w)
		if err != nil {
			return got{}, err
		}
		count += n
		worst = max(worst, float64(latencies.ValueAtQuantile(99))/1000)
		if done() {
			return got{float64(count) / time.Since(begin).Seconds(), worst}, nil
		}
	}
}

// hasCaughtUp reports whether a member has applied nearly all that the leader has: what is written just now is always missing.
func hasCaughtUp(ctx context.Context, cluster *servers.Servers, leader, member int) bool {
	const nearly = 20_000
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := servers.Dial(cluster.Members[member].Endpoint) // one that was refused waits before it dials again
	if err != nil {
		return false
	}
	defer conn.Close()
	theirs, err := pb.NewMaintenanceClient(cluster.Conn(leader)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return false
	}
	its, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return err == nil && its.RaftAppliedIndex+nearly > theirs.RaftAppliedIndex
}

// tookSnapshot returns an error where a member came back without one.
func tookSnapshot(ctx context.Context, cluster *servers.Servers, member int) error {
	if cluster.Kind != servers.Balsa {
		return nil // it does not tell
	}
	all, err := servers.Metrics(ctx, cluster.Members[member].Endpoint)
	if err == nil && all["balsa_snapshots_installed_total"] == 0 {
		err = errors.New("the member needed no snapshot: more -bytes, so that its leader's log is cut")
	}
	return err
}
