package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/balsadb/balsa/bench/servers"
)

// client is one client: it has one request under way at a time.
type client struct {
	ctx       context.Context
	endpoints []pb.KVClient // taken in turn
	turn      int
	random    *rand.Rand
	latencies *hdrhistogram.Histogram // in microseconds, to 1%
}

// values are random bytes, of which each put takes some: nothing about them can be compressed.
var values = func() []byte {
	all := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range all {
		all[i] = byte(random.Uint32())
	}
	return all
}()

func (c *client) endpoint() pb.KVClient {
	c.turn++
	return c.endpoints[c.turn%len(c.endpoints)]
}

func (c *client) value() []byte {
	at := c.random.IntN(len(values) - valueBytes)
	return values[at : at+valueBytes]
}

func key(n int) []byte { return fmt.Appendf(nil, "bench/%08d", n) }

func (c *client) put() error {
	_, err := c.endpoint().Put(c.ctx, &pb.PutRequest{Key: key(c.random.IntN(keySpace)), Value: c.value()})
	return err
}

func (c *client) readLinearizable() error { return c.read(false) }
func (c *client) readSerializable() error { return c.read(true) }

func (c *client) read(serializable bool) error {
	k := key(c.random.IntN(preloaded))
	answer, err := c.endpoint().Range(c.ctx, &pb.RangeRequest{Key: k, Serializable: serializable})
	if err == nil && (len(answer.Kvs) != 1 || len(answer.Kvs[0].Value) != valueBytes) {
		return fmt.Errorf("the answer to a read of %s has not its value of %d bytes: %v", k, valueBytes, answer)
	}
	return err
}

// preloaded is how many keys reads choose from.
const preloaded = 10_000

// fleet is a scenario's clients with their connections.
type fleet struct {
	clients []*client
	conns   []*grpc.ClientConn
}

// newFleet makes a scenario's clients. Some clients share connections, one to each endpoint.
func newFleet(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (*fleet, error) {
	endpoints := cluster.Endpoints()
	if sc.leaderOnly {
		leader, err := cluster.AwaitLeader(ctx)
		if err != nil {
			return nil, err
		}
		endpoints = endpoints[leader : leader+1]
	}
	f := &fleet{}
	var shared []pb.KVClient
	for i := range sc.clients {
		if i%s.perConn == 0 {
			shared = nil
			for _, endpoint := range endpoints {
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
	return f, nil
}

func (f *fleet) close() error {
	var errs []error
	for _, conn := range f.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// work is what clients are to do together.
type work struct {
	request  func(*client) error
	duration time.Duration
	limit    int64   // of requests
	rate     float64 // requests a second, 0 for no bound
}

// run lets all clients work, and returns how many requests succeeded and their latencies. The first failure ends it.
func (f *fleet) run(ctx context.Context, w work) (int64, *hdrhistogram.Histogram, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var given atomic.Int64
	begin := time.Now()
	var group sync.WaitGroup
	for _, c := range f.clients {
		c.ctx, c.latencies = ctx, hdrhistogram.New(1, time.Minute.Microseconds(), 2)
		group.Go(func() {
			if err := c.work(w, begin, &given); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	all := hdrhistogram.New(1, time.Minute.Microseconds(), 2)
	for _, c := range f.clients {
		all.Merge(c.latencies)
	}
	return all.TotalCount(), all, context.Cause(ctx)
}

// work makes one request after the other. Where there is a rate, each has its time, and its latency counts from then: a
// server that keeps clients waiting does not get fewer requests.
func (c *client) work(w work, begin time.Time, given *atomic.Int64) error {
	for {
		n := given.Add(1)
		start := time.Now()
		if w.rate > 0 {
			start = begin.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
			time.Sleep(time.Until(start))
		}
		if n > w.limit || start.Sub(begin) >= w.duration || c.ctx.Err() != nil {
			return nil
		}
		if err := w.request(c); err != nil {
			return err
		}
		if err := c.latencies.RecordValue(max(1, time.Since(start).Microseconds())); err != nil {
			return fmt.Errorf("a request took %v: %w", time.Since(start), err)
		}
	}
}

// preload puts n keys, a hundred with each transaction.
func preload(ctx context.Context, cluster *servers.Servers, n int) error {
	if n == 0 {
		return nil
	}
	const perTxn = 100
	f, err := newFleet(ctx, &settings{perConn: 4}, cluster, scenario{clients: 16})
	if err != nil {
		return err
	}
	defer f.close()
	var next atomic.Int64
	_, _, err = f.run(ctx, work{duration: time.Hour, limit: int64((n + perTxn - 1) / perTxn), request: func(c *client) error {
		txn := &pb.TxnRequest{}
		first := int(next.Add(1)-1) * perTxn
		for i := first; i < min(first+perTxn, n); i++ {
			put := &pb.PutRequest{Key: key(i), Value: c.value()}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		_, err := c.endpoint().Txn(c.ctx, txn)
		return err
	}})
	if err != nil {
		return fmt.Errorf("putting %d keys: %w", n, err)
	}
	return cluster.AwaitApplied(ctx)
}
