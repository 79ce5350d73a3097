package server

import (
	"bytes"
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa/store"
)

// Locks and elections are queues of keys, just as in etcd's package concurrency, so that clients of both sorts can
// stand in one: each contender has a key NAME/LEASE, in hexadecimal, attached to its lease; who has the least create revision
// is first. A contender waits for the one before it only, so that a queue of any length moves in steps of one.

// queues is the part that locks and elections share.
type queues struct {
	*Server
	kv     *kvService
	leases *leaseService
}

// place is a contender's key in a queue.
type place struct {
	key      []byte
	revision int64 // at which it came into being
	header   *pb.ResponseHeader
	found    *mvccpb.KeyValue // as it was, where it was there already
}

// defaultLeaseTTL is the time to live, in seconds, of the lease of a contender that brings none.
const defaultLeaseTTL = 60

// leaseOf returns the lease of a contender: its own, or a new one.
func (s *queues) leaseOf(ctx context.Context, lease int64) (int64, error) {
	if lease != 0 {
		return lease, nil
	}
	granted, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: defaultLeaseTTL})
	if err != nil {
		return 0, err
	}
	return granted.ID, nil
}

func queuePrefix(name []byte) []byte { return append(bytes.Clone(name), '/') }

// enqueue puts a contender into a queue, if it is not there. Where the outcome is not known its key may be there, and stays
// until its lease ends: it may be one that the lease had before, and holds the lock with.
func (s *queues) enqueue(ctx context.Context, name []byte, lease int64, value []byte) (*place, error) {
	p := &place{key: fmt.Appendf(queuePrefix(name), "%x", lease)}
	response, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(p.key, 0)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: p.key, Value: value, Lease: lease})},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: p.key}}}},
	})
	if err != nil {
		return nil, err
	}
	p.header, p.revision = response.Header, response.Header.Revision
	if !response.Succeeded {
		p.found = response.Responses[0].GetResponseRange().Kvs[0]
		p.revision = p.found.CreateRevision
	}
	return p, nil
}

func createdAt(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

// awaitTurn returns once nobody is in the queue who came before.
func (s *queues) awaitTurn(ctx context.Context, name []byte, p *place) error {
	prefix := queuePrefix(name)
	for {
		before, err := s.kv.Range(ctx, &pb.RangeRequest{
			Key: prefix, RangeEnd: prefixEnd(prefix), Limit: 1, KeysOnly: true,
			SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND, MaxCreateRevision: p.revision - 1,
		})
		if err != nil || len(before.Kvs) == 0 {
			return err
		}
		err = s.changed(ctx, store.WatchOptions{Key: before.Kvs[0].Key, Start: before.Header.Revision + 1, NoPut: true})
		if err != nil {
			return err
		}
	}
}

// leave takes a contender that has given up out of its queue. Its client has gone, so this does not hang on it; if it
// fails, the lease does the rest.
func (s *queues) leave(ctx context.Context, p *place) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Limits.RequestTimeout)
	defer cancel()
	_, _ = s.deleteOwn(ctx, p.key, p.revision)
}

// deleteOwn deletes a key if it is still the one that came into being at a revision.
func (s *queues) deleteOwn(ctx context.Context, key []byte, revision int64) (*pb.TxnResponse, error) {
	return s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, revision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}},
	})
}

// first returns who is first in a queue; without anybody there is no pair.
func (s *queues) first(ctx context.Context, name []byte) (*pb.RangeResponse, error) {
	prefix := queuePrefix(name)
	return s.kv.Range(ctx, &pb.RangeRequest{
		Key: prefix, RangeEnd: prefixEnd(prefix), Limit: 1, SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND,
	})
}

// changed returns once something may have happened to keys from a revision on: the caller looks again.
func (s *queues) changed(ctx context.Context, what store.WatchOptions) error {
	woken := make(chan struct{}, 1)
	feed := s.store.NewFeed(func() { signal(woken) })
	defer feed.Close()
	if _, err := feed.Watch(what); err != nil {
		return apiError(err)
	}
	for {
		deliveries, more, err := feed.Next(ctx)
		if err != nil {
			return apiError(err)
		}
		for i := range deliveries {
			if kind := deliveries[i].Kind; kind == store.DeliverEvents || kind == store.DeliverCompacted {
				return nil
			}
		}
		if more {
			signal(woken)
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return apiError(ctx.Err())
		case <-s.fenced:
			return refusal(s.group.Err())
		case <-s.stopping:
			return rpctypes.ErrGRPCStopped
		}
	}
}

// prefixEnd is the range_end of all keys with a prefix, which does not end in 0xff.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}
