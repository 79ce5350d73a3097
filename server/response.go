package server

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// encodedResponse is a message of the API that is encoded already.
type encodedResponse []byte

var errNoHeader = errors.New("balsa: the state machine's answer does not begin with a header")

// complete adds to an encoded response's header, in which the store has set the revision, who answers and in which
// term. Every response of the API has its header as field 1.
func (s *Server) complete(response []byte) (encodedResponse, error) {
	number, kind, n := protowire.ConsumeTag(response)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return nil, errNoHeader
	}
	revision, m := protowire.ConsumeBytes(response[n:])
	if m < 0 {
		return nil, errNoHeader
	}
	rest, term := response[n+m:], uint64(s.group.Leadership().Term)
	size := len(s.identity) + len(revision) + protowire.SizeTag(4) + protowire.SizeVarint(term)
	completed := make([]byte, 0, protowire.SizeTag(1)+protowire.SizeBytes(size)+len(rest))
	completed = protowire.AppendTag(completed, 1, protowire.BytesType)
	completed = protowire.AppendVarint(completed, uint64(size))
	completed = append(completed, s.identity...)
	completed = append(completed, revision...)
	completed = protowire.AppendTag(completed, 4, protowire.VarintType)
	completed = protowire.AppendVarint(completed, term)
	return append(completed, rest...), nil
}

// encodeIdentity encodes the fields of a header that never change.
func encodeIdentity(cluster, member uint64) []byte {
	encoded := protowire.AppendTag(nil, 1, protowire.VarintType)
	encoded = protowire.AppendVarint(encoded, cluster)
	encoded = protowire.AppendTag(encoded, 2, protowire.VarintType)
	return protowire.AppendVarint(encoded, member)
}
