package store

import (
	"context"
	"errors"

	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// read calls answer with a view of the store and its moment.
//
// The view is opened after the moment was taken, so it holds at least what the moment promises; what it holds
// beyond that has later revisions, which reads pass over. A compaction may come in between, and garbage may be
// gone from the view then. So the compact revision is looked at again: a read below it is refused, and one at the
// current revision starts over, since that can always be read.
func (s *Store) read(requested int64, answer func(*view, moment) error) error {
	for {
		now := s.state.Load()
		snapshot := s.engine.NewSnapshot()
		v := view{layout: s.layout, reader: snapshot}
		later := s.state.Load().compacted
		if reading := now.revision; reading < later && requested <= 0 {
			if err := snapshot.Close(); err != nil {
				return err
			}
			continue
		}
		err := answer(&v, moment{now.revision, max(now.compacted, later)})
		return errors.Join(err, v.close(), snapshot.Close())
	}
}

// Range answers a range request as of now; the header has the revision only. The error is one of rpctypes' for
// requests that cannot be answered.
func (s *Store) Range(ctx context.Context, r *pb.RangeRequest) (response *pb.RangeResponse, err error) {
	err = s.read(r.Revision, func(v *view, now moment) error {
		response, err = executeRange(ctx, v, now, r)
		return err
	})
	return response, err
}

// ReadTxn answers a transaction for which IsReadOnlyTxn holds, as of one revision.
func (s *Store) ReadTxn(ctx context.Context, r *pb.TxnRequest) (response *pb.TxnResponse, err error) {
	if !IsReadOnlyTxn(r) {
		return nil, errors.New("store: a transaction that writes must go through the log")
	}
	err = s.read(0, func(v *view, now moment) error {
		t := transaction{ctx: ctx, view: v, begin: now}
		response, err = t.execute(r)
		return err
	})
	return response, err
}

var _ = rpctypes.ErrGRPCCompacted
var _ engine.Reader
