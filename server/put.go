package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours is made of
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// A put is what a busy cluster does most, and its request stands in the log just as the client encoded it. So its
// bytes go from the connection's buffers straight into the entry, are looked over there, and are neither decoded
// nor encoded on their way to the log. Nor is the answer, which the state machine gives in encoded form: its header
// is completed, and that is all.

// codec is gRPC's own but for the two types that are bytes already.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if put, ok := v.(*encodedPut); ok {
		return put.take(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch response := v.(type) {
	case encodedResponse:
		return mem.BufferSlice{mem.SliceBuffer(response)}, nil
	case gatheredResponse:
		return mem.BufferSlice(response), nil
	}
	return c.CodecV2.Marshal(v)
}

// encodedPut is a put's request, in the place that it has in its entry.
type encodedPut struct {
	entry   raft.Entry // not sealed yet
	encoded []byte     // aliases entry
	request pb.PutRequest
	// simple says that the request aliases encoded, which holds nothing else. Where a client sent more than this build knows of, or
	// did not encode as others do, the request takes the long way.
	simple bool
}

func (p *encodedPut) take(data mem.BufferSlice) error {
	p.entry, p.encoded = store.NewPut(data.Len())
	data.CopyTo(p.encoded)
	if p.simple = store.AliasPut(p.encoded, &p.request); p.simple {
		return nil
	}
	return proto.Unmarshal(p.encoded, &p.request)
}

// handlePut stands in for the generated handler of KV.Put.
func handlePut(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	put := new(encodedPut)
	if err := decode(put); err != nil {
		return nil, err
	}
	s := srv.(*kvService)
	if !put.simple {
		return s.Put(ctx, &put.request)
	}
	return s.putEncoded(ctx, put)
}

func (s *kvService) putEncoded(ctx context.Context, put *encodedPut) (any, error) {
	if err := checkPut(&put.request); err != nil {
		return nil, err
	}
	if commandSize(len(put.encoded)) > s.config.Limits.RequestBytes {
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	if err := s.mayGrow(); err != nil {
		return nil, err
	}
	put.entry.Seal()
	result, err := s.propose(ctx, put.entry)
	if err != nil {
		return nil, err
	}
	response, err := store.EncodedResponse(result.Value)
	if err != nil {
		return nil, apiError(err)
	}
	return s.complete(response)
}
