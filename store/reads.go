package store

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Reads run beside Apply and CollectGarbage without locks. A read takes the current state first and looks at the
// engine after that, so that it finds all that the state promises; what it finds beyond that has later revisions,
// and is passed over. One thing can go wrong: a compaction after the state was taken, and its garbage gone before
// the read was over. So the compact revision is looked at again afterwards. Where it has passed the revision that
// was read at, the read is refused, or starts over if it was one at the current revision: that can always be read.

// snapshotAfter is how many times a read of the current state is tried on the engine itself. After that a snapshot
// is made: it keeps the garbage, and costs a lock of the engine's.
const snapshotAfter = 2

// read calls answer, once or more, with a view and the moment of the read. requested is the revision asked for; 0
// or less is the current one.
func (s *Store) read(requested int64, answer func(*view, moment) error) error {
	for range snapshotAfter {
		now := s.use()
		rev, err := now.moment().readAt(requested)
		if err != nil {
			now.engine.leave()
			return err
		}
		v := view{layout: s.layout, reader: now.engine, census: now.census, at: now.revision}
		err = errors.Join(answer(&v, now.moment()), v.close())
		now.engine.leave()
		if s.state.Load().compacted <= rev {
			return s.noticed(err)
		}
		if requested > 0 {
			return rpctypes.ErrGRPCCompacted
		}
	}
	return s.readSnapshot(answer)
}

// readSnapshot calls answer with a view of a snapshot. Every revision that the moment allows can be read in it.
func (s *Store) readSnapshot(answer func(*view, moment) error) error {
	for {
		now := s.use()
		snapshot := now.engine.NewSnapshot()
		if later := s.state.Load(); later.compacted != now.compacted {
			err := snapshot.Close()
			if now.engine.leave(); err != nil {
				return err
			}
			continue
		}
		v := view{layout: s.layout, reader: snapshot, census: now.census, at: now.revision}
		err := errors.Join(answer(&v, now.moment()), v.close(), snapshot.Close())
		now.engine.leave()
		return s.noticed(err)
	}
}

func (c *counters) moment() moment { return moment{c.revision, c.compacted} }

// Range answers a range request as of now; the header has the revision only. The error is one of rpctypes' for
// requests that cannot be answered.
func (s *Store) Range(ctx context.Context, r *pb.RangeRequest) (response *pb.RangeResponse, err error) {
	err = s.read(r.Revision, func(v *view, now moment) error {
		response, err = executeRange(ctx, v, now, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// ReadTxn answers a transaction for which IsReadOnlyTxn holds, as of one revision.
func (s *Store) ReadTxn(ctx context.Context, r *pb.TxnRequest) (response *pb.TxnResponse, err error) {
	if !IsReadOnlyTxn(r) {
		return nil, errors.New("store: a transaction that writes must go through the log")
	}
	err = s.readSnapshot(func(v *view, now moment) error {
		t := transaction{ctx: ctx, view: v, begin: now}
		response, err = t.execute(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
