package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/store"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sync/errgroup"
)

// TestReadsRaceCompaction reads while transactions are applied, compactions move up and garbage is removed. Every
// transaction sets all of ten keys to its own revision: so every read that is answered has ten keys with the value
// that its revision says, and one at the current revision is always answered.
func TestReadsRaceCompaction(t *testing.T) {
	engines := map[string]func() (engine.Engine, error){
		"memory": func() (engine.Engine, error) { return engine.NewMemory(), nil },
		"pebble": func() (engine.Engine, error) {
			return pebble.Open("state", pebble.Options{FS: vfs.NewMem(), MemTableBytes: 256 << 10})
		},
	}
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			e, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			raceReads(t, openStore(t, e))
		})
	}
}

// meddlingEngine does something the first time that a reader opens a view of it.
type meddlingEngine struct {
	engine.Engine
	meddle func()
}

func (m *meddlingEngine) once() {
	if meddle := m.meddle; meddle != nil {
		m.meddle = nil
		meddle()
	}
}

func (m *meddlingEngine) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	m.once()
	return m.Engine.NewIterator(lower, upper)
}

func (m *meddlingEngine) NewSnapshot() engine.Snapshot {
	m.once()
	return m.Engine.NewSnapshot()
}

// TestReadMeetsCompaction lets a compaction pass, and its garbage go, after a read has taken its revision and before
// it looks at the engine: the read of an old revision is refused, that of the current one is whole.
func TestReadMeetsCompaction(t *testing.T) {
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	old := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Revision: 2}
	txn := func(s *store.Store, r *pb.RangeRequest) (*pb.RangeResponse, error) {
		response, err := s.ReadTxn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: r}},
		}})
		if err != nil {
			return nil, err
		}
		return response.Responses[0].GetResponseRange(), nil
	}
	for name, read := range map[string]func(*store.Store, *pb.RangeRequest) (*pb.RangeResponse, error){
		"range": func(s *store.Store, r *pb.RangeRequest) (*pb.RangeResponse, error) {
			return s.Range(context.Background(), r)
		},
		"txn": txn,
	} {
		t.Run(name, func(t *testing.T) {
			e := &meddlingEngine{Engine: engine.NewMemory()}
			s := openStore(t, e)
			index := balsa.Index(0)
			apply := func(payload []byte) {
				index++
				if err := s.Apply(&balsa.Batch{
					Commands: []balsa.Command{{Index: index, Term: 1, Payload: payload}},
					Position: balsa.Position{Index: index, Term: 1},
				}); err != nil {
					t.Fatal(err)
				}
			}
			compactAndCollect := func() {
				apply(raceTxn(s.Revision() + 1))
				entry, err := store.EncodeCompaction(&pb.CompactionRequest{Revision: s.Revision()})
				if err != nil {
					t.Fatal(err)
				}
				apply(entry.Payload())
				if more, err := s.CollectGarbage(1000); more || err != nil {
					t.Fatal(more, err)
				}
			}
			apply(raceTxn(2))
			e.meddle = compactAndCollect
			if response, err := read(s, old); !errors.Is(err, rpctypes.ErrGRPCCompacted) {
				t.Errorf("revision 2 was compacted and collected: %v, %v", response, err)
			}
			e.meddle = compactAndCollect
			response, err := read(s, all)
			if err != nil || response.Count != raceKeys {
				t.Errorf("the current revision: %v, %v", response, err)
			}
		})
	}
}

const raceKeys = 10

func raceReads(t *testing.T, s *store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var index balsa.Index
	apply := func(payload []byte) error {
		index++
		return s.Apply(&balsa.Batch{
			Commands: []balsa.Command{{Index: index, Term: 1, Payload: payload}},
			Position: balsa.Position{Index: index, Term: 1},
		})
	}
	if err := apply(raceTxn(2)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	failures := make(chan error, 8)
	for reader := range 3 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 1))
			for ctx.Err() == nil {
				if err := raceRead(s, random); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.CollectGarbage(25); err != nil {
				failures <- err
				return
			}
		}
	})
	random := rand.New(rand.NewPCG(9, 9))
	for n := int64(3); n < 1500; n++ {
		if err := apply(raceTxn(n)); err != nil {
			t.Fatal(err)
		}
		if random.IntN(5) == 0 {
			entry, err := store.EncodeCompaction(&pb.CompactionRequest{Revision: n - random.Int64N(3)})
			if err := errors.Join(err, apply(entry.Payload())); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	all.Wait()
	select {
	case err := <-failures:
		t.Fatal(err)
	default:
	}
	if err := s.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// raceTxn is the command that makes revision n.
func raceTxn(n int64) []byte {
	r := &pb.TxnRequest{}
	for k := range raceKeys {
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
			Key: fmt.Appendf(nil, "k%d", k), Value: fmt.Append(nil, n),
		}}})
	}
	entry, err := store.EncodeTxn(r)
	if err != nil {
		panic(err)
	}
	return entry.Payload()
}

// raceRead reads in one of the ways, now or in the past.
func raceRead(s *store.Store, random *rand.Rand) error {
	request := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	if random.IntN(2) == 0 {
		request.Revision = max(2, s.Revision()-random.Int64N(6))
	}
	response := &pb.RangeResponse{}
	var err error
	switch random.IntN(3) {
	case 0:
		response, err = s.Range(context.Background(), request)
	case 1:
		err = s.RangeChunks(context.Background(), request, func(r *pb.RangeResponse) error {
			response = r
			return nil
		})
		if request.Revision == 0 && errors.Is(err, rpctypes.ErrGRPCCompacted) {
			return nil // a stream is held to its first chunk's revision
		}
	case 2:
		var txn *pb.TxnResponse
		txn, err = s.ReadTxn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: request}},
		}})
		if err == nil {
			response = txn.Responses[0].GetResponseRange()
		}
	}
	if request.Revision != 0 && errors.Is(err, rpctypes.ErrGRPCCompacted) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("at revision %d: %w", request.Revision, err)
	}
	want := request.Revision
	if want == 0 {
		want = response.Header.Revision
	}
	if len(response.Kvs) != raceKeys {
		return fmt.Errorf("at revision %d: %d keys, want %d", want, len(response.Kvs), raceKeys)
	}
	for _, kv := range response.Kvs {
		if string(kv.Value) != fmt.Sprint(want) || kv.ModRevision != want {
			return fmt.Errorf("at revision %d: %v", want, kv)
		}
	}
	return nil
}

// TestCollectorRemovesAndTells runs the collector beside compactions; whoever waits for one is told.
func TestCollectorRemovesAndTells(t *testing.T) {
	e := engine.NewMemory()
	s := openStore(t, e)
	ctx, cancel := context.WithCancel(context.Background())
	var collector errgroup.Group
	collector.Go(func() error { return s.RunCollector(ctx, store.CollectOptions{Batch: 7, Pause: 1}) })
	h := newHistory(t, rand.New(rand.NewPCG(4, 4)), 300)
	h.apply(t, s, 300)
	if err := s.WaitCollected(ctx, s.CompactRevision()); err != nil {
		t.Fatal(err)
	}
	h.check(t, s)
	cancel()
	if err := collector.Wait(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
