package store

import (
	"context"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// fixture is a store with a log of its own: commands are applied one batch each.
type fixture struct {
	t      testing.TB
	engine engine.Engine
	store  *Store
	index  balsa.Index
}

func newFixture(t testing.TB, e engine.Engine) *fixture {
	t.Helper()
	s, err := Open(e, Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	applied, _ := s.Applied()
	return &fixture{t: t, engine: e, store: s, index: applied.Index}
}

// apply applies a command and returns its result, decoded.
func (f *fixture) apply(entry raft.Entry, err error) (proto.Message, error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	f.index++
	batch := balsa.Batch{
		Commands: []balsa.Command{{Index: f.index, Term: 1, Payload: entry.Payload()}},
		Position: balsa.Position{Index: f.index, Term: 1},
	}
	if err := f.store.Apply(&batch); err != nil {
		f.t.Fatal(err)
	}
	return DecodeResult(CommandKind(entry.Payload()), batch.Commands[0].Result)
}

func (f *fixture) put(key, value string) *pb.PutResponse {
	f.t.Helper()
	response, err := f.apply(EncodePut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)}))
	if err != nil {
		f.t.Fatal(err)
	}
	return response.(*pb.PutResponse)
}

func TestPutAndRange(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	if r := f.store.Revision(); r != 1 {
		t.Fatalf("an empty store has revision %d, want 1", r)
	}
	if r := f.put("a", "1").Header.Revision; r != 2 {
		t.Fatalf("the first write has revision %d, want 2", r)
	}
	f.put("b", "2")
	f.put("a", "3")
	response, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	if response.Count != 2 || string(response.Kvs[0].Value) != "3" || response.Kvs[0].Version != 2 {
		t.Fatal(response)
	}
}
