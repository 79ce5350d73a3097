package store

import (
	"bytes"
	"context"
)

// count returns how many keys of an interval are live as of revision rev, which is not later than the view's census.
func (v *view) count(ctx context.Context, in interval, rev int64) (int64, error) {
	if in.single || v.census == nil || v.overlay != nil {
		return v.countByScan(ctx, in, rev)
	}
	inner, sum, ok := wholeBuckets(v.census, in)
	if !ok {
		return v.countByScan(ctx, in, rev)
	}
	total, err := v.countBetween(ctx, in.start, inner.start, rev)
	if err != nil {
		return 0, err
	}
	if len(inner.end) > 0 {
		rest, err := v.countByScan(ctx, interval{start: inner.end, end: in.end}, rev)
		if err != nil {
			return 0, err
		}
		total += rest
	}
	grown, ok, err := v.grownSince(ctx, inner, rev, sum)
	if err != nil {
		return 0, err
	}
	if ok {
		return total + sum - grown, nil
	}
	sum, err = v.countByScan(ctx, inner, rev)
	return total + sum, err
}

// wholeBuckets returns the part of an interval that whole buckets make up, and how many keys they have.
func wholeBuckets(b *buckets, in interval) (inner interval, sum int64, ok bool) {
	b.Ascend(string(in.start), func(start string, _ int64) bool {
		inner.start, ok = []byte(start), true
		return false
	})
	if ok && len(in.end) > 0 {
		last, _ := bucketOf(b, string(in.end))
		inner.end, ok = []byte(last), last > string(inner.start)
	}
	if !ok {
		return interval{}, 0, false
	}
	end := string(inner.end)
	b.Ascend(string(inner.start), func(start string, n int64) bool {
		if end != "" && start >= end {
			return false
		}
		sum += n
		return true
	})
	return inner, sum, true
}

func (v *view) countBetween(ctx context.Context, start, end []byte, rev int64) (int64, error) {
	if bytes.Compare(start, end) >= 0 {
		return 0, nil
	}
	return v.countByScan(ctx, interval{start: start, end: end}, rev)
}

func (v *view) countByScan(ctx context.Context, in interval, rev int64) (n int64, err error) {
	err = v.scan(ctx, in, rev, func(*found) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// A record of the revision log costs about as much as freeScan keys of the index, and each of its bytes a part of one.
const (
	recordCost    = 2
	bytesForACost = 512
	freeCost      = 1000
)

// grownSince returns how many keys more an interval has as of the census than it had at revision rev, from the revision
// log. ok is false where it would cost more than a scan of the given number of keys.
func (v *view) grownSince(ctx context.Context, in interval, rev, keys int64) (grown int64, ok bool, err error) {
	left := keys + freeCost
	if (v.at-rev)*recordCost > left {
		return 0, false, nil
	}
	if rev == v.at {
		return 0, true, nil
	}
	walk, err := v.reader.NewIterator(v.appendLogKey(nil, revision{rev + 1, 0}), v.appendLogKey(nil, revision{v.at + 1, 0}))
	if err != nil {
		return 0, false, err
	}
	defer walk.Close()
	n := 0
	for more := walk.First(); more; more = walk.Next() {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		at, err := cutLogKey(walk.Key())
		if err != nil {
			return 0, false, err
		}
		value := walk.Value()
		record, err := decodeLogValue(at, value)
		if err != nil {
			return 0, false, err
		}
		if in.contains(record.key) {
			grown += record.growth()
		}
		if left -= recordCost + int64(len(value))/bytesForACost; left < 0 {
			return 0, false, nil
		}
	}
	return grown, true, walk.Error()
}

// contains reports whether a key is in the interval.
func (in *interval) contains(key []byte) bool {
	if in.single {
		return bytes.Equal(key, in.start)
	}
	return bytes.Compare(key, in.start) >= 0 && (len(in.end) == 0 || bytes.Compare(key, in.end) < 0)
}
