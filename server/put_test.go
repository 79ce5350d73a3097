package server

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/store"
)

// FuzzPut: a put that is looked over in encoded form is accepted, refused and understood just as a decoded one.
func FuzzPut(f *testing.F) {
	for _, r := range []*pb.PutRequest{
		{}, {Key: []byte("k")}, {Key: []byte("k"), Value: []byte("v"), Lease: -1, PrevKv: true},
		{Key: []byte("k"), Value: []byte("v"), IgnoreValue: true}, {Key: []byte("k"), Lease: 1, IgnoreLease: true},
	} {
		encoded, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(append(encoded, "\x0a\x01x\x12\x00"...)) // the key again, and an empty value
		f.Add(append(encoded, "\x28\x00\x30\x80\x00"...))
		f.Add(protowire.AppendVarint(protowire.AppendTag(encoded, 99, protowire.VarintType), 1)) // a field of a later version
		f.Add(append(encoded, "\x08\x01"...))                                                    // the key as a number
		f.Add(append(encoded, 0x0a, 0x05))                                                       // cut off
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var put encodedPut
		err := put.take(mem.BufferSlice{mem.SliceBuffer(encoded[:len(encoded)/2]), mem.SliceBuffer(encoded[len(encoded)/2:])})
		decoded := &pb.PutRequest{}
		if wanted := proto.Unmarshal(encoded, decoded); (err == nil) != (wanted == nil) {
			t.Fatalf("taken with %v, decoded with %v", err, wanted)
		}
		if err != nil {
			return
		}
		if !proto.Equal(&put.request, decoded) {
			t.Fatalf("taken as %v, want %v", &put.request, decoded)
		}
		if !put.simple {
			return
		}
		if len(decoded.ProtoReflect().GetUnknown()) > 0 {
			t.Fatal("what this build does not know would be in the log")
		}
		put.entry.Seal()
		kind, request, err := store.DecodeCommand(put.entry.Payload())
		if err != nil || kind != store.KindPut || !proto.Equal(request, decoded) {
			t.Fatalf("the entry holds %v %v, %v, want %v", kind, request, err, decoded)
		}
	})
}

func TestCompletedResponsesAreWhatTheyWereAndWhoAnswers(t *testing.T) {
	member := startStore(t)
	for _, response := range []*pb.PutResponse{
		{Header: &pb.ResponseHeader{Revision: 1}},
		{Header: &pb.ResponseHeader{}},
		{Header: &pb.ResponseHeader{Revision: 1 << 60}, PrevKv: &mvccpb.KeyValue{Key: []byte("k"), Value: []byte("v"), ModRevision: 3}},
	} {
		encoded, err := proto.Marshal(response)
		if err != nil {
			t.Fatal(err)
		}
		completed, err := member.server.complete(encoded)
		if err != nil {
			t.Fatal(err)
		}
		got := &pb.PutResponse{}
		if err := proto.Unmarshal(completed, got); err != nil {
			t.Fatal(err)
		}
		want := proto.CloneOf(response)
		member.server.identify(want.Header)
		if !proto.Equal(got, want) {
			t.Errorf("completed to %v, want %v", got, want)
		}
	}
	for _, bad := range []string{"", "\x0a", "\x0a\x05x", "\x12\x00"} {
		if _, err := member.server.complete([]byte(bad)); !errors.Is(err, errNoHeader) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A client of a later version is served as far as this version goes, and what it does not know stays out of the log.
func TestPutOfALaterVersion(t *testing.T) {
	member := startStore(t)
	conn := dial(t, member.address)
	request := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	request.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	put, err := pb.NewKVClient(conn).Put(t.Context(), request)
	wantHeader(t, "put", put.GetHeader(), err, 2)
	request.Key = nil
	_, err = pb.NewKVClient(conn).Put(t.Context(), request)
	wantStatus(t, "put without key", err, rpctypes.ErrGRPCEmptyKey)
}
