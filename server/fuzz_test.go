package server

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// FuzzRequests: whatever a request holds, it is answered or refused, without a panic, and with an error of the API's
// kind. The service's methods are called without what catches panics in production.
func FuzzRequests(f *testing.F) {
	for kind, message := range []proto.Message{
		&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, Limit: 1, SortOrder: 1, SortTarget: 4},
		&pb.PutRequest{Key: []byte("k"), Value: []byte("v"), PrevKv: true},
		&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true},
		&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}},
			Success: ops(opPut("a"), opDelete("b", "c"), opTxn(ops(opRange(&pb.RangeRequest{Key: []byte("k")})), ops(opPut("d")))),
		},
		&pb.CompactionRequest{Revision: 1},
		&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true},
		&pb.HashKVRequest{Revision: 1},
		&pb.AlarmRequest{Action: 7},
	} {
		encoded, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(kind), encoded)
	}
	kvs, group := newStore(f)
	s, err := New(Config{MemberID: 1, Group: group, Store: kvs})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Stop(context.Background()) })
	kv, maintenance := &kvService{Server: s}, &maintenanceService{Server: s}
	f.Fuzz(func(t *testing.T, kind uint8, encoded []byte) {
		var err error
		switch kind % 8 {
		case 0:
			err = fuzzOne(t, encoded, &pb.RangeRequest{}, kv.Range)
		case 1:
			err = fuzzOne(t, encoded, &pb.PutRequest{}, kv.Put)
		case 2:
			err = fuzzOne(t, encoded, &pb.DeleteRangeRequest{}, kv.DeleteRange)
		case 3:
			err = fuzzOne(t, encoded, &pb.TxnRequest{}, kv.Txn)
		case 4:
			err = fuzzOne(t, encoded, &pb.CompactionRequest{}, func(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
				r.Physical = false // nobody collects here
				return kv.Compact(ctx, r)
			})
		case 5:
			err = fuzzOne(t, encoded, &pb.RangeRequest{}, func(ctx context.Context, r *pb.RangeRequest) (any, error) {
				return nil, kv.RangeStream(r, &discardStream{ctx: ctx})
			})
		case 6:
			err = fuzzOne(t, encoded, &pb.HashKVRequest{}, maintenance.HashKV)
		case 7:
			err = fuzzOne(t, encoded, &pb.AlarmRequest{}, maintenance.Alarm)
		}
		if code := status.Code(err); err != nil && (code == codes.Unknown || code == codes.Internal || code == codes.Unavailable) {
			t.Errorf("kind %d: %v", kind%8, err)
		}
	})
}

func fuzzOne[Q proto.Message, R any](t *testing.T, encoded []byte, request Q, call func(context.Context, Q) (R, error)) error {
	if proto.Unmarshal(encoded, request) != nil {
		return nil // gRPC refuses it
	}
	_, err := call(t.Context(), request)
	return err
}

// discardStream takes what a stream's handler sends.
type discardStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *discardStream) Context() context.Context           { return s.ctx }
func (s *discardStream) Send(*pb.RangeStreamResponse) error { return nil }
