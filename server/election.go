package server

import (
	"bytes"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa/server/internal/v3electionpb"
	"github.com/balsadb/balsa/store"
)

// etcd's answers, text and code.
var (
	errNotElected       = status.Error(codes.Unknown, "election: not leader")
	errNobodyElected    = status.Error(codes.Unknown, "election: no leader")
	errMissingLeaderKey = status.Error(codes.Unknown, `"leader" field must be provided`)
)

// electionService is etcd's Election service. "Leader" is the client that was elected, not the cluster's.
type electionService struct{ queues }

// Campaign returns once the lease is elected. docs/locks.md says what that means.
func (s *electionService) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	lease, err := s.leaseOf(ctx, r.Lease)
	if err != nil {
		return nil, err
	}
	p, err := s.enqueue(ctx, r.Name, lease, r.Value)
	if err != nil {
		return nil, err
	}
	if p.found != nil && !bytes.Equal(p.found.Value, r.Value) {
		p.header, err = s.proclaim(ctx, p.key, p.revision, lease, r.Value)
	}
	if err == nil {
		err = s.awaitTurn(ctx, r.Name, p)
	}
	if err != nil {
		s.leave(ctx, p)
		return nil, err
	}
	return &v3electionpb.CampaignResponse{
		Header: p.header, Leader: &v3electionpb.LeaderKey{Name: r.Name, Key: p.key, Rev: p.revision, Lease: lease},
	}, nil
}

// proclaim gives a contender's key a value, if the key is still the one that came into being at a revision.
func (s *electionService) proclaim(ctx context.Context, key []byte, revision, lease int64, value []byte) (*pb.ResponseHeader, error) {
	response, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, revision)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: key, Value: value, Lease: lease})},
	})
	if err != nil {
		return nil, err
	}
	if !response.Succeeded {
		return nil, errNotElected
	}
	return response.Header, nil
}

func (s *electionService) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	if r.Leader == nil {
		return nil, errMissingLeaderKey
	}
	header, err := s.proclaim(ctx, r.Leader.Key, r.Leader.Rev, r.Leader.Lease, r.Value)
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ProclaimResponse{Header: header}, nil
}

func (s *electionService) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	first, err := s.first(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	if len(first.Kvs) == 0 {
		return nil, errNobodyElected
	}
	return &v3electionpb.LeaderResponse{Header: first.Header, Kv: first.Kvs[0]}, nil
}

// Observe sends who is elected, and with what value, whenever that changes. What was replaced before it could be sent is left out.
func (s *electionService) Observe(ctx context.Context, r *v3electionpb.LeaderRequest, send func(*v3electionpb.LeaderResponse) error) error {
	prefix := queuePrefix(r.Name)
	var sent int64
	for {
		first, err := s.first(ctx, r.Name)
		if err != nil {
			return err
		}
		what := store.WatchOptions{Key: prefix, RangeEnd: prefixEnd(prefix), Start: first.Header.Revision + 1}
		if len(first.Kvs) > 0 {
			kv := first.Kvs[0]
			what.Key, what.RangeEnd = kv.Key, nil // nobody else becomes the first while this key is there
			if kv.ModRevision != sent {
				sent = kv.ModRevision
				if err := send(&v3electionpb.LeaderResponse{Header: first.Header, Kv: kv}); err != nil {
					return err
				}
			}
		}
		if err := s.changed(ctx, what); err != nil {
			return err
		}
	}
}

// Resign gives up an election, or a place in the queue of one. Who has neither any more has nothing to give up.
func (s *electionService) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	if r.Leader == nil {
		return nil, errMissingLeaderKey
	}
	response, err := s.deleteOwn(ctx, r.Leader.Key, r.Leader.Rev)
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ResignResponse{Header: response.Header}, nil
}

// electionDesc describes the service to gRPC.
func electionDesc(s *electionService) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: electionServiceName,
		Methods: []grpc.MethodDesc{
			unaryMethod("Campaign", s.Campaign), unaryMethod("Proclaim", s.Proclaim), unaryMethod("Leader", s.Leader), unaryMethod("Resign", s.Resign),
		},
		Streams: []grpc.StreamDesc{{StreamName: "Observe", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			request := new(v3electionpb.LeaderRequest)
			if err := stream.RecvMsg(request); err != nil {
				return err
			}
			return s.Observe(stream.Context(), request, func(r *v3electionpb.LeaderResponse) error { return stream.SendMsg(r) })
		}}},
		Metadata: v3electionpb.File_v3election_proto.Path(),
	}
}

const electionServiceName = "v3electionpb.Election"
