package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// TestRebase restores a state, makes it a new cluster's, and goes on: over a restart, with compactions and garbage.
func TestRebase(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	for i := range 20 {
		f.put(fmt.Sprint("key", i%7), "value")
	}
	if _, err := f.apply(EncodeMember(&pb.Member{ID: 5, Name: "former"})); err != nil {
		t.Fatal(err)
	}
	if _, err := f.apply(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("key3")})); err != nil {
		t.Fatal(err)
	}
	text, at := f.written()
	if sum, err := CheckSnapshot(at, bytes.NewReader(text)); err != nil || sum.Keys != 6 || sum.Revision != 22 || sum.Bytes != f.store.Size() {
		t.Fatalf("%+v, %v", sum, err)
	}
	for _, bump := range []int64{0, 1, 1000} {
		home := engine.NewMemoryHome()
		s, err := OpenHome(home, Options{Group: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Restore(at, bytes.NewReader(text)), s.Rebase(bump)); err != nil {
			t.Fatal(err)
		}
		before, _ := s.Digest()
		home = home.Crash() // it is durable
		if s, err = OpenHome(home, Options{Group: 1}); err != nil {
			t.Fatal(err)
		}
		if after, position := s.Digest(); after != before || position != at || len(s.Members()) != 0 {
			t.Fatalf("digest %v at %v after a restart, %v before; members %v", after, position, before, s.Members())
		}
		g := &fixture{t: t, store: s, index: at.Index}
		if s.state.Load().census == nil || s.Revision() != 22+bump {
			t.Fatal(s.Revision(), s.state.Load().census)
		}
		g.checkRebased(bump)
	}
	if err := f.store.Rebase(-1); err == nil {
		t.Error("a revision went back")
	}
	if err := f.store.Rebase(1<<63 - 1); err == nil {
		t.Error("a revision overflowed")
	}
}

func (f *fixture) checkRebased(bump int64) {
	f.t.Helper()
	f.wantCount("key", 6)
	_, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("key1"), Revision: 21})
	if (bump > 0) != errors.Is(err, rpctypes.ErrGRPCCompacted) {
		f.t.Errorf("a read of a former revision with bump %d: %v", bump, err)
	}
	f.tidyAll()
	for i := range 10 {
		f.put(fmt.Sprint("key", i), "later")
	}
	if _, err := f.apply(EncodeCompaction(&pb.CompactionRequest{Revision: 25 + bump})); err != nil {
		f.t.Fatal(err)
	}
	f.tidyAll()
	f.wantCount("key", 10)
	if err := f.store.Verify(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) written() ([]byte, balsa.Position) {
	f.t.Helper()
	snapshot, err := f.store.Snapshot()
	if err != nil {
		f.t.Fatal(err)
	}
	var text bytes.Buffer
	_, err = snapshot.WriteTo(&text)
	at := snapshot.Position()
	if err = errors.Join(err, snapshot.Close()); err != nil {
		f.t.Fatal(err)
	}
	return text.Bytes(), at
}
