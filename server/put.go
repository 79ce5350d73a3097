package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours is made of
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
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
	request []byte     // aliases entry
	fields  putFields
	// decoded is the request where it holds more than this build knows of, or does not look as encoders make it: that takes the long way.
	decoded *pb.PutRequest
}

// putFields is what has to be known of a put before it is proposed.
type putFields struct {
	emptyKey, emptyValue, lease, ignoreValue, ignoreLease bool
}

func (p *encodedPut) take(data mem.BufferSlice) error {
	p.entry, p.request = store.NewPut(data.Len())
	data.CopyTo(p.request)
	p.fields = putFields{emptyKey: true, emptyValue: true}
	if p.fields.scan(p.request) {
		return nil
	}
	p.decoded = &pb.PutRequest{}
	return proto.Unmarshal(p.request, p.decoded)
}

// scan reads an encoded pb.PutRequest, and reports whether it holds that and nothing else.
func (f *putFields) scan(request []byte) bool {
	for len(request) > 0 {
		number, kind, n := protowire.ConsumeTag(request)
		if n < 0 {
			return false
		}
		request = request[n:]
		switch {
		case kind == protowire.BytesType && (number == 1 || number == 2):
			value, n := protowire.ConsumeBytes(request)
			if n < 0 {
				return false
			}
			request = request[n:]
			if number == 1 {
				f.emptyKey = len(value) == 0
			} else {
				f.emptyValue = len(value) == 0
			}
		case kind == protowire.VarintType && 3 <= number && number <= 6:
			value, n := protowire.ConsumeVarint(request)
			if n < 0 {
				return false
			}
			request = request[n:]
			switch number {
			case 3:
				f.lease = value != 0
			case 5:
				f.ignoreValue = value != 0
			case 6:
				f.ignoreLease = value != 0
			}
		default:
			return false
		}
	}
	return true
}

// check is checkPut.
func (f *putFields) check() error {
	switch {
	case f.emptyKey:
		return rpctypes.ErrGRPCEmptyKey
	case f.ignoreValue && !f.emptyValue:
		return rpctypes.ErrGRPCValueProvided
	case f.ignoreLease && f.lease:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

// handlePut stands in for the generated handler of KV.Put.
func handlePut(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	put := new(encodedPut)
	if err := decode(put); err != nil {
		return nil, err
	}
	s := srv.(*kvService)
	if put.decoded != nil {
		return s.Put(ctx, put.decoded)
	}
	return s.putEncoded(ctx, put)
}

func (s *kvService) putEncoded(ctx context.Context, put *encodedPut) (any, error) {
	if err := put.fields.check(); err != nil {
		return nil, err
	}
	if commandSize(len(put.request)) > s.config.Limits.RequestBytes {
		return nil, rpctypes.ErrGRPCRequestTooLarge
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
