package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// history is a log of commands, and the digest after each index as one undisturbed replica found it.
type history struct {
	log     []raft.Entry
	digests []store.Digest // digests[i] is of index i
}

// newHistory makes n commands of all kinds over a few keys.
func newHistory(t *testing.T, random *rand.Rand, n int) *history {
	h := &history{digests: make([]store.Digest, 1, n+1)}
	s := openStore(t, engine.NewMemory())
	for i := range n {
		var entry raft.Entry
		var err error
		key := fmt.Appendf(nil, "key%d", random.IntN(20))
		switch random.IntN(10) {
		case 0:
			entry, err = store.EncodeDeleteRange(&pb.DeleteRangeRequest{Key: key, RangeEnd: []byte("key5")})
		case 1:
			entry, err = store.EncodeCompaction(&pb.CompactionRequest{Revision: s.Revision() - random.Int64N(20)})
		case 2:
			entry, err = store.EncodeMember(&pb.Member{ID: random.Uint64N(3), Name: fmt.Sprint(i)})
		default:
			value := strings.Repeat("v", random.IntN(3000))
			entry, err = store.EncodePut(&pb.PutRequest{Key: key, Value: []byte(value)})
		}
		if err != nil {
			t.Fatal(err)
		}
		h.log = append(h.log, entry)
		h.apply(t, s, balsa.Index(i+1))
		digest, _ := s.Digest()
		h.digests = append(h.digests, digest)
	}
	return h
}

// apply applies the log up to an index to a store.
func (h *history) apply(t *testing.T, s *store.Store, until balsa.Index) {
	t.Helper()
	applied, err := s.Applied()
	if err != nil {
		t.Fatal(err)
	}
	batch := &balsa.Batch{Position: balsa.Position{Index: until, Term: 1}}
	for i := applied.Index + 1; i <= until; i++ {
		batch.Commands = append(batch.Commands, balsa.Command{Index: i, Term: 1, Payload: h.log[i-1].Payload()})
	}
	if err := s.Apply(batch); err != nil {
		t.Fatal(err)
	}
}

// check compares a store's state with what its position says.
func (h *history) check(t *testing.T, s *store.Store) balsa.Index {
	t.Helper()
	digest, at := s.Digest()
	if at.Index > 0 && digest != h.digests[at.Index] {
		t.Fatalf("the state at index %d has digest %v, want %v", at.Index, digest, h.digests[at.Index])
	}
	if err := s.Verify(context.Background()); err != nil {
		t.Fatalf("index %d: %v", at.Index, err)
	}
	return at.Index
}

func openStore(t *testing.T, e engine.Engine) *store.Store {
	t.Helper()
	s, err := store.Open(e, store.Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openPebble(t *testing.T, fs vfs.FS) engine.Engine {
	t.Helper()
	e, err := pebble.Open("state", pebble.Options{FS: fs, MemTableBytes: 64 << 10, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestE30StateAndAppliedIndexAreOne cuts the power at random moments, with unsynced blocks lost at random: whatever
// index the state says it is at, it is exactly the state of that index, and the rest of the log brings it to the end.
func TestE30StateAndAppliedIndexAreOne(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 30))
		h := newHistory(t, random, 600)
		fs := vfs.NewCrashableMem()
		var durable balsa.Index
		for done := false; !done; {
			e := openPebble(t, fs)
			s := openStore(t, e)
			at := h.check(t, s)
			if at < durable {
				t.Fatalf("seed %d: index %d after a crash, %d was durable", seed, at, durable)
			}
			for at < balsa.Index(len(h.log)) && random.IntN(50) > 0 {
				at = min(at+1+balsa.Index(random.IntN(12)), balsa.Index(len(h.log)))
				h.apply(t, s, at)
				if random.IntN(4) == 0 {
					if _, err := s.CollectGarbage(30); err != nil {
						t.Fatal(err)
					}
				}
				if random.IntN(30) == 0 {
					if err := s.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			done = at == balsa.Index(len(h.log))
			h.check(t, s)
			position, err := s.Durable()
			if err != nil {
				t.Fatal(err)
			}
			durable = position.Index
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestE50RestartShowsWhereItStands crashes after everything was answered: the store says that it stands at an
// earlier index, with the state of that index and nothing newer, so that the runtime knows to wait; and once it has
// applied up to the old place, it answers as before.
func TestE50RestartShowsWhereItStands(t *testing.T) {
	e := engine.NewMemory()
	s := openStore(t, e)
	h := newHistory(t, rand.New(rand.NewPCG(1, 50)), 100)
	h.apply(t, s, 40)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	h.apply(t, s, 100)
	revision := s.Revision()
	s = openStore(t, e.Crash())
	if at := h.check(t, s); at != 40 {
		t.Fatalf("after the crash it says index %d, 40 was flushed", at)
	}
	if s.Revision() >= revision {
		t.Fatalf("revision %d of what was lost shows", s.Revision())
	}
	h.apply(t, s, 100)
	if h.check(t, s); s.Revision() != revision {
		t.Fatalf("revision %d after the replay, %d before the crash", s.Revision(), revision)
	}
}

// TestE51StateAheadOfTheLogIsAFloor gives a store that is at index 60 entries that it has: they are refused, since
// applying them again would be wrong, and the log goes on above.
func TestE51StateAheadOfTheLogIsAFloor(t *testing.T) {
	e := engine.NewMemory()
	h := newHistory(t, rand.New(rand.NewPCG(1, 51)), 100)
	s := openStore(t, e)
	h.apply(t, s, 60)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	e = e.Crash()
	s = openStore(t, e)
	applied, err := s.Applied()
	durable, err2 := s.Durable()
	if err := errors.Join(err, err2); err != nil || applied.Index != 60 || durable != applied {
		t.Fatalf("applied %v, durable %v, %v; want index 60", applied, durable, err)
	}
	again := &balsa.Batch{
		Commands: []balsa.Command{{Index: 60, Term: 1, Payload: h.log[59].Payload()}},
		Position: balsa.Position{Index: 61, Term: 1},
	}
	if err := s.Apply(again); err == nil {
		t.Fatal("index 60 was applied twice")
	}
	s = openStore(t, e)
	h.apply(t, s, 100)
	h.check(t, s)
}

// failingEngine refuses one batch.
type failingEngine struct {
	engine.Engine
	fail bool
}

func (f *failingEngine) Apply(b engine.Batch) error {
	if f.fail {
		return engine.ErrFailed
	}
	return f.Engine.Apply(b)
}

// TestFailedEngineStopsTheReplica fails a batch: readers go on seeing the state before it, and nothing is applied after it.
func TestFailedEngineStopsTheReplica(t *testing.T) {
	e := &failingEngine{Engine: engine.NewMemory()}
	s := openStore(t, e)
	h := newHistory(t, rand.New(rand.NewPCG(1, 3)), 20)
	h.apply(t, s, 10)
	e.fail = true
	batch := &balsa.Batch{
		Commands: []balsa.Command{{Index: 11, Term: 1, Payload: h.log[10].Payload()}},
		Position: balsa.Position{Index: 11, Term: 1},
	}
	if err := s.Apply(batch); !errors.Is(err, engine.ErrFailed) {
		t.Fatal(err)
	}
	e.fail = false
	if err := s.Apply(batch); !errors.Is(err, engine.ErrFailed) {
		t.Fatalf("a stopped replica goes on: %v", err)
	}
	if at := h.check(t, s); at != 10 {
		t.Fatalf("index %d shows", at)
	}
}
