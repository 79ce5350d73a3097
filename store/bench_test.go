package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/store"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// loader applies puts of 256 bytes to a store on disk.
type loader struct {
	t      testing.TB
	engine engine.Engine
	store  *store.Store
	index  balsa.Index
	random *rand.Rand
	value  []byte
}

func newLoader(t testing.TB) *loader {
	e, err := pebble.Open(t.TempDir(), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	s, err := store.Open(e, store.Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	return &loader{t: t, engine: e, store: s, random: rand.New(rand.NewPCG(1, 2)), value: make([]byte, 256)}
}

func key(n int) []byte { return fmt.Appendf(nil, "/registry/pods/default/pod-%08d", n) }

// batch makes a batch of puts.
func (l *loader) batch(size int, next func() int) *balsa.Batch {
	b := &balsa.Batch{}
	for range size {
		for i := range l.value {
			l.value[i] = byte(l.random.Uint32())
		}
		entry, err := store.EncodePut(&pb.PutRequest{Key: key(next()), Value: l.value})
		if err != nil {
			l.t.Fatal(err)
		}
		l.index++
		b.Commands = append(b.Commands, balsa.Command{Index: l.index, Term: 1, Payload: entry.Payload()})
	}
	b.Position = balsa.Position{Index: l.index, Term: 1}
	return b
}

func (l *loader) apply(b *balsa.Batch) {
	if err := l.store.Apply(b); err != nil {
		l.t.Fatal(err)
	}
}

// fill puts keys 0 to n−1, in random order.
func (l *loader) fill(n int) {
	order := l.random.Perm(n)
	for len(order) > 0 {
		l.apply(l.batch(min(1000, len(order)), func() int {
			k := order[0]
			order = order[1:]
			return k
		}))
	}
}

// BenchmarkPut measures a put all included, flushes and compactions too: in batches of several sizes, of new keys
// and over keys that exist.
func BenchmarkPut(b *testing.B) {
	for _, keys := range []int{0, 100_000, 1_000_000} {
		l := newLoader(b)
		l.fill(keys)
		for _, size := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("keys=%d/batch=%d", keys, size), func(b *testing.B) {
				next := keys
				pick := func() int { next++; return next }
				if keys > 0 {
					pick = func() int { return l.random.IntN(keys) }
				}
				b.ReportAllocs()
				cpu := processCPU(b)
				var making time.Duration
				for done := 0; done < b.N; {
					b.StopTimer()
					before := processCPU(b)
					var batches []*balsa.Batch
					for made := 0; made < 5000 && done < b.N; made, done = made+size, done+size {
						batches = append(batches, l.batch(size, pick))
					}
					making += processCPU(b) - before
					b.StartTimer()
					for _, batch := range batches {
						l.apply(batch)
					}
				}
				b.ReportMetric(float64(processCPU(b)-cpu-making)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processCPU returns the processor time that the process has used, its background work included.
func processCPU(t testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkRange(b *testing.B) {
	const keys = 1_000_000
	l := newLoader(b)
	l.fill(keys)
	run := func(name string, request func() *pb.RangeRequest) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.store.Range(context.Background(), request()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("one", func() *pb.RangeRequest { return &pb.RangeRequest{Key: key(l.random.IntN(keys))} })
	run("missing", func() *pb.RangeRequest { return &pb.RangeRequest{Key: append(key(l.random.IntN(keys)), 'x')} })
	run("1000", func() *pb.RangeRequest {
		n := l.random.IntN(keys - 1000)
		return &pb.RangeRequest{Key: key(n), RangeEnd: key(n + 1000)}
	})
	run("500-of-100000", func() *pb.RangeRequest {
		n := l.random.IntN(keys - 100_000)
		return &pb.RangeRequest{Key: key(n), RangeEnd: key(n + 100_000), Limit: 500}
	})
	run("count-100000", func() *pb.RangeRequest {
		n := l.random.IntN(keys - 100_000)
		return &pb.RangeRequest{Key: key(n), RangeEnd: key(n + 100_000), CountOnly: true}
	})
}
