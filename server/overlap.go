package server

import (
	"bytes"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// footprint is what the operations of one branch may write: keys that are put, and ranges that are deleted.
type footprint struct {
	puts    map[string]struct{}
	deletes []keyRange // ascending, with gaps between them
}

// keyRange is [from, to).
type keyRange struct{ from, to []byte }

// rangeOf reads a range as the API writes it: no end is the single key. An end of one zero byte, which stands for
// "from key on", is not looked at specially: see checkOverlaps.
func rangeOf(key, end []byte) keyRange {
	if len(end) == 0 {
		return keyRange{from: key, to: append(slices.Clone(key), 0)}
	}
	return keyRange{from: key, to: end}
}

// endsAfter reports whether the range ends above key.
func (r keyRange) endsAfter(key []byte) bool { return bytes.Compare(r.to, key) > 0 }

// deleted finds key in O(log n): a request of the largest size holds a hundred thousand operations.
func (f *footprint) deleted(key string) bool {
	i := sort.Search(len(f.deletes), func(i int) bool { return f.deletes[i].endsAfter([]byte(key)) })
	return i < len(f.deletes) && string(f.deletes[i].from) <= key
}

// union merges two ascending lists of ranges into one with gaps between its ranges.
func union(a, b []keyRange) []keyRange {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	merged := make([]keyRange, 0, len(a)+len(b))
	for len(a)+len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && bytes.Compare(b[0].from, a[0].from) < 0 {
			a, b = b, a
		}
		merged = appendRange(merged, a[0])
		a = a[1:]
	}
	return merged
}

// appendRange adds a range that starts no lower than the last one.
func appendRange(ranges []keyRange, r keyRange) []keyRange {
	n := len(ranges)
	if n == 0 || bytes.Compare(ranges[n-1].to, r.from) < 0 {
		return append(ranges, r)
	}
	if last := &ranges[n-1]; !last.endsAfter(r.to) {
		last.to = r.to
	}
	return ranges
}

// deletesOf lists what the operations of a branch delete themselves, nested ones left out.
func deletesOf(ops []*pb.RequestOp) []keyRange {
	var ranges []keyRange
	for _, op := range ops {
		if r := op.GetRequestDeleteRange(); r != nil {
			if deleted := rangeOf(r.Key, r.RangeEnd); deleted.endsAfter(deleted.from) {
				ranges = append(ranges, deleted)
			}
		}
	}
	slices.SortFunc(ranges, func(a, b keyRange) int { return bytes.Compare(a.from, b.from) })
	merged := ranges[:0]
	for _, r := range ranges {
		merged = appendRange(merged, r)
	}
	return merged
}

// checkOverlaps refuses operations that would write one key twice at one revision: two puts, or a put and a
// delete. Two deletes of one key are allowed, and so is one key in both branches of a transaction, of which
// only one runs. What etcd lets through is let through here, because clients may rely on it: a key that one
// nested transaction puts and a *later* nested one deletes, and a key that is put beside a deletion "from key on",
// whose end of one zero byte makes it look empty. The store writes such a key twice, in order.
func checkOverlaps(ops []*pb.RequestOp) (*footprint, error) {
	all := &footprint{puts: make(map[string]struct{}), deletes: deletesOf(ops)}
	for _, op := range ops {
		nested, ok := op.GetRequest().(*pb.RequestOp_RequestTxn)
		if !ok {
			continue
		}
		if err := all.addNested(nested.RequestTxn); err != nil {
			return nil, err
		}
	}
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil {
			if err := all.addPut(string(r.Key)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (f *footprint) addPut(key string) error {
	if _, twice := f.puts[key]; twice || f.deleted(key) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	f.puts[key] = struct{}{}
	return nil
}

func (f *footprint) addNested(r *pb.TxnRequest) error {
	success, err := checkOverlaps(r.GetSuccess())
	if err != nil {
		return err
	}
	failure, err := checkOverlaps(r.GetFailure())
	if err != nil {
		return err
	}
	for key := range success.puts {
		if err := f.addPut(key); err != nil {
			return err
		}
	}
	for key := range failure.puts {
		if _, other := success.puts[key]; other {
			continue // only one of the two branches runs
		}
		if err := f.addPut(key); err != nil {
			return err
		}
	}
	f.deletes = union(f.deletes, union(success.deletes, failure.deletes))
	return nil
}
