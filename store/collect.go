package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/balsadb/balsa/engine"
)

// A compaction makes garbage at once and removes it later, in small steps beside Apply. What is removed never shows:
// no read that is allowed finds garbage, and the counters have dropped it already. So replicas may remove at
// their own pace, and the progress is a record of its own, in the same batch as what it is about.
//
// The revision log says where garbage is. Going through it upwards, every change up to the compact revision makes
// the version before it garbage, and a tombstone below the compact revision is garbage itself. Everything that
// older changes made so is gone by then: so at most one version is removed for each record that is read.

// collection is how far the removal of garbage has come.
type collection struct {
	step sync.Mutex // held by the one who is collecting

	mu     sync.Mutex
	moved  sync.Cond
	wanted int64 // the compact revision
	// crowded says that the census may have a bucket to cut, or none at all.
	crowded bool
	starts  int // engines that it has begun with
	progress
}

// progress is the record in spaceCollect.
type progress struct {
	done   int64    // the compact revision whose garbage is gone; −1 where there never was one
	target int64    // the one whose garbage is being removed; done where none is
	next   revision // the first record of the log that was not gone through, below target
}

const progressFormat = 1

func (p *progress) append(dst []byte) []byte {
	dst = append(dst, progressFormat)
	for _, n := range [...]int64{p.done, p.target, p.next.main} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	}
	return binary.LittleEndian.AppendUint32(dst, p.next.sub)
}

func decodeProgress(value []byte) (progress, error) {
	r := fields{rest: value}
	format := r.byte()
	p := progress{done: int64(r.uint64()), target: int64(r.uint64())}
	p.next.main = int64(r.uint64())
	if r.failed || format != progressFormat || len(r.rest) != 4 {
		return progress{}, fmt.Errorf("%w: progress of garbage collection: %x", errCorrupt, value)
	}
	p.next.sub = binary.LittleEndian.Uint32(r.rest)
	return p, nil
}

// loadProgress reads the progress of an engine.
func loadProgress(reader engine.Reader, l layout) (progress, error) {
	value, err := reader.Get(l.single(spaceCollect))
	if errors.Is(err, engine.ErrNotFound) {
		return progress{done: -1, target: -1}, nil
	}
	if err != nil {
		return progress{}, err
	}
	return decodeProgress(value)
}

// start goes on from the progress of an engine whose compact revision is given.
func (c *collection) start(p progress, compacted int64, crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted, c.progress, c.crowded = compacted, p, crowded
	c.starts++
	c.moved.Broadcast()
}

// want notes the compact revision that Apply has reached, and whether the census has become crowded.
func (c *collection) want(compacted int64, crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if compacted > c.wanted || crowded && !c.crowded {
		c.wanted, c.crowded = compacted, c.crowded || crowded
		c.moved.Broadcast()
	}
}

// crowd notes whether the census may have something to be done.
func (c *collection) crowd(crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crowded = crowded
}

func (c *collection) isCrowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crowded
}

// plan returns the progress to go on from. ok says whether there is anything to do.
func (c *collection) plan() (p progress, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = c.progress
	if p.target == p.done {
		if c.wanted == p.done {
			return p, false
		}
		p.target, p.next = c.wanted, revision{max(p.done, 0), 0}
	}
	return p, true
}

func (c *collection) set(p progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress = p
	c.moved.Broadcast()
}

// CollectGarbage goes through up to limit records of the revision log and removes the garbage that they tell of; and it
// keeps the census in order. It reports whether there is more to do. It may run concurrently with everything.
func (s *Store) CollectGarbage(limit int) (more bool, err error) {
	return s.tidy(context.Background(), limit)
}

func (s *Store) tidy(ctx context.Context, limit int) (more bool, err error) {
	c := &s.collection
	c.step.Lock()
	defer c.step.Unlock()
	if c.isCrowded() {
		if err := s.balance(ctx); err != nil {
			return false, fmt.Errorf("store: counting keys: %w", err)
		}
	}
	p, ok := c.plan()
	if !ok {
		return c.isCrowded(), nil
	}
	batch := s.engine.NewBatch()
	v := view{layout: s.layout, reader: s.engine}
	err = s.collect(&v, batch, &p, limit)
	err = errors.Join(err, v.close())
	if err == nil {
		batch.Set(s.single(spaceCollect), p.append(nil))
		s.writing.Lock()
		err = s.engine.Apply(batch)
		s.writing.Unlock()
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		return false, fmt.Errorf("store: removing what was compacted: %w", err)
	}
	c.set(p)
	_, more = c.plan()
	return more || c.isCrowded(), nil
}

// collect fills a batch with the deletions of one step, and moves p.
func (s *Store) collect(v *view, batch engine.Batch, p *progress, limit int) error {
	walk, err := s.engine.NewIterator(s.appendLogKey(nil, p.next), s.appendLogKey(nil, revision{p.target + 1, 0}))
	if err != nil {
		return err
	}
	defer walk.Close()
	ok := walk.First()
	for range limit {
		if !ok {
			break
		}
		at, err := cutLogKey(walk.Key())
		if err != nil {
			return err
		}
		record, err := decodeLogValue(at, walk.Value())
		if err != nil {
			return err
		}
		if err := s.collectRecord(v, batch, at, &record, p.target); err != nil {
			return err
		}
		p.next = revision{at.main, at.sub + 1}
		ok = walk.Next()
	}
	if err := walk.Error(); err != nil {
		return err
	}
	if !ok {
		p.done, p.next = p.target, revision{}
	}
	return nil
}

// collectRecord removes the version that a change superseded, and the change itself if it is a tombstone that
// nobody may ask for.
func (s *Store) collectRecord(v *view, batch engine.Batch, at revision, record *logged, target int64) error {
	key := bytes.Clone(record.key) // the log's iterator moves
	previous, exists, err := v.engineAt(key, at.before())
	if err != nil {
		return err
	}
	if exists && previous.at.main < target {
		s.remove(batch, key, previous.at)
	}
	if record.tombstone && at.main < target {
		s.remove(batch, key, at)
	}
	return nil
}

// before returns the greatest revision that is less than r.
func (r revision) before() revision {
	if r.sub == 0 {
		return revision{r.main - 1, math.MaxUint32}
	}
	return revision{r.main, r.sub - 1}
}

// remove removes both records of a version.
func (s *Store) remove(batch engine.Batch, key []byte, at revision) {
	batch.Delete(appendVersion(s.appendName(nil, key), at))
	batch.Delete(s.appendLogKey(nil, at))
}

// CollectOptions says how RunCollector divides its work.
type CollectOptions struct {
	// Batch is the number of records in a step; 500 by default. A step keeps Apply waiting for about a microsecond a record.
	Batch int
	// Pause is how long it waits after a step; 5 ms by default.
	Pause time.Duration
}

// RunCollector removes garbage as it comes, until the context ends (the error is its) or the engine fails. Where that is damaged it
// goes on with the one that takes its place. A
// server runs it on a goroutine of its own; a simulated one calls CollectGarbage.
//
//balsa:edge it waits, for work and between steps
func (s *Store) RunCollector(ctx context.Context, options CollectOptions) error {
	if options.Batch <= 0 {
		options.Batch = 500
	}
	if options.Pause <= 0 {
		options.Pause = 5 * time.Millisecond
	}
	c := &s.collection
	pause := time.NewTimer(options.Pause)
	defer pause.Stop()
	for {
		if err := c.wait(ctx, func() bool { return c.target != c.done || c.wanted != c.done || c.crowded }); err != nil {
			return err
		}
		starts := c.started()
		if _, err := s.tidy(ctx, options.Batch); s.noticed(err) != nil {
			if !isDamage(err) {
				return err
			}
			if err := c.wait(ctx, func() bool { return c.starts > starts }); err != nil {
				return err
			}
		}
		pause.Reset(options.Pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (c *collection) started() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts
}

// WaitCollected returns when the garbage of all compactions up to the given revision is removed.
func (s *Store) WaitCollected(ctx context.Context, compacted int64) error {
	c := &s.collection
	return c.wait(ctx, func() bool { return c.done >= compacted })
}

// wait returns when the condition holds, which is asked with the lock held.
func (c *collection) wait(ctx context.Context, holds func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.moved.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !holds() {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.moved.Wait()
	}
	return nil
}
