package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

var background = context.Background()

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func (f *fixture) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	f.t.Helper()
	message, err := f.apply(EncodeTxn(r))
	if err != nil {
		return nil, err
	}
	return message.(*pb.TxnResponse), nil
}

func (f *fixture) compact(rev int64) error {
	f.t.Helper()
	_, err := f.apply(EncodeCompaction(&pb.CompactionRequest{Revision: rev}))
	return err
}

// values returns "key=value" of all keys as of a revision.
func (f *fixture) values(rev int64) string {
	f.t.Helper()
	response, err := f.store.Range(background, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	if err != nil {
		return err.Error()
	}
	var text []string
	for _, kv := range response.Kvs {
		text = append(text, fmt.Sprintf("%s=%s", kv.Key, kv.Value))
	}
	return strings.Join(text, " ")
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestRevisions(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	expect(t, "a fresh store's revision", f.store.Revision(), int64(1))
	expect(t, "the first write's revision", f.put("a", "1").Header.Revision, int64(2))
	message, err := f.apply(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("nothing")}))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "a delete that deletes nothing", message.(*pb.DeleteRangeResponse).Header.Revision, int64(2))
	response, err := f.txn(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: []byte("a")})}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "a transaction that only reads", response.Header.Revision, int64(2))
	if _, err = f.txn(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("b", "1"), putOp("c", "1")}}); err != nil {
		t.Fatal(err)
	}
	expect(t, "two puts in a transaction", f.store.Revision(), int64(3))
	_, err = f.apply(EncodePut(&pb.PutRequest{Key: []byte("a"), Lease: 1}))
	expect(t, "a put with an unknown lease", err, rpctypes.ErrGRPCLeaseNotFound)
	expect(t, "its revision", f.store.Revision(), int64(3))
}

// TestFailedTransactionChangesNothing lets the last operation of a transaction fail though all were checked: it wants
// the value of a key that the transaction itself has deleted. The put behind it is of the same batch.
func TestFailedTransactionChangesNothing(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.put("a", "1")
	failing, err := EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{
		putOp("b", "2"),
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	put, err := EncodePut(&pb.PutRequest{Key: []byte("b"), Value: []byte("3"), PrevKv: true})
	if err != nil {
		t.Fatal(err)
	}
	batch := &balsa.Batch{
		Commands: []balsa.Command{{Index: 2, Payload: failing.Payload()}, {Index: 3, Payload: put.Payload()}},
		Position: balsa.Position{Index: 3, Term: 1},
	}
	if err := f.store.Apply(batch); err != nil {
		t.Fatal(err)
	}
	_, err = DecodeTxn(batch.Commands[0].Result)
	expect(t, "the transaction's error", err, rpctypes.ErrGRPCKeyNotFound)
	response, err := DecodePut(batch.Commands[1].Result)
	if err != nil || response.PrevKv != nil || response.Header.Revision != 3 {
		t.Errorf("the put behind it: %v, %v", response, err)
	}
	expect(t, "values", f.values(0), "a=1 b=3")
	if b, err := f.store.Range(background, &pb.RangeRequest{Key: []byte("b")}); err != nil || b.Kvs[0].Version != 1 {
		t.Errorf("the key that both put: %v, %v", b, err)
	}
	if err := f.store.Verify(background); err != nil {
		t.Error(err)
	}
}

func TestCompaction(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	for i := range 4 {
		f.put("a", fmt.Sprint(i)) // revisions 2 to 5
	}
	expect(t, "above the current revision", f.compact(6), rpctypes.ErrGRPCFutureRev)
	expect(t, "compaction", f.compact(4), error(nil))
	expect(t, "the same again", f.compact(4), rpctypes.ErrGRPCCompacted)
	expect(t, "below the compact revision", f.values(3), rpctypes.ErrGRPCCompacted.Error())
	expect(t, "at the compact revision", f.values(4), "a=2")
	expect(t, "above the current revision", f.values(6), rpctypes.ErrGRPCFutureRev.Error())
	if _, err := f.txn(&pb.TxnRequest{Success: []*pb.RequestOp{
		putOp("b", "1"), rangeOp(&pb.RangeRequest{Key: []byte("a"), Revision: 3}),
	}}); err != rpctypes.ErrGRPCCompacted {
		t.Errorf("a transaction with a compacted range: %v", err)
	}
	expect(t, "the transaction's put", f.values(0), "a=3")
}

func TestMembersArePublished(t *testing.T) {
	e := engine.NewMemory()
	f := newFixture(t, e)
	empty, _ := f.store.Digest()
	publish := func(m *pb.Member) {
		t.Helper()
		if _, err := f.apply(EncodeMember(m)); err != nil {
			t.Fatal(err)
		}
	}
	two := &pb.Member{ID: 2, Name: "two", ClientURLs: []string{"http://two:2379"}, PeerURLs: []string{"http://two:2380"}}
	publish(two)
	publish(&pb.Member{ID: 1, Name: "one"})
	first, _ := f.store.Digest()
	publish(&pb.Member{ID: 1, Name: "uno"})
	publish(&pb.Member{ID: 1, Name: "one"})
	again, _ := f.store.Digest()
	if first == empty || again != first {
		t.Errorf("digests %v, %v, %v: the middle and the last are of the same members", empty, first, again)
	}
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, e.Crash())
	members := f.store.Members()
	if len(members) != 2 || members[0].Name != "one" || !proto.Equal(members[1], two) {
		t.Errorf("members after a restart: %v", members)
	}
	expect(t, "revision", f.store.Revision(), int64(1))
}

func TestRuntimeIsStoredWithTheBatch(t *testing.T) {
	e := engine.NewMemory()
	f := newFixture(t, e)
	if runtime, err := f.store.Runtime(); runtime != nil || err != nil {
		t.Fatal(runtime, err)
	}
	apply := func(index balsa.Index, runtime []byte) {
		if err := f.store.Apply(&balsa.Batch{Position: balsa.Position{Index: index, Term: 1}, Runtime: runtime}); err != nil {
			t.Fatal(err)
		}
	}
	apply(1, []byte("one"))
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	apply(2, []byte("two"))
	apply(3, nil)
	if runtime, err := f.store.Runtime(); string(runtime) != "two" || err != nil {
		t.Errorf("%q, %v", runtime, err)
	}
	f = newFixture(t, e.Crash())
	if runtime, err := f.store.Runtime(); string(runtime) != "one" || err != nil {
		t.Errorf("after a crash: %q, %v", runtime, err)
	}
}

func TestGroupsShareAnEngine(t *testing.T) {
	e := engine.NewMemory()
	one := newFixture(t, e)
	s, err := Open(e, Options{Group: 2})
	if err != nil {
		t.Fatal(err)
	}
	two := &fixture{t: t, engine: e, store: s}
	one.put("a", "1")
	two.put("a", "2")
	two.put("b", "2")
	expect(t, "group 1", one.values(0), "a=1")
	expect(t, "group 2", two.values(0), "a=2 b=2")
	expect(t, "compaction of group 2", two.compact(3), error(nil))
	for more := true; more; {
		if more, err = two.store.CollectGarbage(1); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "group 1", one.values(0), "a=1")
	if err := errors.Join(one.store.Verify(background), two.store.Verify(background)); err != nil {
		t.Error(err)
	}
}

// TestReadsEndWithTheirContext scans with a context that is cancelled already.
func TestReadsEndWithTheirContext(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	f.put("a", "1")
	ctx, cancel := context.WithCancel(background)
	cancel()
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	_, ranged := f.store.Range(ctx, all)
	_, txn := f.store.ReadTxn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(all)}})
	chunks := f.store.RangeChunks(ctx, all, func(*pb.RangeResponse) error { return nil })
	wait := f.store.WaitCollected(ctx, 1)
	run := f.store.RunCollector(ctx, CollectOptions{})
	for i, err := range []error{ranged, txn, chunks, wait, run} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("read %d: %v", i, err)
		}
	}
}

// TestVerifyFindsDamage changes records behind the store's back.
func TestVerifyFindsDamage(t *testing.T) {
	for name, damage := range map[string]func(*Store, engine.Batch){
		"a version is gone": func(s *Store, b engine.Batch) {
			b.Delete(appendVersion(s.appendName(nil, []byte("a")), revision{2, 0}))
		},
		"a value is gone": func(s *Store, b engine.Batch) { b.Delete(s.appendLogKey(nil, revision{2, 0})) },
		"a value is another": func(s *Store, b engine.Batch) {
			v := version{at: revision{2, 0}, created: 2, count: 1}
			b.Set(s.appendLogKey(nil, v.at), appendLogValue(nil, &v, &tally{}, []byte("a"), []byte("x")))
		},
	} {
		f := newFixture(t, engine.NewMemory())
		f.put("a", "1")
		if err := f.store.Verify(background); err != nil {
			t.Fatal(err)
		}
		b := f.engine.NewBatch()
		damage(f.store, b)
		if err := f.engine.Apply(b); err != nil {
			t.Fatal(err)
		}
		if err := f.store.Verify(background); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
