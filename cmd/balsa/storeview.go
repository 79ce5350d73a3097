package main

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/store"
)

// storeView is the store as the server asks for it.
type storeView struct{ *store.Store }

func (s storeView) Sizes() (total, inUse int64) { return s.Size(), s.SizeInUse() }

func (s storeView) RangeStream(ctx context.Context, r *pb.RangeRequest, send func(*pb.RangeResponse) error) error {
	response, err := s.Range(ctx, r)
	if err != nil {
		return err
	}
	return send(response)
}

func (s storeView) Hash(ctx context.Context) (*pb.HashResponse, error) {
	return nil, errors.New("not yet")
}

func (s storeView) HashKV(ctx context.Context, revision int64) (*pb.HashKVResponse, error) {
	return nil, errors.New("not yet")
}
