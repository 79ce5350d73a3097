package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/balsadb/balsa/internal/cluster"
	"github.com/balsadb/balsa/internal/history"
)

// The long version: go test ./cmd/balsa -run TestChaos -chaos-rounds 20 -timeout 30m
var (
	chaosRounds = flag.Int("chaos-rounds", 6, "how many faults TestChaos lives through")
	chaosSeed   = flag.Uint64("chaos-seed", uint64(time.Now().UnixNano()), "what decides its faults and requests")
)

// storm is a cluster of real processes, the clients that load it, and what they were told.
type storm struct {
	t       *testing.T
	cluster *cluster.Cluster
	proxies []*cluster.Proxy
	history *history.History
	clients []*clientv3.Client // one for each member
	random  *rand.Rand
	round   atomic.Int64
	// tried and answered count the clients' requests.
	tried, answered counter
}

// counter counts, and lets one wait until it has counted so far.
type counter struct {
	mu    sync.Mutex
	n     int
	moved chan struct{}
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// await returns when more requests were counted.
func (c *counter) await(ctx context.Context, more int) error {
	c.mu.Lock()
	target := c.n + more
	for c.n < target {
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d requests: %w", c.n, target, ctx.Err())
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
	return nil
}

// TestChaos kills, stops and cuts off members under load, and has what the clients were told judged. Members keep
// unsynced writes in their own memory, so that a kill is a power cut: what was acknowledged without a sync is lost.
func TestChaos(t *testing.T) {
	s := newStorm(t, "--testing-hold-unsynced-writes=true", "--testing-log-segment-bytes=16384")
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*chaosRounds)*time.Minute)
	defer cancel()
	load, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() { s.load(load, id) })
	}
	for round := range *chaosRounds {
		s.round.Store(int64(round))
		fault := faults[(round+int(*chaosSeed))%len(faults)]
		s.must(s.answered.await(ctx, 150))
		t.Logf("round %d: %s", round+1, fault.name)
		repair, err := fault.strike(s)
		s.must(err)
		s.must(s.tried.await(ctx, fault.tries))
		s.must(repair(ctx))
		s.must(s.answered.await(ctx, 150))
	}
	stop()
	clients.Wait()
	s.judge(ctx)
	if n := s.snapshots(); n > 0 {
		t.Logf("%d snapshots were installed", n)
	} else if *chaosRounds >= len(faults) {
		t.Error("no snapshot was installed")
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

func newStorm(t *testing.T, args ...string) *storm {
	t.Logf("again: -chaos-seed %d -chaos-rounds %d", *chaosSeed, *chaosRounds)
	s := &storm{t: t, random: rand.New(rand.NewPCG(*chaosSeed, 1))}
	begin := time.Now()
	s.history = history.New(func() int64 { return int64(time.Since(begin)) })
	s.cluster = startCluster(t, 3, cluster.Options{Args: args, AdvertisePeer: func(_ int, address string) string {
		p, err := cluster.NewProxy(address)
		s.must(err)
		s.proxies = append(s.proxies, p)
		t.Cleanup(p.Close)
		return p.Address()
	}})
	for _, m := range s.cluster.Members {
		s.clients = append(s.clients, dial(t, m.Endpoint))
	}
	return s
}

// dial returns a client of one endpoint.
func dial(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (s *storm) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("seed %d: %v", *chaosSeed, err)
	}
}

// fault is something bad. Its clients try so many requests before it is repaired.
type fault struct {
	name   string
	tries  int
	strike func(*storm) (repair func(context.Context) error, err error)
}

var faults = []fault{
	{"one member killed", 60, func(s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		m.Kill()
		return m.Restart, nil
	}},
	{"a member stopped, the others go on", 60, func(s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		return func(context.Context) error { return m.Resume() }, m.Pause()
	}},
	{"all members killed", 0, func(s *storm) (func(context.Context) error, error) {
		s.cluster.KillAll()
		return func(ctx context.Context) error {
			for _, m := range s.cluster.Members {
				if err := m.Launch(); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}},
	{"the way to a member cut", 60, func(s *storm) (func(context.Context) error, error) {
		p := s.proxies[s.random.IntN(3)]
		p.Cut()
		return func(context.Context) error { p.Heal(); return nil }, nil
	}},
	{"a member killed until the others' logs begin behind its own", 400, func(s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		m.Kill()
		return m.Restart, nil
	}},
	{"one killed while another is stopped", 6, func(s *storm) (func(context.Context) error, error) {
		first := s.random.IntN(3)
		killed, stopped := s.cluster.Members[first], s.cluster.Members[(first+1)%3]
		err := stopped.Pause()
		killed.Kill()
		return func(ctx context.Context) error {
			if err := killed.Launch(); err != nil {
				return err
			}
			return stopped.Resume()
		}, err
	}},
}

func (s *storm) anyone() *cluster.Member { return s.cluster.Members[s.random.IntN(3)] }

// load asks one thing after the other, of a random member, until ctx ends.
func (s *storm) load(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(*chaosSeed, uint64(id)+2))
	known := map[string]string{}
	for n := 0; ctx.Err() == nil; n++ {
		op := history.Operation{
			Kind: history.Kind(random.IntN(4)), Key: fmt.Sprintf("round%d-key%d", s.round.Load(), random.IntN(4)),
			Value: fmt.Sprintf("client%d-%d", id, n),
		}
		op.Expect = known[op.Key]
		call := s.history.Begin(id, op)
		one, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := ask(one, s.clients[random.IntN(3)], op)
		cancel()
		s.tried.add()
		if err != nil {
			continue // whatever it says: of unknown outcome
		}
		call.End(answer)
		known[op.Key] = answer.Value
		if op.Kind == history.Put || answer.Done && op.Kind == history.Swap {
			known[op.Key] = op.Value
		}
		s.answered.add()
	}
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

// judge reads every key once more, compares the members, and has the history judged.
func (s *storm) judge(ctx context.Context) {
	for round := range *chaosRounds {
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
	s := newStorm(t, "--testing-hold-unsynced-writes=true", "--unsafe-no-fsync=true")
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
