package store

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestAliasPut compares with the protobuf library, on what encoders make and on bytes that none would.
func TestAliasPut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoded := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "proper") {
			var err error
			encoded, err = proto.Marshal(&pb.PutRequest{
				Key: rapid.SliceOf(rapid.Byte()).Draw(t, "key"), Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value"),
				Lease: rapid.Int64().Draw(t, "lease"), PrevKv: rapid.Bool().Draw(t, "prev"),
				IgnoreValue: rapid.Bool().Draw(t, "ignore value"), IgnoreLease: rapid.Bool().Draw(t, "ignore lease"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !AliasPut(encoded, &pb.PutRequest{}) {
				t.Fatalf("%x is not taken", encoded)
			}
		}
		var got, want pb.PutRequest
		if !AliasPut(encoded, &got) {
			return
		}
		if err := proto.Unmarshal(encoded, &want); err != nil || !proto.Equal(&got, &want) {
			t.Fatalf("%x: %v, the library says %v, %v", encoded, &got, &want, err)
		}
	})
}
