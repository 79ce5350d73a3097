package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// watchLoad says who watches what.
type watchLoad struct {
	watchers int
	keys     int // that they watch: each key has as many watchers as the others
	perTxn   int // keys that are put with each request: where events cost little, requests should not hide it
	// ahead is how many puts may be ahead of the watchers that are told last; 0 for any number.
	ahead int
}

// perKey is how many watchers a key has.
func (l *watchLoad) perKey() int { return l.watchers / l.keys }

// each is how many events a request makes.
func (l *watchLoad) each() int64 { return int64(l.perKey() * l.perTxn) }

// watched returns the watchers' keys. Those of one key follow on each other, and so are on different streams.
func (l *watchLoad) watched() (keys [][]byte) {
	for i := range l.watchers {
		keys = append(keys, key(i/l.perKey()))
	}
	return keys
}

// told lets puts wait until what was put before them has arrived, and lets the end wait for all of it.
type told struct {
	each   int64
	window chan struct{} // has one for each put that may be made; nil for any number
	target atomic.Int64
	whole  chan struct{} // has one when there are as many events as target
}

func newTold(l *watchLoad) *told {
	t := &told{each: l.each(), whole: make(chan struct{}, 1)}
	if l.ahead > 0 {
		t.window = make(chan struct{}, l.ahead)
		for range l.ahead {
			t.window <- struct{}{}
		}
	}
	return t
}

// heard is told of each growth of the number of events.
func (t *told) heard(before, now int64) {
	if t.window != nil {
		for range now/t.each - before/t.each {
			select {
			case t.window <- struct{}{}:
			default: // more events than there should be: await says so
			}
		}
	}
	if target := t.target.Load(); target > 0 && now >= target {
		select {
		case t.whole <- struct{}{}:
		default:
		}
	}
}

// wait returns when another put may be made.
func (t *told) wait(ctx context.Context) error {
	if t.window == nil {
		return nil
	}
	select {
	case <-t.window:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxTelling is how long events may take to arrive after the last put.
const maxTelling = 2 * time.Minute

// await waits until w has n events, and not one more.
func (t *told) await(ctx context.Context, w *watchers, n int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTelling, fmt.Errorf("nothing came for so long that it is lost"))
	defer cancel()
	t.target.Store(n)
	for w.events.Load() < n {
		select {
		case <-t.whole:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events have arrived: %w", w.events.Load(), n, context.Cause(ctx))
		}
	}
	if extra := w.events.Load() - n; extra > 0 {
		return fmt.Errorf("%d events came more than there were", extra)
	}
	return nil
}

// phase is a part of a run, and what it has cost.
type phase struct {
	requests  int64
	took      time.Duration
	server    time.Duration // processor time of all members
	ownClient time.Duration
}

// watch puts at keys that are watched, until all watchers were told. Where there is a rate the same puts without watchers
// come first, so that it can be said what the watching costs beyond them.
func watch(ctx context.Context, s *settings, cluster *servers.Servers, sc scenario) (report.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f, err := newFleet(ctx, s, cluster, sc)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var idle phase
	if sc.rate > 0 {
		if idle, err = s.putWatched(ctx, cluster, f, sc, newTold(sc.watch), nil); err != nil {
			return nil, err
		}
	}
	t := newTold(sc.watch)
	w, err := openWatchers(ctx, cancel, cluster.Endpoints(), s.streams, sc.watch.watched(), t.heard)
	if err != nil {
		return nil, fmt.Errorf("opening watchers: %w", err)
	}
	defer w.close()
	busy, err := s.putWatched(ctx, cluster, f, sc, t, w)
	if err != nil {
		return nil, err
	}
	events := float64(busy.requests * sc.watch.each())
	r := report.Result{
		eventRate: events / busy.took.Seconds(), throughput: float64(busy.requests) / busy.took.Seconds(), requests: float64(busy.requests),
		eventCPU:       float64(busy.server.Microseconds()) / events,
		eventClientCPU: float64(busy.ownClient.Microseconds()) / events,
	}
	if sc.rate > 0 {
		each := float64(busy.server.Microseconds())/float64(busy.requests) - float64(idle.server.Microseconds())/float64(idle.requests)
		r[watchCPU] = each / float64(sc.watch.each())
	}
	return r, cluster.Agree(ctx)
}

// putSome puts at keys that follow on each other, from a random one on.
func (c *client) putSome(l *watchLoad) error {
	first := c.random.IntN(l.keys)
	put := func(n int) *pb.PutRequest { return &pb.PutRequest{Key: key((first + n) % l.keys), Value: c.value()} }
	if l.perTxn == 1 {
		_, err := c.endpoint().Put(c.ctx, put(0))
		return err
	}
	txn := &pb.TxnRequest{}
	for n := range l.perTxn {
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(n)}})
	}
	_, err := c.endpoint().Txn(c.ctx, txn)
	return err
}

// putWatched lets clients put, and waits until all members have applied that and all watchers, if there are any, were told.
func (s *settings) putWatched(ctx context.Context, cluster *servers.Servers, f *fleet, sc scenario, t *told, w *watchers) (phase, error) {
	put := func(c *client) error {
		if err := t.wait(c.ctx); err != nil {
			return err
		}
		return c.putSome(sc.watch)
	}
	run := func(d time.Duration) (int64, error) {
		before := int64(0)
		if w != nil {
			before = w.events.Load()
		}
		puts, _, err := f.run(ctx, work{request: put, duration: d, limit: s.operations, rate: sc.rate})
		if err == nil {
			err = cluster.AwaitApplied(ctx)
		}
		if err == nil && w != nil {
			err = t.await(ctx, w, before+puts*t.each)
		}
		return puts, err
	}
	if _, err := run(warmUp); err != nil {
		return phase{}, fmt.Errorf("warming up: %w", err)
	}
	if w != nil {
		defer s.measuring(ctx, cluster)()
	}
	before, err := cluster.Cost(ctx)
	if err != nil {
		return phase{}, err
	}
	own, begin := ownCPU(), time.Now()
	puts, err := run(s.duration)
	if err == nil && puts == 0 {
		err = fmt.Errorf("no put succeeded in %v", s.duration)
	}
	if err != nil {
		return phase{}, err
	}
	p := phase{requests: puts, took: time.Since(begin), ownClient: ownCPU() - own}
	after, err := cluster.Cost(ctx)
	p.server = after.Sub(before).CPU
	return p, err
}
