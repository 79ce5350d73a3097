package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestPutGetDelete(t *testing.T) {
	client := newClient(t, startStore(t).address)
	put, err := client.Put(t.Context(), "k", "1")
	wantHeader(t, "first put", put.Header, err, 2)
	put, err = client.Put(t.Context(), "k", "2", clientv3.WithPrevKV())
	wantHeader(t, "second put", put.Header, err, 3)
	if kv := put.PrevKv; kv == nil || string(kv.Value) != "1" || kv.ModRevision != 2 || kv.Version != 1 {
		t.Errorf("previous pair %v", kv)
	}
	for _, options := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}} {
		get, err := client.Get(t.Context(), "k", options...)
		wantHeader(t, "get", get.Header, err, 3)
		if len(get.Kvs) != 1 || string(get.Kvs[0].Value) != "2" || get.Kvs[0].CreateRevision != 2 || get.Kvs[0].Version != 2 {
			t.Errorf("got %v", get.Kvs)
		}
	}
	get, err := client.Get(t.Context(), "k", clientv3.WithRev(2))
	wantHeader(t, "get of old", get.Header, err, 3)
	if len(get.Kvs) != 1 || string(get.Kvs[0].Value) != "1" {
		t.Errorf("got %v", get.Kvs)
	}
	del, err := client.Delete(t.Context(), "k", clientv3.WithPrevKV())
	wantHeader(t, "delete", del.Header, err, 4)
	if del.Deleted != 1 || len(del.PrevKvs) != 1 || string(del.PrevKvs[0].Value) != "2" {
		t.Errorf("deleted %v", del)
	}
	del, err = client.Delete(t.Context(), "k")
	wantHeader(t, "delete of nothing", del.Header, err, 4)
}

func wantHeader(t *testing.T, what string, h *pb.ResponseHeader, err error, revision int64) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if h.ClusterId != 42 || h.MemberId != 1 || h.RaftTerm != 3 || h.Revision != revision {
		t.Fatalf("%s: header %v, want cluster 42, member 1, term 3, revision %d", what, h, revision)
	}
}

func TestTxn(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	txn, err := client.Txn(t.Context()).If(clientv3.Compare(clientv3.CreateRevision("k"), "=", 0)).
		Then(clientv3.OpPut("k", "1"), clientv3.OpGet("k")).Else(clientv3.OpGet("k")).Commit()
	wantHeader(t, "txn that writes", txn.Header, err, 2)
	if !txn.Succeeded || len(txn.Responses) != 2 || string(txn.Responses[1].GetResponseRange().Kvs[0].Value) != "1" {
		t.Errorf("answered %v", txn)
	}
	proposals := member.group.proposals.Load()
	txn, err = client.Txn(t.Context()).If(clientv3.Compare(clientv3.Value("k"), "=", "other")).
		Then(clientv3.OpGet("nothing")).Else(clientv3.OpGet("k")).Commit()
	wantHeader(t, "txn that reads", txn.Header, err, 2)
	if txn.Succeeded || len(txn.Responses) != 1 || string(txn.Responses[0].GetResponseRange().Kvs[0].Value) != "1" {
		t.Errorf("answered %v", txn)
	}
	if n := member.group.proposals.Load() - proposals; n != 0 {
		t.Errorf("a transaction that reads made %d proposals", n)
	}
	reads := member.group.reads.Load()
	if _, err = client.Txn(t.Context()).Then(clientv3.OpGet("k", clientv3.WithSerializable())).Commit(); err != nil {
		t.Fatal(err)
	}
	if n := member.group.reads.Load() - reads; n != 0 {
		t.Errorf("a serializable transaction asked for %d barriers", n)
	}
}

func TestCompact(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	for i := range 5 {
		if _, err := client.Put(t.Context(), "k", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	compacted, err := client.Compact(t.Context(), 4)
	wantHeader(t, "compaction", compacted.Header, err, 6)
	_, err = client.Compact(t.Context(), 4)
	wantError(t, "compaction again", err, rpctypes.ErrCompacted)
	_, err = client.Compact(t.Context(), 100)
	wantError(t, "compaction of the future", err, rpctypes.ErrFutureRev)
	_, err = client.Get(t.Context(), "k", clientv3.WithRev(3))
	wantError(t, "get of the compacted", err, rpctypes.ErrCompacted)
	_, err = client.Get(t.Context(), "k", clientv3.WithRev(7))
	wantError(t, "get of the future", err, rpctypes.ErrFutureRev)
	_, err = client.Txn(t.Context()).Then(clientv3.OpGet("k", clientv3.WithRev(3)), clientv3.OpPut("x", "")).Commit()
	wantError(t, "txn that reads the compacted", err, rpctypes.ErrCompacted)

	member.collect(t)
	compacted, err = client.Compact(t.Context(), 5, clientv3.WithCompactPhysical())
	wantHeader(t, "physical compaction", compacted.Header, err, 6)
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// The client library compares these errors by value, so the texts and codes have to be right to the letter.
func TestErrorsAreTheClientsOwn(t *testing.T) {
	client := newClient(t, startStore(t).address)
	put := func(options ...clientv3.OpOption) error {
		_, err := client.Put(t.Context(), "k", "v", options...)
		return err
	}
	_, err := client.Get(t.Context(), "")
	wantError(t, "get without key", err, rpctypes.ErrEmptyKey)
	_, err = client.Put(t.Context(), "", "v")
	wantError(t, "put without key", err, rpctypes.ErrEmptyKey)
	_, err = client.Delete(t.Context(), "")
	wantError(t, "delete without key", err, rpctypes.ErrEmptyKey)
	wantError(t, "put with a value to ignore", put(clientv3.WithIgnoreValue()), rpctypes.ErrValueProvided)
	wantError(t, "put with a lease to ignore", put(clientv3.WithIgnoreLease(), clientv3.WithLease(5)), rpctypes.ErrLeaseProvided)
	wantError(t, "put with an unknown lease", put(clientv3.WithLease(5)), rpctypes.ErrLeaseNotFound)
	_, err = client.Put(t.Context(), "absent", "", clientv3.WithIgnoreValue())
	wantError(t, "put that keeps no value", err, rpctypes.ErrKeyNotFound)
	_, err = client.Txn(t.Context()).Then(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")).Commit()
	wantError(t, "txn with two puts", err, rpctypes.ErrDuplicateKey)
	_, err = client.Txn(t.Context()).Then(make129Ops()...).Commit()
	wantError(t, "txn with 129 operations", err, rpctypes.ErrTooManyOps)
	_, err = client.KV.Do(t.Context(), clientv3.OpGet("k", clientv3.WithSort(clientv3.SortByKey, 9)))
	wantError(t, "get in an unknown order", err, rpctypes.ErrInvalidSortOption)
}

func make129Ops() (ops []clientv3.Op) {
	for i := range 129 {
		ops = append(ops, clientv3.OpPut(fmt.Sprint(i), ""))
	}
	return ops
}

// The bounds were observed at the reference server: it takes a put of one byte of key and 1.5 MiB − 25 of value.
func TestE55TooLargeIsRefusedBeforeTheLog(t *testing.T) {
	member := startStore(t)
	kv := pb.NewKVClient(dial(t, member.address))
	put := func(size int) error {
		_, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), size)})
		return err
	}
	if err := put(3<<19 - 25); err != nil {
		t.Errorf("the largest put: %v", err)
	}
	proposals := member.group.proposals.Load()
	wantStatus(t, "a byte more", put(3<<19-24), rpctypes.ErrGRPCRequestTooLarge)
	wantStatus(t, "the largest message", put(2<<20-9), rpctypes.ErrGRPCRequestTooLarge)
	_, err := kv.Txn(t.Context(), &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 3<<19)},
	}})})
	wantStatus(t, "a transaction that is too large", err, rpctypes.ErrGRPCRequestTooLarge)
	wantStatus(t, "a larger message", put(2<<20), status.Error(codes.ResourceExhausted,
		"grpc: received message larger than max (2097160 vs. 2097152)"))
	if n := member.group.proposals.Load() - proposals; n != 0 {
		t.Errorf("%d of the refused were proposed", n)
	}
}

func wantStatus(t *testing.T, what string, err, want error) {
	t.Helper()
	got, wanted := status.Convert(err), status.Convert(want)
	if got.Code() != wanted.Code() || got.Message() != wanted.Message() {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestRangeStream(t *testing.T) {
	member := startStore(t)
	client, kv := newClient(t, member.address), pb.NewKVClient(dial(t, member.address))
	value := strings.Repeat("v", 100<<10)
	for i := range 20 {
		if _, err := client.Put(t.Context(), fmt.Sprintf("k%02d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		limit int64
		want  int
	}{{0, 20}, {13, 13}, {20, 20}} {
		stream, err := kv.RangeStream(t.Context(), &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: test.limit})
		if err != nil {
			t.Fatal(err)
		}
		parts := receiveAll(t, stream)
		if len(parts) < 2 {
			t.Errorf("limit %d: %d parts of a range of 2 MB", test.limit, len(parts))
		}
		n := 0
		for i, part := range parts {
			last := i == len(parts)-1
			if (part.Header != nil) != last || (part.Count != 0) != last || part.More && !last {
				t.Errorf("limit %d, part %d of %d: header %v, count %d, more %v", test.limit, i, len(parts), part.Header, part.Count, part.More)
			}
			for _, pair := range part.Kvs {
				if want := fmt.Sprintf("k%02d", n); string(pair.Key) != want {
					t.Fatalf("limit %d: key %s, want %s", test.limit, pair.Key, want)
				}
				n++
			}
		}
		end := parts[len(parts)-1]
		wantHeader(t, "last part", end.Header, nil, 21)
		if n != test.want || end.Count != 20 || end.More != (test.want < 20) {
			t.Errorf("limit %d: %d pairs, count %d, more %v", test.limit, n, end.Count, end.More)
		}
	}
	for _, test := range []struct {
		request *pb.RangeRequest
		want    error
	}{
		{&pb.RangeRequest{}, rpctypes.ErrGRPCEmptyKey},
		{&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND}, errStreamSort},
		{&pb.RangeRequest{Key: []byte("k"), MinModRevision: 1}, errStreamFilters},
		{&pb.RangeRequest{Key: []byte("k"), Revision: 1 << 40}, rpctypes.ErrGRPCFutureRev},
	} {
		stream, err := kv.RangeStream(t.Context(), test.request)
		if err == nil {
			_, err = stream.Recv()
		}
		wantStatus(t, test.request.String(), err, test.want)
	}
}

func receiveAll(t *testing.T, stream pb.KV_RangeStreamClient) (parts []*pb.RangeResponse) {
	t.Helper()
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, message.RangeResponse)
	}
}
