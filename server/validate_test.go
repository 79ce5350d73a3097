package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func opPut(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func opTxn(success, failure []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func manyPuts(n int) (puts []*pb.RequestOp) {
	for i := range n {
		puts = append(puts, opPut(fmt.Sprint("key ", i)))
	}
	return puts
}

func manyCompares(n int) (compares []*pb.Compare) {
	for range n {
		compares = append(compares, &pb.Compare{Key: []byte("k")})
	}
	return compares
}

// The expected answers below were observed at the reference server.

func TestCheckSingleRequests(t *testing.T) {
	for _, test := range []struct {
		name string
		got  error
		want error
	}{
		{"range without key", checkRange(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"range of nothing", checkRange(nil), rpctypes.ErrGRPCEmptyKey},
		{"range, unknown order", checkRange(&pb.RangeRequest{Key: []byte("k"), SortOrder: 7}), rpctypes.ErrGRPCInvalidSortOption},
		{"range, unknown target", checkRange(&pb.RangeRequest{Key: []byte("k"), SortTarget: -1}), rpctypes.ErrGRPCInvalidSortOption},
		{"range, key before sort", checkRange(&pb.RangeRequest{SortOrder: 7}), rpctypes.ErrGRPCEmptyKey},
		{"range, negative limit and revision", checkRange(&pb.RangeRequest{Key: []byte("k"), Limit: -1, Revision: -1}), nil},
		{"put without key", checkPut(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"put of nothing", checkPut(nil), rpctypes.ErrGRPCEmptyKey},
		{"put, key before value", checkPut(&pb.PutRequest{IgnoreValue: true, Value: []byte("v")}), rpctypes.ErrGRPCEmptyKey},
		{"put, value to ignore", checkPut(&pb.PutRequest{Key: []byte("k"), IgnoreValue: true, Value: []byte("v")}), rpctypes.ErrGRPCValueProvided},
		{"put, lease to ignore", checkPut(&pb.PutRequest{Key: []byte("k"), IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCLeaseProvided},
		{"put, value before lease", checkPut(&pb.PutRequest{Key: []byte("k"), IgnoreValue: true, Value: []byte("v"), IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCValueProvided},
		{"put", checkPut(&pb.PutRequest{Key: []byte("k"), IgnoreValue: true, IgnoreLease: true}), nil},
		{"delete without key", checkDeleteRange(&pb.DeleteRangeRequest{RangeEnd: []byte("x")}), rpctypes.ErrGRPCEmptyKey},
		{"stream without key, filtered", checkRangeStream(&pb.RangeRequest{MinModRevision: 1}), rpctypes.ErrGRPCEmptyKey},
		{"stream, unknown order", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), SortOrder: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"stream, by key upwards", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_ASCEND}), nil},
		{"stream, by value in no order", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), SortTarget: pb.RangeRequest_VALUE}), nil},
		{"stream, downwards", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND}), errStreamSort},
		{"stream, by revision", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_MOD}), errStreamSort},
		{"stream, filtered", checkRangeStream(&pb.RangeRequest{Key: []byte("k"), MaxCreateRevision: 1}), errStreamFilters},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
}

func TestCheckTxn(t *testing.T) {
	dup, many, empty := rpctypes.ErrGRPCDuplicateKey, rpctypes.ErrGRPCTooManyOps, rpctypes.ErrGRPCEmptyKey
	for _, test := range []struct {
		name string
		txn  *pb.TxnRequest
		want error
	}{
		{"empty", &pb.TxnRequest{}, nil},
		{"an operation that is none", &pb.TxnRequest{Success: ops(&pb.RequestOp{})}, rpctypes.ErrGRPCKeyNotFound},
		{"a nested operation that is none", &pb.TxnRequest{Success: ops(opTxn(ops(&pb.RequestOp{}), nil))}, rpctypes.ErrGRPCKeyNotFound},
		{"a put of nothing", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{}})}, empty},
		{"a range of nothing", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{}})}, empty},
		{"a transaction of nothing", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestTxn{}})}, nil},
		{"compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}, empty},
		{"compare of nothing", &pb.TxnRequest{Compare: []*pb.Compare{nil}}, empty},
		{"compare with unknown target", &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("k"), Target: 9, Result: 9}}}, nil},
		{"range without key", &pb.TxnRequest{Success: ops(opRange(&pb.RangeRequest{}))}, empty},
		{"range with unknown order", &pb.TxnRequest{Success: ops(opRange(&pb.RangeRequest{Key: []byte("k"), SortOrder: 9}))}, rpctypes.ErrGRPCInvalidSortOption},
		{"put with a value to ignore", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), IgnoreValue: true},
		}})}, rpctypes.ErrGRPCValueProvided},
		{"delete without key", &pb.TxnRequest{Success: ops(opDelete("", "c"))}, empty},

		{"128 of everything", &pb.TxnRequest{Compare: manyCompares(128), Success: manyPuts(128), Failure: manyPuts(128)}, nil},
		{"129 in success", &pb.TxnRequest{Success: manyPuts(129)}, many},
		{"129 in failure", &pb.TxnRequest{Failure: manyPuts(129)}, many},
		{"129 compares", &pb.TxnRequest{Compare: manyCompares(129)}, many},
		{"too many before an empty key", &pb.TxnRequest{Compare: append(manyCompares(128), &pb.Compare{})}, many},
		{"nested 127", &pb.TxnRequest{Success: ops(opTxn(manyPuts(127), nil))}, nil},
		{"nested 128", &pb.TxnRequest{Success: ops(opTxn(manyPuts(128), nil))}, many},
		{"nested 30 beside 100 compares", &pb.TxnRequest{Compare: manyCompares(100), Success: ops(opTxn(manyPuts(30), nil))}, many},

		{"two puts", &pb.TxnRequest{Success: ops(opPut("a"), opPut("a"))}, dup},
		{"two puts in failure", &pb.TxnRequest{Failure: ops(opPut("a"), opPut("a"))}, dup},
		{"a put in each branch", &pb.TxnRequest{Success: ops(opPut("a")), Failure: ops(opPut("a"))}, nil},
		{"put, delete", &pb.TxnRequest{Success: ops(opPut("a"), opDelete("a", ""))}, dup},
		{"delete range, put in it", &pb.TxnRequest{Success: ops(opDelete("a", "c"), opPut("b"))}, dup},
		{"delete range, put at its end", &pb.TxnRequest{Success: ops(opDelete("a", "c"), opPut("c"))}, nil},
		{"delete from key on, put above", &pb.TxnRequest{Success: ops(opDelete("b", "\x00"), opPut("zz"))}, nil},
		{"delete from key on, put below", &pb.TxnRequest{Success: ops(opDelete("b", "\x00"), opPut("a"))}, nil},
		{"delete from the lowest key on", &pb.TxnRequest{Success: ops(opDelete("\x00", "\x00"), opPut("a"))}, nil},
		{"delete of an inverted range, put in it", &pb.TxnRequest{Success: ops(opDelete("d", "a"), opPut("b"))}, nil},
		{"delete of an inverted range, put at its key", &pb.TxnRequest{Success: ops(opDelete("d", "a"), opPut("d"))}, nil},
		{"delete of an empty range, put at its key", &pb.TxnRequest{Success: ops(opDelete("d", "d"), opPut("d"))}, nil},
		{"two deletes", &pb.TxnRequest{Success: ops(opDelete("a", "c"), opDelete("b", "d"))}, nil},
		{"put, nested put", &pb.TxnRequest{Success: ops(opPut("a"), opTxn(ops(opPut("a")), nil))}, dup},
		{"nested put in each branch", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("a")), ops(opPut("a"))))}, nil},
		{"two nested puts", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("a")), nil), opTxn(nil, ops(opPut("a"))))}, dup},
		{"nested puts, the second in both branches", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("a")), nil), opTxn(ops(opPut("b")), ops(opPut("a"))))}, dup},
		{"nested delete, outer put", &pb.TxnRequest{Success: ops(opTxn(ops(opDelete("a", "c")), nil), opPut("b"))}, dup},
		{"outer delete, nested put", &pb.TxnRequest{Success: ops(opDelete("a", "c"), opTxn(ops(opPut("b")), nil))}, dup},
		{"nested put, nested delete in the same branch", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("b"), opDelete("a", "c")), nil))}, dup},
		{"nested put, delete in the other branch", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("b")), ops(opDelete("a", "c"))))}, nil},
		{"nested put, then nested delete", &pb.TxnRequest{Success: ops(opTxn(ops(opPut("b")), nil), opTxn(nil, ops(opDelete("a", "c"))))}, nil},
		{"nested delete, then nested put", &pb.TxnRequest{Success: ops(opTxn(ops(opDelete("a", "c")), nil), opTxn(nil, ops(opPut("b"))))}, dup},
		{"three levels", &pb.TxnRequest{Success: ops(opTxn(ops(opTxn(nil, ops(opPut("a")))), nil), opPut("a"))}, dup},
		{"an empty key is found before a duplicate", &pb.TxnRequest{Success: ops(opPut("a"), opPut("a")), Failure: ops(opPut(""))}, empty},
	} {
		if err := checkTxn(test.txn, 128); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// TestOverlapsLikeNaive compares the merged, searched ranges with a list that is walked.
func TestOverlapsLikeNaive(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	key := func() string {
		return string([]byte{'a' + byte(random.IntN(6)), 'a' + byte(random.IntN(3))}[:1+random.IntN(2)])
	}
	for range 20_000 {
		var all []keyRange
		merged := &footprint{}
		for range 1 + random.IntN(3) {
			var deletes []*pb.RequestOp
			for range random.IntN(5) {
				end := [...]string{"", "\x00", key(), key(), key()}[random.IntN(5)]
				if end == "\x00" && random.IntN(4) > 0 {
					end = ""
				}
				from := key()
				deletes = append(deletes, opDelete(from, end))
				all = append(all, rangeOf([]byte(from), []byte(end)))
			}
			merged.deletes = union(merged.deletes, deletesOf(deletes))
		}
		probe := key()
		naive := false
		for _, r := range all {
			naive = naive || string(r.from) <= probe && probe < string(r.to)
		}
		if got := merged.deleted(probe); got != naive {
			t.Fatalf("%q in %v: %v, want %v (merged to %v)", probe, all, got, naive, merged.deletes)
		}
	}
}

func TestReadOnlyAndSerializable(t *testing.T) {
	fresh, stale := opRange(&pb.RangeRequest{Key: []byte("k")}), opRange(&pb.RangeRequest{Key: []byte("k"), Serializable: true})
	for _, test := range []struct {
		name                   string
		txn                    *pb.TxnRequest
		readOnly, serializable bool
	}{
		{"empty", &pb.TxnRequest{}, true, true},
		{"read", &pb.TxnRequest{Success: ops(fresh)}, true, false},
		{"stale read", &pb.TxnRequest{Success: ops(stale), Failure: ops(stale)}, true, true},
		{"stale or fresh read", &pb.TxnRequest{Success: ops(stale), Failure: ops(fresh)}, true, false},
		{"nested stale read", &pb.TxnRequest{Success: ops(opTxn(ops(stale), nil))}, true, false},
		{"write in a branch", &pb.TxnRequest{Success: ops(stale), Failure: ops(opPut("k"))}, false, false},
		{"nested write", &pb.TxnRequest{Success: ops(opTxn(ops(stale), ops(opDelete("k", ""))))}, false, false},
	} {
		if got := readOnly(test.txn); got != test.readOnly {
			t.Errorf("%s: read only %v", test.name, got)
		}
		if got := readOnly(test.txn) && serializable(test.txn); got != test.serializable {
			t.Errorf("%s: serializable %v", test.name, got)
		}
	}
}
