package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa/server/internal/v3lockpb"
)

// errSessionExpired is etcd's answer, text and code, to who lost its place, with its lease, while it waited.
var errSessionExpired = status.Error(codes.Unknown, "mutex: session is expired")

// lockService is etcd's Lock service.
type lockService struct{ queues }

// Lock returns once the lease holds the lock. docs/locks.md says what that means.
func (s *lockService) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	lease, err := s.leaseOf(ctx, r.Lease)
	if err != nil {
		return nil, err
	}
	p, err := s.enqueue(ctx, r.Name, lease, nil)
	if err != nil {
		return nil, err
	}
	if err := s.awaitTurn(ctx, r.Name, p); err != nil {
		s.leave(ctx, p)
		return nil, err
	}
	// The wait may have been longer than the lease: then somebody else holds the lock.
	own, err := s.kv.Range(ctx, &pb.RangeRequest{Key: p.key})
	switch {
	case err != nil:
		s.leave(ctx, p)
		return nil, err
	case len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != p.revision:
		return nil, errSessionExpired
	}
	return &v3lockpb.LockResponse{Header: own.Header, Key: p.key}, nil
}

func (s *lockService) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	deleted, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.Key})
	if err != nil {
		return nil, err
	}
	return &v3lockpb.UnlockResponse{Header: deleted.Header}, nil
}

// lockDesc describes the service to gRPC.
func lockDesc(s *lockService) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: lockServiceName,
		Methods:     []grpc.MethodDesc{unaryMethod("Lock", s.Lock), unaryMethod("Unlock", s.Unlock)},
		Metadata:    v3lockpb.File_v3lock_proto.Path(),
	}
}

const lockServiceName = "v3lockpb.Lock"

// unaryMethod describes a method that is not generated.
func unaryMethod[Q, R any](name string, call func(context.Context, *Q) (*R, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(Q)
		if err := decode(request); err != nil {
			return nil, err
		}
		return call(ctx, request)
	}}
}
