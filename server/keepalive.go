package server

import (
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/balsadb/balsa/store"
)

// Keep-alives are commands, like all that changes a lease: so they mean the same to whoever leads next, and any
// member takes them. What keeps that cheap is that all which arrive at a member while one command is on its way share the next.

// maxPendingRenewals is how many keep-alives of one stream wait for their answers at most; then it is not read on.
const maxPendingRenewals = 1024

// maxRenewals bounds the leases of one command.
const maxRenewals = 16 << 10

// renewal is one keep-alive on its way.
type renewal struct {
	id       int64
	answered chan struct{} // closed once the rest is set
	ttl      int64         // in seconds; 0 where there is no such lease
	revision int64
	err      error
}

// renewals gathers the keep-alives of all streams.
type renewals struct {
	propose func([]*renewal)
	start   func(func())

	mu      sync.Mutex
	waiting []*renewal
	busy    bool
}

// add takes a keep-alive. Whoever finds nobody at it proposes, until nothing waits any more.
func (q *renewals) add(r *renewal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
	if !q.busy {
		q.busy = true
		q.start(q.work)
	}
}

func (q *renewals) work() {
	for batch := q.take(); batch != nil; batch = q.take() {
		q.propose(batch)
	}
}

func (q *renewals) take() []*renewal {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxRenewals)
	if n == 0 {
		q.busy, q.waiting = false, nil
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return batch
}

// renew proposes the renewal of leases, and answers whoever asked for it.
func (s *Server) renew(batch []*renewal) {
	ids := make([]int64, len(batch))
	for i, r := range batch {
		ids[i] = r.id
	}
	result, err := s.propose(s.running, store.EncodeLeaseRenew(ids))
	var revision int64
	ttls := make([]int64, 0, len(batch))
	if err == nil {
		revision, ttls, err = store.DecodeLeaseRenew(result.Value)
	}
	if err == nil && len(ttls) != len(batch) {
		err = errors.New("balsa: the answer to a renewal is not of as many leases")
	}
	for i, r := range batch {
		if r.revision, r.err = revision, apiError(err); err == nil {
			r.ttl = ttls[i]
		}
		close(r.answered)
	}
}

type keepAliveServer = grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]

// LeaseKeepAlive renews leases for as long as the stream lives. Answers are in the order of the requests; one about a lease that
// does not exist has a time to live of 0.
func (s *leaseService) LeaseKeepAlive(stream keepAliveServer) error {
	ctx := stream.Context()
	pending := make(chan *renewal, maxPendingRenewals)
	received := make(chan error, 1)
	go func() {
		received <- s.receiveRenewals(ctx, stream, pending)
		close(pending)
	}()
	var lost <-chan struct{}
	if requiresLeader(ctx) {
		lost = s.leaderLost()
	}
	for {
		select {
		case r, more := <-pending:
			if !more {
				return <-received
			}
			if err := s.answerRenewal(ctx, stream, r); err != nil {
				return err
			}
		case <-lost:
			return rpctypes.ErrGRPCNoLeader
		case <-s.fenced:
			return refusal(s.group.Err())
		case <-s.stopping:
			return rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			return apiError(ctx.Err())
		}
	}
}

func (s *leaseService) receiveRenewals(ctx context.Context, stream keepAliveServer, pending chan<- *renewal) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return apiError(err)
		}
		r := &renewal{id: request.ID, answered: make(chan struct{})}
		select {
		case pending <- r:
			s.renewals.add(r)
		case <-ctx.Done():
			return apiError(ctx.Err())
		}
	}
}

func (s *leaseService) answerRenewal(ctx context.Context, stream keepAliveServer, r *renewal) error {
	select {
	case <-r.answered:
	case <-ctx.Done():
		return apiError(ctx.Err())
	}
	if r.err != nil {
		return r.err
	}
	if r.ttl > 0 {
		s.metrics.leaseRenewed.Inc()
	}
	return stream.Send(&pb.LeaseKeepAliveResponse{
		Header: s.header(&pb.ResponseHeader{Revision: r.revision}), ID: r.id, TTL: r.ttl,
	})
}
