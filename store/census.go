package store

import (
	"github.com/balsadb/balsa/engine"
	"github.com/tidwall/btree"
)

// A census says how many keys there are, by buckets: pieces of the key space, each given by its first key. Only what creates
// or deletes a key changes it. It is derived from the index and can be made anew from that at any time; answers do not hang
// on where buckets begin. docs/decisions/0020 has the reasons.

// buckets has the number of live keys by the first key of their bucket; "" is always there. A Copy of it can be read
// while the original changes.
type buckets = btree.Map[string, int64]

// defaultBucketKeys is how many keys a bucket has when it was cut. It is cut again at bucketGrowth times as many.
const defaultBucketKeys = 1 << 10

const bucketGrowth = 4

// defaultCensusLog is how many bytes of the revision log come between two records of the census, at least.
const defaultCensusLog = 8 << 20

// censusShare is how many times its own size the census lets the log grow between two of its records.
const censusShare = 64

// census is the writer's: the store's readers have a copy of the buckets.
type census struct {
	buckets *buckets // nil where they are not known: the worker counts
	shown   *buckets // a copy, for readers, of what the last batch that changed them has left
	changed bool     // by the batch
	crowded bool     // a bucket that the batch changed is to be cut

	unsaved int // bytes of the revision log since the last record
	saved   int // the size of that one; 0 where this process has written none

	distrusted int // how often it was found to be wrong, which only a bug, or rot, can make it

	bucketKeys int64
	log        int
}

func newCensus(b *buckets, unsaved int) census {
	c := census{buckets: b, unsaved: unsaved, bucketKeys: defaultBucketKeys, log: defaultCensusLog}
	if b != nil {
		c.shown = b.Copy()
	}
	return c
}

func emptyBuckets() *buckets {
	b := &buckets{}
	b.Set("", 0)
	return b
}

// note takes a change that was committed. Overwriting a key changes no number.
func (c *census) note(changed *change) {
	c.unsaved += len(changed.key) + len(changed.value) + versionOverhead
	switch {
	case c.buckets == nil:
	case changed.tombstone:
		c.remove(changed.written.key)
	case changed.count == 1:
		c.add(changed.written.key)
	}
}

func (c *census) add(key string) {
	start, n := bucketOf(c.buckets, key)
	c.buckets.Set(start, n+1)
	c.changed = true
	c.crowded = c.crowded || n+1 > bucketGrowth*c.bucketKeys
}

// remove takes a key out of its bucket, and joins that to the one before where both together are small.
func (c *census) remove(key string) {
	start, n := bucketOf(c.buckets, key)
	n--
	c.changed = true
	if start != "" && n < c.bucketKeys/2 {
		if before, m := bucketBefore(c.buckets, start); n+m <= c.bucketKeys {
			c.buckets.Delete(start)
			c.buckets.Set(before, n+m)
			return
		}
	}
	c.buckets.Set(start, n)
}

// show returns what readers see of the census as it is now.
func (c *census) show() *buckets {
	if c.changed {
		c.shown, c.changed = c.buckets.Copy(), false
	}
	return c.shown
}

// replace takes over buckets that were counted; nil where they are not to be trusted.
func (c *census) replace(b *buckets) {
	c.buckets, c.shown, c.changed, c.saved = b, nil, b != nil, 0
	c.crowded = b == nil
}

// bucketOf returns the bucket that a key is in.
func bucketOf(b *buckets, key string) (start string, n int64) {
	b.Descend(key, func(first string, keys int64) bool {
		start, n = first, keys
		return false
	})
	return start, n
}

// bucketBefore returns the bucket before the one that begins at start.
func bucketBefore(b *buckets, start string) (before string, n int64) {
	b.Descend(start, func(first string, keys int64) bool {
		before, n = first, keys
		return first == start
	})
	return before, n
}

// counting makes buckets of keys that come in order.
type counting struct {
	buckets    buckets
	bucketKeys int64
	start      string // of the bucket that is being filled
	n          int64
	last       []byte
}

func (c *counting) add(key []byte) {
	if c.n == c.bucketKeys {
		c.buckets.Set(c.start, c.n)
		c.start, c.n = string(key[:commonLength(c.last, key)+1]), 0
	}
	c.n++
	c.last = append(c.last[:0], key...)
}

// end returns the buckets of all keys that were added.
func (c *counting) end() *buckets {
	c.buckets.Set(c.start, c.n)
	return &c.buckets
}

// commonLength returns how many bytes a and b have in common at their beginning; b comes after a and so is longer than that.
func commonLength(a, b []byte) int {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// follow brings buckets of the keys in an interval from one revision to a later one, by the revision log.
func (l layout) follow(reader engine.Reader, b *buckets, in interval, from, to int64) (bytes int, err error) {
	walk, err := reader.NewIterator(l.appendLogKey(nil, revision{from + 1, 0}), l.appendLogKey(nil, revision{to + 1, 0}))
	if err != nil {
		return 0, err
	}
	defer walk.Close()
	for ok := walk.First(); ok; ok = walk.Next() {
		at, err := cutLogKey(walk.Key())
		if err != nil {
			return 0, err
		}
		record, err := decodeLogValue(at, walk.Value())
		if err != nil {
			return 0, err
		}
		bytes += len(record.key) + len(record.value) + versionOverhead
		if by := record.growth(); by != 0 && in.contains(record.key) {
			start, n := bucketOf(b, string(record.key))
			b.Set(start, n+by)
		}
	}
	return bytes, walk.Error()
}

// growth is how many keys more there are after a change.
func (l *logged) growth() int64 {
	switch {
	case l.tombstone:
		return -1
	case l.count == 1:
		return 1
	}
	return 0
}
