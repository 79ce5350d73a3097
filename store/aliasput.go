package store

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// AliasPut decodes an encoded pb.PutRequest whose key and value alias the encoding; the protobuf library would copy them.
// It reports false where the encoding holds anything else than what encoders make of this build's fields: then into is of
// no use, and the library decides.
func AliasPut(encoded []byte, into *pb.PutRequest) bool {
	into.Reset()
	for len(encoded) > 0 {
		number, kind, n := protowire.ConsumeTag(encoded)
		if n < 0 {
			return false
		}
		encoded = encoded[n:]
		switch {
		case kind == protowire.BytesType && (number == 1 || number == 2):
			value, n := protowire.ConsumeBytes(encoded)
			if n < 0 {
				return false
			}
			encoded = encoded[n:]
			if number == 1 {
				into.Key = value
			} else {
				into.Value = value
			}
		case kind == protowire.VarintType && 3 <= number && number <= 6:
			value, n := protowire.ConsumeVarint(encoded)
			if n < 0 {
				return false
			}
			encoded = encoded[n:]
			switch number {
			case 3:
				into.Lease = int64(value)
			case 4:
				into.PrevKv = value != 0
			case 5:
				into.IgnoreValue = value != 0
			case 6:
				into.IgnoreLease = value != 0
			}
		default:
			return false
		}
	}
	return true
}
