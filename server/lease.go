package server

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa/store"
)

// leaseService is the etcd v3 Lease service. Every member answers all of it: what changes a lease goes through the log,
// and what is left of one is in each member's store, to within a tick of the leader's lease clock.
type leaseService struct {
	pb.UnimplementedLeaseServer
	*Server
}

// LeaseGrant grants a lease. Where the client leaves the choice of an id to us, it is made here, so that the command holds it.
func (s *leaseService) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > store.MaxLeaseTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	if err := s.mayGrow(); err != nil {
		return nil, err
	}
	leastTTL := int64((s.config.LeaseMinTTL + time.Second - 1) / time.Second)
	command := &pb.LeaseGrantRequest{ID: r.ID, TTL: max(r.TTL, leastTTL)}
	for {
		if r.ID == 0 {
			command.ID = 1 + rand.Int64N(1<<63-1)
		}
		response, err := execute(ctx, s.Server, command, store.EncodeLeaseGrant, store.DecodeLeaseGrant)
		if r.ID == 0 && errors.Is(err, rpctypes.ErrGRPCLeaseExist) {
			continue // somebody has this one already: another will be free
		}
		if err != nil {
			return nil, err
		}
		s.metrics.leaseGranted.Inc()
		s.metrics.leaseTTL.Observe(float64(response.TTL))
		response.Header = s.header(response.Header)
		return response, nil
	}
}

func (s *leaseService) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	response, err := execute(ctx, s.Server, r, store.EncodeLeaseRevoke, store.DecodeLeaseRevoke)
	if err != nil {
		return nil, err
	}
	s.metrics.leaseRevoked.Inc()
	response.Header = s.header(response.Header)
	return response, nil
}

// LeaseTimeToLive tells what is left of a lease, in whole seconds; of one that does not exist it is −1.
func (s *leaseService) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.barrier(ctx); err != nil {
		return nil, err
	}
	response := &pb.LeaseTimeToLiveResponse{Header: s.header(nil), ID: r.ID, TTL: -1}
	lease, exists := s.store.Lease(r.ID)
	if !exists {
		return response, nil
	}
	response.TTL = int64(max(lease.Remaining, 0) / time.Second)
	response.GrantedTTL = int64(lease.TTL / time.Second)
	if !r.Keys {
		return response, nil
	}
	keys, err := s.store.LeaseKeys(r.ID)
	if err != nil {
		return nil, apiError(err)
	}
	for _, key := range keys {
		response.Keys = append(response.Keys, []byte(key))
	}
	return response, nil
}

// LeaseLeases lists all leases, those first that end first.
func (s *leaseService) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := s.barrier(ctx); err != nil {
		return nil, err
	}
	response := &pb.LeaseLeasesResponse{Header: s.header(nil)}
	var all []store.Lease
	s.store.Leases(func(lease store.Lease) bool {
		all = append(all, lease)
		return true
	})
	slices.SortStableFunc(all, func(a, b store.Lease) int { return cmp.Compare(a.Remaining, b.Remaining) })
	for i := range all {
		response.Leases = append(response.Leases, &pb.LeaseStatus{ID: all[i].ID})
	}
	return response, nil
}
