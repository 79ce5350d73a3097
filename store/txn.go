package store

import (
	"bytes"
	"cmp"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// transaction executes one txn request, in etcd's three steps: all comparisons, those of nested transactions too,
// see the state before the transaction and choose the branches; the operations on the chosen branches are
// checked against that state; then they are executed in order, each seeing what those before it did.
type transaction struct {
	ctx   context.Context
	view  *view
	begin moment
	write *execution // nil where the transaction only reads
}

// execute returns the response. An error means that nothing was changed, unless it is a failure of the replica.
func (t *transaction) execute(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	path, err := t.choose(nil, r)
	if err != nil {
		return nil, err
	}
	if _, err := t.check(path, r); err != nil {
		return nil, err
	}
	response, _, err := t.run(path, r)
	if err != nil {
		return nil, err
	}
	response.Header.Revision = t.now().revision
	return response, nil
}

// now is the moment that the next operation reads at.
func (t *transaction) now() moment {
	if t.write == nil {
		return t.begin
	}
	return moment{t.write.revision, t.begin.compacted}
}

// choose appends which branch r takes, and after it the choices of the transactions on that branch, in order.
func (t *transaction) choose(path []bool, r *pb.TxnRequest) ([]bool, error) {
	succeeded := true
	for _, c := range r.Compare {
		holds, err := t.compare(c)
		if err != nil {
			return nil, err
		}
		if !holds {
			succeeded = false
			break
		}
	}
	path = append(path, succeeded)
	for _, op := range branch(r, succeeded) {
		if nested := op.GetRequestTxn(); nested != nil {
			var err error
			if path, err = t.choose(path, nested); err != nil {
				return nil, err
			}
		}
	}
	return path, nil
}

func branch(r *pb.TxnRequest, succeeded bool) []*pb.RequestOp {
	if succeeded {
		return r.Success
	}
	return r.Failure
}

// compare reports whether a comparison holds: for every key of its range, or for a key without versions, creation
// and so on where there is none. Without a key no comparison of values holds.
func (t *transaction) compare(c *pb.Compare) (bool, error) {
	holds, any := true, false
	err := t.view.scan(t.ctx, newInterval(c.Key, c.RangeEnd), t.begin.revision, func(f *found) (bool, error) {
		any = true
		if c.Target == pb.Compare_VALUE {
			if err := t.view.load(f); err != nil {
				return false, err
			}
		}
		holds = compareVersion(c, f)
		return holds, nil
	})
	if err != nil {
		return false, err
	}
	if !any {
		return c.Target != pb.Compare_VALUE && compareVersion(c, &found{}), nil
	}
	return holds, nil
}

func compareVersion(c *pb.Compare, f *found) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(f.value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(f.created, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(f.at.main, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(f.count, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(f.lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true
}

// check says why the chosen operations cannot be executed. It returns how many choices of path r used.
func (t *transaction) check(path []bool, r *pb.TxnRequest) (used int, err error) {
	used = 1
	for _, op := range branch(r, path[0]) {
		switch request := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			err = t.checkRange(request.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = t.checkPut(request.RequestPut)
		case *pb.RequestOp_RequestTxn:
			var nested int
			nested, err = t.check(path[used:], request.RequestTxn)
			used += nested
		}
		if err != nil {
			return 0, err
		}
	}
	return used, nil
}

// checkRange is stricter than executing the range: negative revisions are not the current one here.
func (t *transaction) checkRange(r *pb.RangeRequest) error {
	switch {
	case !validSort(r):
		return rpctypes.ErrGRPCInvalidSortOption
	case r.Revision == 0:
		return nil
	case r.Revision > t.begin.revision:
		return rpctypes.ErrGRPCFutureRev
	case r.Revision < t.begin.compacted:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

func (t *transaction) checkPut(r *pb.PutRequest) error {
	if err := checkPutRequest(r); err != nil {
		return err
	}
	if err := t.write.checkLease(r.Lease); err != nil || !r.IgnoreValue && !r.IgnoreLease {
		return err
	}
	_, exists, err := t.view.get(r.Key, t.begin.revision)
	if err == nil && !exists {
		err = rpctypes.ErrGRPCKeyNotFound
	}
	return err
}

// run executes the chosen operations. It returns how many choices of path r used.
func (t *transaction) run(path []bool, r *pb.TxnRequest) (response *pb.TxnResponse, used int, err error) {
	used = 1
	response = &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: path[0]}
	for _, op := range branch(r, path[0]) {
		var answer pb.ResponseOp
		switch request := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			var inner pb.ResponseOp_ResponseRange
			inner.ResponseRange, err = executeRange(t.ctx, t.view, t.now(), request.RequestRange)
			answer.Response = &inner
		case *pb.RequestOp_RequestPut:
			var inner pb.ResponseOp_ResponsePut
			inner.ResponsePut, err = t.write.executePut(request.RequestPut)
			answer.Response = &inner
		case *pb.RequestOp_RequestDeleteRange:
			var inner pb.ResponseOp_ResponseDeleteRange
			inner.ResponseDeleteRange, err = t.write.executeDeleteRange(t.ctx, request.RequestDeleteRange)
			answer.Response = &inner
		case *pb.RequestOp_RequestTxn:
			var inner pb.ResponseOp_ResponseTxn
			var nested int
			inner.ResponseTxn, nested, err = t.run(path[used:], request.RequestTxn)
			used += nested
			answer.Response = &inner
		}
		if err != nil {
			return nil, 0, err
		}
		response.Responses = append(response.Responses, &answer)
	}
	return response, used, nil
}

// checkPutRequest says what is wrong with a put, whatever the state.
func checkPutRequest(r *pb.PutRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkLease says whether a put may attach its key to a lease; 0 is none.
func (e *execution) checkLease(id int64) error {
	if id == 0 {
		return nil
	}
	if _, exists := e.leases.Get(id); !exists {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	return nil
}

// executePut executes a put whose request was checked.
func (e *execution) executePut(r *pb.PutRequest) (*pb.PutResponse, error) {
	response := &pb.PutResponse{Header: &pb.ResponseHeader{}}
	value, lease := r.Value, r.Lease
	if r.IgnoreValue || r.IgnoreLease || r.PrevKv {
		f, exists, err := e.get(r.Key, e.revision)
		if err == nil && exists && (r.IgnoreValue || r.PrevKv) {
			err = e.load(&f)
		}
		switch {
		case err != nil:
			return nil, err
		case !exists && (r.IgnoreValue || r.IgnoreLease):
			return nil, rpctypes.ErrGRPCKeyNotFound
		}
		if r.IgnoreValue {
			value = f.value
		}
		if r.IgnoreLease {
			lease = f.lease
		}
		if r.PrevKv && exists {
			response.PrevKv = f.keyValue()
		}
	}
	if err := e.put(r.Key, value, lease); err != nil {
		return nil, err
	}
	response.Header.Revision = e.revision
	return response, nil
}

func (e *execution) executeDeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	var doomed []found
	err := e.scan(ctx, newInterval(r.Key, r.RangeEnd), e.revision, func(f *found) (bool, error) {
		f.key = bytes.Clone(f.key)
		doomed = append(doomed, *f)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	response := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{}, Deleted: int64(len(doomed))}
	if r.PrevKv {
		if err := e.loadAll(ctx, doomed); err != nil {
			return nil, err
		}
		response.PrevKvs = make([]*mvccpb.KeyValue, len(doomed))
	}
	for i := range doomed {
		f := &doomed[i]
		if r.PrevKv {
			response.PrevKvs[i] = f.keyValue()
		}
		e.delete(f.key, &f.version)
	}
	response.Header.Revision = e.revision
	return response, nil
}

// PutsAnything reports whether a branch of a transaction has a put, nested ones included.
func PutsAnything(r *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op.GetRequestPut() != nil {
				return true
			}
			if nested := op.GetRequestTxn(); nested != nil && PutsAnything(nested) {
				return true
			}
		}
	}
	return false
}

// IsReadOnlyTxn reports whether no branch of a transaction writes, nested ones included: it need not go through the log.
func IsReadOnlyTxn(r *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			switch request := op.GetRequest().(type) {
			case *pb.RequestOp_RequestPut, *pb.RequestOp_RequestDeleteRange:
				return false
			case *pb.RequestOp_RequestTxn:
				if !IsReadOnlyTxn(request.RequestTxn) {
					return false
				}
			}
		}
	}
	return true
}
