package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/store"
)

// kvService is the etcd v3 KV service.
type kvService struct {
	pb.UnimplementedKVServer
	*Server
}

func (s *kvService) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if err := s.readable(ctx, r.Serializable); err != nil {
		return nil, err
	}
	response, err := s.store.Range(ctx, r)
	if err != nil {
		return nil, apiError(err)
	}
	response.Header = s.header(response.Header)
	return response, nil
}

func (s *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if err := s.mayGrow(); err != nil {
		return nil, err
	}
	response, err := execute(ctx, s.Server, r, store.EncodePut, store.DecodePut)
	if err != nil {
		return nil, err
	}
	response.Header = s.header(response.Header)
	return response, nil
}

func (s *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDeleteRange(r); err != nil {
		return nil, err
	}
	response, err := execute(ctx, s.Server, r, store.EncodeDeleteRange, store.DecodeDeleteRange)
	if err != nil {
		return nil, err
	}
	response.Header = s.header(response.Header)
	return response, nil
}

func (s *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, s.config.Limits.TxnOps); err != nil {
		return nil, err
	}
	if readOnly(r) {
		return s.readTxn(ctx, r)
	}
	if err := s.mayGrow(); err != nil && store.PutsAnything(r) {
		return nil, err
	}
	response, err := execute(ctx, s.Server, r, store.EncodeTxn, store.DecodeTxn)
	if err != nil {
		return nil, err
	}
	response.Header = s.header(response.Header)
	return response, nil
}

// readTxn answers a transaction without writes from the state here: it takes no place in the log.
func (s *kvService) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.readable(ctx, serializable(r)); err != nil {
		return nil, err
	}
	response, err := s.store.ReadTxn(ctx, r)
	if err != nil {
		return nil, apiError(err)
	}
	response.Header = s.header(response.Header)
	return response, nil
}

// Compact answers once the revisions cannot be read any more; if it is to be physical, once this member has
// removed them.
func (s *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	response, err := execute(ctx, s.Server, r, store.EncodeCompaction, store.DecodeCompaction)
	if err != nil {
		return nil, err
	}
	if r.Physical {
		if err := s.store.WaitCollected(ctx, r.Revision); err != nil {
			return nil, apiError(err)
		}
	}
	response.Header = s.header(response.Header)
	return response, nil
}
