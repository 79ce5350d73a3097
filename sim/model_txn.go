package sim

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// modelTxn executes a transaction in etcd's three steps: the branches are chosen and then checked on what was before it, and
// then their operations are executed, each of which sees what those before it did.
type modelTxn struct {
	*model
	start  modelMoment
	write  *change // nil where it only reads, which may be at an earlier moment
	choice map[*pb.TxnRequest]bool
}

// txn applies a transaction.
func (m *model) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	c := m.begin()
	t := modelTxn{m, m.moment(), &c, map[*pb.TxnRequest]bool{}}
	response, err := t.execute(r)
	if err != nil {
		c.undo()
		return nil, err
	}
	response.Header.Revision = m.revision
	return response, nil
}

// readTxn answers a transaction that writes nothing.
func (m *model) readTxn(now modelMoment, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t := modelTxn{m, now, nil, map[*pb.TxnRequest]bool{}}
	response, err := t.execute(r)
	if err != nil {
		return nil, err
	}
	response.Header.Revision = now.revision
	return response, nil
}

func (t *modelTxn) execute(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t.choose(r)
	if err := t.check(r); err != nil {
		return nil, err
	}
	return t.run(r)
}

func (t *modelTxn) chosen(r *pb.TxnRequest) []*pb.RequestOp {
	if t.choice[r] {
		return r.Success
	}
	return r.Failure
}

func (t *modelTxn) choose(r *pb.TxnRequest) {
	t.choice[r] = !slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return !t.compare(c, t.start.revision) })
	for _, op := range t.chosen(r) {
		if nested := op.GetRequestTxn(); nested != nil {
			t.choose(nested)
		}
	}
}

func (t *modelTxn) check(r *pb.TxnRequest) error {
	for _, op := range t.chosen(r) {
		var err error
		switch q := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			if at := q.RequestRange.Revision; at > t.start.revision {
				err = rpctypes.ErrGRPCFutureRev
			} else if at != 0 && at < t.start.compacted {
				err = rpctypes.ErrGRPCCompacted
			}
		case *pb.RequestOp_RequestPut:
			err = t.checkPut(q.RequestPut, t.start.revision)
		case *pb.RequestOp_RequestTxn:
			err = t.check(q.RequestTxn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPut says why a put cannot be.
func (m *model) checkPut(r *pb.PutRequest, revision int64) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case (r.IgnoreValue || r.IgnoreLease) && m.live(string(r.Key), revision) == nil:
		return rpctypes.ErrGRPCKeyNotFound
	case r.Lease != 0 && m.lease(r.Lease) == nil:
		return rpctypes.ErrGRPCLeaseNotFound
	}
	return nil
}

func (t *modelTxn) run(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	response := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: t.choice[r]}
	for _, op := range t.chosen(r) {
		answer := &pb.ResponseOp{}
		var err error
		switch q := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			now := t.start
			if t.write != nil {
				now.revision = t.revision
			}
			var inner *pb.RangeResponse
			inner, err = t.rangeAt(now, q.RequestRange)
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: inner}
		case *pb.RequestOp_RequestPut:
			var inner *pb.PutResponse
			inner, err = t.write.putRequest(q.RequestPut)
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: inner}
		case *pb.RequestOp_RequestDeleteRange:
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: t.write.deleteRange(q.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			var inner *pb.TxnResponse
			inner, err = t.run(q.RequestTxn)
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}
		}
		if err != nil {
			return nil, err
		}
		response.Responses = append(response.Responses, answer)
	}
	return response, nil
}

// putRequest executes a put.
func (c change) putRequest(r *pb.PutRequest) (*pb.PutResponse, error) {
	former := c.live(string(r.Key), c.base+1)
	value, lease := r.Value, r.Lease
	if r.IgnoreValue || r.IgnoreLease {
		if former == nil {
			return nil, rpctypes.ErrGRPCKeyNotFound
		}
		if r.IgnoreValue {
			value = former.Value
		}
		if r.IgnoreLease {
			lease = former.Lease
		}
	}
	c.put(string(r.Key), value, lease)
	response := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: c.revision}}
	if r.PrevKv {
		response.PrevKv = former
	}
	return response, nil
}

// deleteRange executes a deletion.
func (c change) deleteRange(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	doomed := c.within(r.Key, r.RangeEnd, c.base+1)
	for _, pair := range doomed {
		c.set(string(pair.Key), nil)
	}
	response := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: c.revision}, Deleted: int64(len(doomed))}
	if r.PrevKv {
		response.PrevKvs = doomed
	}
	return response
}
