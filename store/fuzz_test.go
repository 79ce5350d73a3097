package store

import (
	"bytes"
	"context"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// FuzzApply applies any payload on two replicas, one of them after a restart: no panic, and equal answers and states.
func FuzzApply(f *testing.F) {
	put, _ := EncodePut(&pb.PutRequest{Key: []byte("a"), Value: []byte("v"), PrevKv: true})
	txn, _ := EncodeTxn(&pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), RangeEnd: []byte{0}, TargetUnion: &pb.Compare_Version{Version: 1}}},
		Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true}}},
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}},
			{},
		},
	})
	compact, _ := EncodeCompaction(&pb.CompactionRequest{Revision: 3})
	member, _ := EncodeMember(&pb.Member{ID: 1, Name: "one"})
	for _, entry := range [][]byte{put.Payload(), txn.Payload(), compact.Payload(), member.Payload(), nil, {1}, {9, 9}} {
		f.Add([]byte(entry))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var results [2][]byte
		var digests [2]Digest
		for i := range results {
			e := engine.NewMemory()
			x := newFixture(t, e)
			x.put("a", "1")
			x.put("b", "2")
			x.put("a", "3")
			if i == 1 {
				if err := x.store.Flush(); err != nil {
					t.Fatal(err)
				}
				x = newFixture(t, e.Crash())
			}
			batch := &balsa.Batch{
				Commands: []balsa.Command{{Index: 4, Payload: payload}}, Position: balsa.Position{Index: 4, Term: 1},
			}
			if err := x.store.Apply(batch); err != nil {
				results[i] = []byte("stopped")
				continue
			}
			results[i] = batch.Commands[0].Result
			digests[i], _ = x.store.Digest()
			if err := x.store.Verify(context.Background()); err != nil {
				t.Fatal(err)
			}
			if message, err := DecodeResult(CommandKind(payload), batch.Commands[0].Result); err == nil && message == nil {
				t.Fatal("a result decodes as nothing")
			}
		}
		if !bytes.Equal(results[0], results[1]) || digests[0] != digests[1] {
			t.Fatalf("two replicas differ: %q, %v and %q, %v", results[0], digests[0], results[1], digests[1])
		}
	})
}

// FuzzPutRequest compares the aliasing decoder with the plain one.
func FuzzPutRequest(f *testing.F) {
	seed, _ := proto.Marshal(&pb.PutRequest{Key: []byte("a"), Value: []byte("v"), Lease: 3, PrevKv: true})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var plain, aliasing pb.PutRequest
		plainErr := proto.Unmarshal(encoded, &plain)
		err := unmarshal(encoded, &aliasing)
		if (err == nil) != (plainErr == nil) || err == nil && !proto.Equal(&plain, &aliasing) {
			t.Fatalf("%v, %v; plain: %v, %v", &aliasing, err, &plain, plainErr)
		}
	})
}

// FuzzRecords decodes what a damaged disk may hold: an error or a record, never a panic, and a record that was
// decoded encodes to one that decodes alike.
func FuzzRecords(f *testing.F) {
	v := version{at: revision{7, 1}, created: 5, count: 3, lease: 9, valueHash: 11, valueSize: 2}
	f.Add(appendIndexValue(nil, &v), int64(7))
	f.Add(appendLogValue(nil, &v, &tally{size: 3}, []byte("key"), []byte("va")), int64(7))
	c := newCounters()
	f.Add(c.append(nil), int64(0))
	f.Fuzz(func(t *testing.T, value []byte, main int64) {
		decoded := version{at: revision{main, 1}}
		if decodeIndexValue(&decoded, value) == nil {
			again := version{at: decoded.at}
			if err := decodeIndexValue(&again, appendIndexValue(nil, &decoded)); err != nil || again != decoded {
				t.Fatalf("%+v, %v; want %+v", again, err, decoded)
			}
		}
		if c, err := decodeCounters(value); err == nil && !bytes.Equal(c.append(nil), value) {
			if again, err := decodeCounters(c.append(nil)); err != nil || again != c {
				t.Fatalf("%+v, %v; want %+v", again, err, c)
			}
		}
		_, _ = decodeLogValue(decoded.at, value)
		_, _ = decodeProgress(value)
		_, _, _ = cutIndexKey(nil, value)
		_, _ = cutLogKey(value)
		_, _ = decodeMember(value)
	})
}
