package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
	"github.com/balsadb/balsa/internal/history"
)

var (
	chaosRounds = flag.Int("chaos-rounds", 0, "how many faults TestChaos and TestChaosWatch live through; 0 for each kind once")
	chaosSeed   = flag.Uint64("chaos-seed", uint64(time.Now().UnixNano()), "what decides their faults and requests")
)

// storm is a cluster of real processes, the clients that load it, and what they were told.
type storm struct {
	t       *testing.T
	faults  []fault // what can happen
	rounds  int     // how often something does
	cluster *cluster.Cluster
	proxies []*cluster.Proxy // before the members' peer addresses
	doors   []*cluster.Proxy // before their client addresses, for those who want their connections broken
	history *history.History
	clients []*clientv3.Client // one for each member, not through the doors
	random  *rand.Rand
	round   atomic.Int64
	// tried and answered count the clients' requests.
	tried, answered gauge

	mu      sync.Mutex
	written []write
}

// write is a change that was acknowledged.
type write struct {
	revision   int64
	key, value string
	deleted    bool
}

// newStormOf returns a storm that has no cluster and no clients yet.
func newStormOf(t *testing.T, faults []fault) *storm {
	s := &storm{t: t, faults: faults, rounds: *chaosRounds, random: rand.New(rand.NewPCG(*chaosSeed, 1))}
	if s.rounds == 0 {
		s.rounds = len(faults)
	}
	t.Logf("again: -chaos-seed %d -chaos-rounds %d", *chaosSeed, s.rounds)
	begin := time.Now()
	s.history = history.New(func() int64 { return int64(time.Since(begin)) })
	return s
}

func newStorm(t *testing.T, faults []fault, args ...string) *storm {
	s := newStormOf(t, faults)
	s.cluster = startCluster(t, 3, cluster.Options{Args: args, AdvertisePeer: func(_ int, address string) string {
		s.proxies = append(s.proxies, s.proxy(address))
		return s.proxies[len(s.proxies)-1].Address()
	}})
	for _, m := range s.cluster.Members {
		s.doors = append(s.doors, s.proxy(m.Endpoint))
		s.clients = append(s.clients, dial(t, m.Endpoint))
	}
	return s
}

func (s *storm) proxy(target string) *cluster.Proxy {
	s.t.Helper()
	p, err := cluster.NewProxy(target)
	s.must(err)
	s.t.Cleanup(p.Close)
	return p
}

func (s *storm) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("seed %d: %v", *chaosSeed, err)
	}
}

// patience is how long a test may take that lives through the storm's faults.
func (s *storm) patience() time.Duration { return time.Duration(s.rounds+1) * time.Minute }

// live has clients load the members while one fault after the other strikes, each kind once before any comes again. It
// returns once all is repaired and the clients have ended.
func (s *storm) live(ctx context.Context, clients int) {
	load, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	for id := range clients {
		running.Go(func() { s.load(load, id) })
	}
	var order []int
	for round := range s.rounds {
		s.round.Store(int64(round))
		if len(order) == 0 {
			order = s.random.Perm(len(s.faults))
		}
		fault := s.faults[order[0]]
		order = order[1:]
		s.must(s.answered.more(ctx, 150))
		s.t.Logf("round %d: %s", round+1, fault.name)
		repair, err := fault.strike(ctx, s)
		s.must(err)
		s.must(s.tried.more(ctx, fault.tries))
		s.must(repair(ctx))
	}
	s.must(s.answered.more(ctx, 150))
	stop()
	running.Wait()
}

// load asks one thing after the other, of a random member, until ctx ends. A member that did not answer is asked seldom until
// it does: who waits for the dead makes no load.
func (s *storm) load(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(*chaosSeed, uint64(id)+2))
	known := map[string]string{}
	var silent [3]bool
	for n := 0; ctx.Err() == nil; n++ {
		op := history.Operation{
			Kind: history.Kind(random.IntN(4)), Key: fmt.Sprintf("round%d-key%d", s.round.Load(), random.IntN(4)),
			Value: fmt.Sprintf("client%d-%d", id, n),
		}
		op.Expect = known[op.Key]
		call := s.history.Begin(id, op)
		member := random.IntN(3)
		if silent[member] && random.IntN(10) != 0 {
			member = (member + 1 + random.IntN(2)) % 3
		}
		one, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := ask(one, s.clients[member], op)
		cancel()
		silent[member] = err != nil
		s.tried.add()
		if err != nil {
			continue // whatever it says: of unknown outcome
		}
		call.End(answer)
		s.note(op, answer)
		known[op.Key] = answer.Value
		if op.Kind == history.Put || answer.Done && op.Kind == history.Swap {
			known[op.Key] = op.Value
		}
		s.answered.add()
	}
}

// note keeps what an acknowledged request has changed.
func (s *storm) note(op history.Operation, a history.Answer) {
	if op.Kind == history.Get || op.Kind != history.Put && !a.Done {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, write{a.Revision, op.Key, op.Value, op.Kind == history.Delete})
}

func ask(ctx context.Context, c *clientv3.Client, op history.Operation) (a history.Answer, err error) {
	switch op.Kind {
	case history.Get:
		r, err := c.Get(ctx, op.Key)
		if err != nil {
			return a, err
		}
		a.Revision = r.Header.Revision
		if len(r.Kvs) > 0 {
			a.Value = string(r.Kvs[0].Value)
		}
	case history.Put:
		r, err := c.Put(ctx, op.Key, op.Value)
		if err != nil {
			return a, err
		}
		a.Revision = r.Header.Revision
	case history.Delete:
		r, err := c.Delete(ctx, op.Key)
		if err != nil {
			return a, err
		}
		a.Revision, a.Done = r.Header.Revision, r.Deleted > 0
	default:
		found := clientv3.Compare(clientv3.Value(op.Key), "=", op.Expect)
		if op.Expect == "" {
			found = clientv3.Compare(clientv3.Version(op.Key), "=", 0)
		}
		r, err := c.Txn(ctx).If(found).Then(clientv3.OpPut(op.Key, op.Value)).Else(clientv3.OpGet(op.Key)).Commit()
		if err != nil {
			return a, err
		}
		a.Revision, a.Done = r.Header.Revision, r.Succeeded
		if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
			a.Value = string(kvs[0].Value)
		}
	}
	return a, nil
}
