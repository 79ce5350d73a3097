package server

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The checks of a request that need no state. They run before anything is encoded, in etcd's order, so that a
// request that is wrong in two ways gets the same answer as there.

func checkRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if _, ok := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if _, ok := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDeleteRange(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn checks a transaction with all that is nested in it: sizes and single operations first, overlaps last.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	if err := checkTxnOps(r, maxOps); err != nil {
		return err
	}
	if _, err := checkOverlaps(r.GetSuccess()); err != nil {
		return err
	}
	_, err := checkOverlaps(r.GetFailure())
	return err
}

// checkTxnOps lets a transaction have maxOps compares and as many operations in each branch. What is nested
// in it may have as many as the longest of those leaves; the depth is bounded with it.
func checkTxnOps(r *pb.TxnRequest, maxOps int) error {
	width := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if width > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-width); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, maxOps int) error {
	switch request := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(request.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(request.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDeleteRange(request.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxnOps(request.RequestTxn, maxOps)
	}
	return rpctypes.ErrGRPCKeyNotFound // an operation that is none: etcd's answer, odd as it is
}

// readOnly reports whether no branch of a transaction writes: it needs no place in the log then.
func readOnly(r *pb.TxnRequest) bool {
	return onlyReads(r.GetSuccess()) && onlyReads(r.GetFailure())
}

func onlyReads(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		switch request := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
		case *pb.RequestOp_RequestTxn:
			if !readOnly(request.RequestTxn) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// serializable reports whether every range of a transaction that only reads allows a stale answer. As in etcd,
// a nested transaction does not.
func serializable(r *pb.TxnRequest) bool {
	return opsSerializable(r.GetSuccess()) && opsSerializable(r.GetFailure())
}

func opsSerializable(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if !op.GetRequestRange().GetSerializable() {
			return false
		}
	}
	return true
}
