package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/store"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// raceLog is a log of transactions like raceTxn's with compactions between them, and snapshots of some of its indexes.
type raceLog struct {
	log       [][]byte
	snapshots map[balsa.Index][]byte
	digest    store.Digest // at the end
}

func newRaceLog(t *testing.T, n int, compactions bool) *raceLog {
	r := &raceLog{snapshots: map[balsa.Index][]byte{}}
	s := openStore(t, engine.NewMemory())
	random := rand.New(rand.NewPCG(3, 3))
	for len(r.log) < n {
		payload := raceTxn(s.Revision() + 1)
		if compactions && len(r.log) > 0 && random.IntN(6) == 0 {
			entry, err := store.EncodeCompaction(&pb.CompactionRequest{Revision: s.Revision() - random.Int64N(3)})
			if err != nil {
				t.Fatal(err)
			}
			payload = entry.Payload()
		}
		r.log = append(r.log, payload)
		r.apply(t, s, balsa.Index(len(r.log)))
		if len(r.log)%20 == 0 {
			r.snapshots[balsa.Index(len(r.log))] = snapshotOf(t, s)
		}
	}
	r.digest, _ = s.Digest()
	return r
}

func (r *raceLog) apply(t *testing.T, s *store.Store, index balsa.Index) {
	t.Helper()
	if err := s.Apply(&balsa.Batch{
		Commands: []balsa.Command{{Index: index, Term: 1, Payload: r.log[index-1]}}, Position: at(index),
	}); err != nil {
		t.Fatal(err)
	}
}

// TestReadsRaceRestore reads in every way while batches and snapshots take turns, garbage is removed, and others ask for
// what is durable, flush, and take snapshots. No read sees two states, or a closed engine.
func TestReadsRaceRestore(t *testing.T) {
	r := newRaceLog(t, 400, true)
	for name, home := range map[string]engine.Home{"memory": engine.NewMemoryHome(), "pebble": pebbleHome(vfs.NewMem())} {
		t.Run(name, func(t *testing.T) {
			s := openHome(t, home)
			r.apply(t, s, 1)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var all sync.WaitGroup
			failures := make(chan error, 8)
			beside := func(do func(*rand.Rand) error) {
				all.Go(func() {
					random := rand.New(rand.NewPCG(7, 7))
					for ctx.Err() == nil {
						if err := do(random); err != nil {
							failures <- err
							return
						}
					}
				})
			}
			for range 2 {
				beside(func(random *rand.Rand) error { return raceRead(s, random) })
			}
			beside(func(*rand.Rand) error {
				_, err := s.CollectGarbage(25)
				return err
			})
			beside(func(*rand.Rand) error { return useSnapshot(s) })
			for index := balsa.Index(2); index <= 400; index++ {
				if text := r.snapshots[index]; text != nil {
					if err := s.Restore(at(index), bytes.NewReader(text)); err != nil {
						t.Fatal(err)
					}
				} else if index%20 < 10 { // the other half comes with the snapshot
					r.apply(t, s, index)
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
			if digest, position := s.Digest(); digest != r.digest || position != at(400) {
				t.Fatalf("index %d with digest %v, want %v", position.Index, digest, r.digest)
			}
		})
	}
}

// useSnapshot does what the runtime does beside Apply: it takes a snapshot, which another store finds in order, asks what
// is durable, and flushes.
func useSnapshot(s *store.Store) error {
	snapshot, err := s.Snapshot()
	if err != nil {
		return err
	}
	before, err := s.Durable()
	var text bytes.Buffer
	_, written := snapshot.WriteTo(&text)
	after, err2 := s.Durable()
	if err = errors.Join(err, err2, written, snapshot.Close(), s.Flush()); err != nil {
		return err
	}
	if after.Index < before.Index {
		return fmt.Errorf("index %d was durable, and then %d", before.Index, after.Index)
	}
	other, err := store.OpenHome(engine.NewMemoryHome(), store.Options{Group: 1})
	if err != nil {
		return err
	}
	return other.Restore(snapshot.Position(), &text)
}

// meddlingHome gives a meddling engine as its first.
type meddlingHome struct {
	engine.Home
	first *meddlingEngine
}

func (h *meddlingHome) Open() (engine.Engine, error) {
	e, err := h.Home.Open()
	h.first = &meddlingEngine{Engine: e}
	return h.first, err
}

// TestReadMeetsRestore lets a snapshot be restored after a read has begun and before it looks at the engine, while a
// snapshot of the former state is held: both end with what they began with, and then nobody holds the former engine open.
func TestReadMeetsRestore(t *testing.T) {
	r := newRaceLog(t, 40, false)
	for _, way := range []string{"range", "txn"} {
		t.Run(way, func(t *testing.T) {
			home := &meddlingHome{Home: engine.NewMemoryHome()}
			s := openHome(t, home)
			r.apply(t, s, 1)
			text := snapshotOf(t, s)
			held, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			home.first.meddle = func() {
				if err := s.Restore(at(40), bytes.NewReader(r.snapshots[40])); err != nil {
					t.Error(err)
				}
			}
			if err := readAll(s, way, 2); err != nil {
				t.Fatal(err)
			}
			if home.first.meddle != nil {
				t.Fatal("the snapshot was not restored meanwhile")
			}
			if err := readAll(s, way, s.Revision()); err != nil {
				t.Fatal(err)
			}
			var old bytes.Buffer
			if _, err := held.WriteTo(&old); err != nil || !bytes.Equal(old.Bytes(), text) {
				t.Fatalf("the snapshot of the former state changed, %v", err)
			}
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := home.first.Get([]byte("x")); !errors.Is(err, engine.ErrClosed) {
				t.Fatalf("nobody uses the former engine, and it is not closed: %v", err)
			}
		})
	}
}

// readAll reads the ten keys as of now, where the current revision must be the given one.
func readAll(s *store.Store, way string, revision int64) error {
	request := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	var response *pb.RangeResponse
	var err error
	if way == "txn" {
		var txn *pb.TxnResponse
		txn, err = s.ReadTxn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: request}},
		}})
		if err == nil {
			response = txn.Responses[0].GetResponseRange()
		}
	} else {
		response, err = s.Range(context.Background(), request)
	}
	if err != nil {
		return err
	}
	for _, kv := range response.Kvs {
		if string(kv.Value) != fmt.Sprint(revision) {
			return fmt.Errorf("at revision %d: %v", revision, kv)
		}
	}
	if len(response.Kvs) != raceKeys {
		return fmt.Errorf("at revision %d: %d keys", revision, len(response.Kvs))
	}
	return nil
}
