package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

const (
	// leaseTTL is so long, in seconds, that none ends.
	leaseTTL = 3600
	// renewalsAhead is how many keep-alives of one stream wait for their answers at most.
	renewalsAhead = 100
)

// keeper keeps its leases alive over a stream on a connection of its own.
type keeper struct {
	conn      *grpc.ClientConn
	leases    []int64
	turn      int
	latencies *hdrhistogram.Histogram // in microseconds
}

// renew measures keep-alives: of many leases, over some streams to the members in turn.
func renew(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (report.Result, error) {
	var keepers []*keeper
	defer func() {
		for _, k := range keepers {
			k.conn.Close()
		}
	}()
	for i := range s.streams {
		conn, err := servers.Dial(cluster.Endpoints()[i%len(cluster.Members)])
		if err != nil {
			return nil, err
		}
		k := &keeper{conn: conn}
		for id := i + 1; id <= s.leases; id += s.streams {
			k.leases = append(k.leases, int64(id))
		}
		keepers = append(keepers, k)
	}
	if _, err := together(ctx, keepers, (*keeper).grant); err != nil {
		return nil, fmt.Errorf("granting leases: %w", err)
	}
	every := time.Duration(0)
	if sc.rate > 0 {
		every = time.Duration(float64(s.streams) / sc.rate * float64(time.Second))
	}
	return s.measured(ctx, cluster, func(d time.Duration) (int64, *hdrhistogram.Histogram, error) {
		n, err := together(ctx, keepers, func(k *keeper, ctx context.Context) (int64, error) { return k.keepAlive(ctx, d, every) })
		all := hdrhistogram.New(1, time.Minute.Microseconds(), 2)
		for _, k := range keepers {
			all.Merge(k.latencies)
		}
		return n, all, err
	})
}

// together lets all keepers do something, and returns the sum. The first failure ends it.
func together(ctx context.Context, keepers []*keeper, do func(*keeper, context.Context) (int64, error)) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sum atomic.Int64
	var group sync.WaitGroup
	for _, k := range keepers {
		group.Go(func() {
			n, err := do(k, ctx)
			if err != nil {
				cancel(err)
			}
			sum.Add(n)
		})
	}
	group.Wait()
	return sum.Load(), context.Cause(ctx)
}

func (k *keeper) grant(ctx context.Context) (int64, error) {
	client := pb.NewLeaseClient(k.conn)
	for _, id := range k.leases {
		if _, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: leaseTTL}); err != nil {
			return 0, err
		}
	}
	return int64(len(k.leases)), nil
}

// keepAlive renews leases in turn for a while, one every so often, or, where that is 0, as fast as answers come. It returns
// how many were renewed once all are answered. Latency counts from when a request should have been sent.
func (k *keeper) keepAlive(ctx context.Context, d, every time.Duration) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream, and with it the sender
	stream, err := pb.NewLeaseClient(k.conn).LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	k.latencies = hdrhistogram.New(1, time.Minute.Microseconds(), 2)
	ahead := renewalsAhead
	if every > 0 {
		ahead = int(d/every) + 1 // all of them
	}
	asked := make(chan time.Time, ahead)
	sent := make(chan error, 1)
	go func() {
		sent <- k.send(ctx, stream, asked, d, every)
		close(asked)
	}()
	n := int64(0)
	for since := range asked {
		r, err := stream.Recv()
		switch {
		case err != nil:
			return n, err
		case r.TTL != leaseTTL:
			return n, fmt.Errorf("lease %d has a time to live of %d after a keep-alive", r.ID, r.TTL)
		}
		n++
		if err := k.latencies.RecordValue(max(1, time.Since(since).Microseconds())); err != nil {
			return n, err
		}
	}
	return n, <-sent
}

func (k *keeper) send(ctx context.Context, stream pb.Lease_LeaseKeepAliveClient, asked chan<- time.Time, d, every time.Duration) error {
	begin := time.Now()
	for n := 0; ; n++ {
		at := time.Now()
		if every > 0 {
			at = begin.Add(time.Duration(n) * every)
			time.Sleep(time.Until(at))
		}
		if at.Sub(begin) >= d {
			return nil
		}
		select {
		case asked <- at:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: k.leases[k.turn%len(k.leases)]}); err != nil {
			return errors.Join(errors.New("sending a keep-alive"), err)
		}
		k.turn++
	}
}
