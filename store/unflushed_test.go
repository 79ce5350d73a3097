package store

import (
	"fmt"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// countOf puts a key once more and returns how often it was put since it came into being.
func countOf(t *testing.T, s *Store, index *balsa.Index, key string) int64 {
	t.Helper()
	*index++
	entry, err := EncodePut(&pb.PutRequest{Key: []byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	batch := &balsa.Batch{
		Position: balsa.Position{Index: *index, Term: 1},
		Commands: []balsa.Command{{Index: *index, Term: 1, Payload: entry.Payload()}},
	}
	if err := s.Apply(batch); err != nil {
		t.Fatal(err)
	}
	response, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte(key)})
	if err != nil || len(response.Kvs) != 1 {
		t.Fatalf("reading %q: %v, %v", key, response, err)
	}
	return response.Kvs[0].Version
}

// TestWritersFindWhatIsNotFlushed overwrites keys that no cache knows, in an engine that is flushed at no time, in
// the middle, or all the time.
func TestWritersFindWhatIsNotFlushed(t *testing.T) {
	for _, flushEvery := range []int{0, 1, 3, 7} {
		t.Run(fmt.Sprint("flushed every ", flushEvery), func(t *testing.T) {
			e := engine.NewMemory()
			defer e.Close()
			open := func() *Store {
				s, err := Open(e, Options{Group: 1})
				if err != nil {
					t.Fatal(err)
				}
				s.writer.recent = newRecent(1)
				s.writer.unflushed.size, s.writer.unflushed.room = 2, 2
				return s
			}
			s := open()
			var index balsa.Index
			for round := int64(1); round <= 4; round++ {
				for key := range 8 {
					if got := countOf(t, s, &index, fmt.Sprint("key", key)); got != round {
						t.Fatalf("key %d was put %d times, the store counts %d", key, round, got)
					}
					if flushEvery > 0 && int(index)%flushEvery == 0 {
						if err := s.Flush(); err != nil {
							t.Fatal(err)
						}
					}
				}
				s = open() // it finds an engine that is not flushed to the end
			}
		})
	}
}

// TestFlushedKeysAreForgotten follows the filter's own rule: what is durable leaves it, and nothing else.
func TestFlushedKeysAreForgotten(t *testing.T) {
	u := newUnflushed(0, 2)
	u.add("a", 1)
	u.add("b", 2)
	u.flushed(0) // a and b become the old generation
	u.add("c", 3)
	u.add("d", 4)
	u.flushed(1)
	for _, key := range []string{"a", "b", "c", "d"} {
		if !u.has([]byte(key)) {
			t.Fatalf("%q is not flushed, and forgotten", key)
		}
	}
	u.add("e", 5) // it asks again
	u.flushed(2)
	for key, want := range map[string]bool{"a": false, "b": false, "c": true, "d": true, "e": true} {
		if got := u.has([]byte(key)); got != want {
			t.Fatalf("has %q: %v, want %v", key, got, want)
		}
	}
}
