package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestEncodeIsOneAllocation(t *testing.T) {
	request := &pb.PutRequest{Key: []byte("key"), Value: make([]byte, 256)}
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := EncodePut(request); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 1 {
		t.Errorf("encoding a put makes %v allocations, want 1", allocations)
	}
}

func TestCommandsDecodeAsTheyWereEncoded(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), PrevKv: true}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}}
	for _, c := range []struct {
		kind    Kind
		request proto.Message
		encode  func() (raft.Entry, error)
	}{
		{KindPut, put, func() (raft.Entry, error) { return EncodePut(put) }},
		{KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("k")}, func() (raft.Entry, error) {
			return EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("k")})
		}},
		{KindTxn, txn, func() (raft.Entry, error) { return EncodeTxn(txn) }},
		{KindCompaction, &pb.CompactionRequest{Revision: 5}, func() (raft.Entry, error) {
			return EncodeCompaction(&pb.CompactionRequest{Revision: 5})
		}},
		{KindMember, &pb.Member{ID: 3, Name: "m"}, func() (raft.Entry, error) {
			return EncodeMember(&pb.Member{ID: 3, Name: "m"})
		}},
	} {
		entry, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := entry.CheckBody(); err != nil {
			t.Errorf("%v: %v", c.kind, err)
		}
		kind, request, err := DecodeCommand(entry.Payload())
		if err != nil || kind != c.kind || !proto.Equal(request, c.request) {
			t.Errorf("%v decodes as %v: %v, %v", c.kind, kind, request, err)
		}
	}
}

// TestUnknownFieldsStayOutOfTheLog sends requests of a newer client: a replica of a newer version would otherwise
// understand more of the same command than this one.
func TestUnknownFieldsStayOutOfTheLog(t *testing.T) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	put := &pb.PutRequest{Key: []byte("k")}
	put.ProtoReflect().SetUnknown(unknown)
	compare := &pb.Compare{Key: []byte("k")}
	compare.ProtoReflect().SetUnknown(unknown)
	inner := &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}
	outer := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}}}
	entry, err := EncodeTxn(outer)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(entry.Payload()), string(unknown)) {
		t.Error("an unknown field is in the log")
	}
}

// TestUnknownCommandStopsTheReplica applies commands of a newer version: they are not skipped, and nothing else of
// their batch is applied either.
func TestUnknownCommandStopsTheReplica(t *testing.T) {
	for _, payload := range [][]byte{{0, 1}, {6, 1}, {32, 1, 1}, {255, 1}, {byte(KindPut), 2}, {byte(KindPut), 0}} {
		f := newFixture(t, engine.NewMemory())
		f.put("a", "1")
		before, position := f.store.Digest()
		entry, _ := EncodePut(&pb.PutRequest{Key: []byte("b")})
		batch := &balsa.Batch{
			Commands: []balsa.Command{{Index: 2, Payload: entry.Payload()}, {Index: 3, Payload: payload}},
			Position: balsa.Position{Index: 3, Term: 1},
		}
		err := f.store.Apply(batch)
		if !errors.Is(err, ErrUnknownCommand) || !strings.Contains(err.Error(), "index 3") {
			t.Errorf("payload %v: %v", payload, err)
		}
		if after, at := f.store.Digest(); after != before || at != position {
			t.Errorf("payload %v changed the state", payload)
		}
		if err := f.store.Apply(&balsa.Batch{Position: balsa.Position{Index: 4, Term: 1}}); !errors.Is(err, ErrUnknownCommand) {
			t.Errorf("a stopped replica goes on: %v", err)
		}
	}
}

// TestMalformedCommandIsAnswered applies what no version of balsa writes: every replica gives the same answer.
func TestMalformedCommandIsAnswered(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	for _, payload := range [][]byte{nil, {}, {1}, {byte(KindPut), 1, 0xff}, {byte(KindTxn), 1, 0x0a, 0x05}, {byte(KindMember), 1, 0xff}} {
		f.index++
		batch := &balsa.Batch{
			Commands: []balsa.Command{{Index: f.index, Payload: payload}},
			Position: balsa.Position{Index: f.index, Term: 1},
		}
		if err := f.store.Apply(batch); err != nil {
			t.Fatal(err)
		}
		if _, err := DecodePut(batch.Commands[0].Result); !errors.Is(err, ErrMalformed) {
			t.Errorf("payload %v: %v", payload, err)
		}
	}
	if f.store.Revision() != 1 {
		t.Error("a malformed command took a revision")
	}
}

// TestResultCodes pins the numbers that members of different versions exchange.
func TestResultCodes(t *testing.T) {
	for code, want := range map[byte]error{
		1: rpctypes.ErrGRPCCompacted, 2: rpctypes.ErrGRPCFutureRev, 3: rpctypes.ErrGRPCKeyNotFound,
		4: rpctypes.ErrGRPCLeaseNotFound, 5: rpctypes.ErrGRPCEmptyKey, 6: rpctypes.ErrGRPCInvalidSortOption,
		7: ErrMalformed,
	} {
		if _, err := DecodeResult(KindTxn, []byte{code}); err != want {
			t.Errorf("code %d: %v, want %v", code, err, want)
		}
		if result, ok := errorResult(want); !ok || string(result) != string([]byte{code}) {
			t.Errorf("%v has result %v, want %d", want, result, code)
		}
	}
	for _, result := range [][]byte{nil, {99}, {0, 0xff}} {
		if _, err := DecodePut(result); err == nil {
			t.Errorf("result %v decodes", result)
		}
	}
	if _, err := DecodeResult(200, []byte{0}); err == nil {
		t.Error("a kind that is not known has a result")
	}
}

func TestHeaderResultIsAPutResponse(t *testing.T) {
	for _, revision := range []int64{1, 127, 128, 1 << 40} {
		response, err := DecodePut(appendHeaderResult(nil, revision))
		if err != nil || !proto.Equal(response, &pb.PutResponse{Header: &pb.ResponseHeader{Revision: revision}}) {
			t.Errorf("revision %d: %v, %v", revision, response, err)
		}
	}
}
