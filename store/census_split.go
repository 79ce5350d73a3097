package store

import (
	"context"
	"errors"
	"fmt"
)

// balance cuts one bucket that has too many keys, or counts all of them where they are not known. It scans beside Apply, and
// takes what was applied meanwhile from the revision log. The caller holds collection.step: nothing is removed from the log.
func (s *Store) balance(ctx context.Context) error {
	s.collection.crowd(false) // before the look: what becomes crowded after it says so
	now := s.use()
	defer now.engine.leave()
	in, known := everyKey, false
	if now.census != nil {
		if in, known = crowdedBucket(now.census, bucketGrowth*s.bucketKeys()); !known {
			return nil
		}
	}
	s.collection.crowd(true) // there may be more of them
	pieces, rev, err := s.recount(ctx, now, in)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failure != nil || s.engine != now.engine {
		return s.failure
	}
	e := &s.writer
	if _, err := s.follow(now.engine, pieces, in, rev, e.revision); err != nil {
		return err
	}
	if known {
		e.census.cut(in, pieces)
	} else {
		e.census.replace(pieces)
	}
	s.publish()
	return nil
}

func (s *Store) bucketKeys() int64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.writer.census.bucketKeys
}

// everyKey is the interval of all keys.
var everyKey = interval{start: []byte{}, end: everything}

// crowdedBucket returns a bucket with more than limit keys.
func crowdedBucket(b *buckets, limit int64) (in interval, found bool) {
	b.Scan(func(start string, n int64) bool {
		if found {
			in.end = []byte(start)
			return false
		}
		if n > limit {
			in, found = interval{start: []byte(start)}, true
		}
		return true
	})
	return in, found
}

// closeEnough is how many revisions may be followed while Apply waits.
const closeEnough = 256

// recount makes buckets of the keys in an interval, as of a revision that is not long ago.
func (s *Store) recount(ctx context.Context, now *state, in interval) (pieces *buckets, rev int64, err error) {
	c := counting{bucketKeys: s.bucketKeys(), start: string(in.start)}
	v := view{layout: s.layout, reader: now.engine}
	rev = now.revision
	err = v.scan(ctx, in, rev, func(f *found) (bool, error) {
		c.add(f.key)
		return true, nil
	})
	if err = errors.Join(err, v.close()); err != nil {
		return nil, 0, err
	}
	pieces = c.end()
	for {
		later := s.state.Load()
		if later.engine != now.engine || later.revision-rev <= closeEnough {
			return pieces, rev, nil
		}
		if _, err := s.follow(now.engine, pieces, in, rev, later.revision); err != nil {
			return nil, 0, err
		}
		rev = later.revision
	}
}

// cut replaces the bucket of an interval by pieces of it. They may have been joined meanwhile, and then it stays. A sum that
// is not the bucket's means that one of them is wrong: then nothing is known any more, and all is counted anew.
func (c *census) cut(in interval, pieces *buckets) {
	if c.buckets == nil {
		return
	}
	n, same := c.buckets.Get(string(in.start))
	if next, ok := bucketAfter(c.buckets, string(in.start)); !same || next != string(in.end) || ok != (len(in.end) > 0) {
		return
	}
	var sum int64
	pieces.Scan(func(_ string, n int64) bool {
		sum += n
		return true
	})
	if sum != n {
		c.distrusted++
		c.replace(nil)
		return
	}
	pieces.Scan(func(start string, n int64) bool {
		c.buckets.Set(start, n)
		return true
	})
	c.changed = true
}

// bucketAfter returns where the bucket after the one at start begins.
func bucketAfter(b *buckets, start string) (next string, ok bool) {
	b.Ascend(start, func(first string, _ int64) bool {
		if first == start {
			return true
		}
		next, ok = first, true
		return false
	})
	return next, ok
}

// verifyCensus compares each bucket of the view's census with a scan.
func (v *view) verifyCensus(ctx context.Context) error {
	if v.census == nil {
		return nil
	}
	counted := &buckets{}
	v.census.Scan(func(start string, _ int64) bool {
		counted.Load(start, 0)
		return true
	})
	err := v.scan(ctx, everyKey, v.at, func(f *found) (bool, error) {
		start, n := bucketOf(counted, string(f.key))
		counted.Set(start, n+1)
		return true, nil
	})
	if err != nil {
		return err
	}
	v.census.Scan(func(start string, n int64) bool {
		if found, _ := counted.Get(start); found != n {
			err = fmt.Errorf("%w: the census has %d keys in the bucket of %q, and there are %d", errCorrupt, n, start, found)
		}
		return err == nil
	})
	return err
}
