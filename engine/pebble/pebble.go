// Package pebble keeps an engine in a directory, with github.com/cockroachdb/pebble.
//
// Pebble's own write-ahead log is off: what a crash takes, the replicated log gives back. Pebble ends the process
// on some errors and retries others for ever; here the first error of the disk makes the engine fail: every later
// call says so, nothing is written to the directory any more (E45), and the process lives.
package pebble

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
)

// Engine is an open directory. It implements engine.Engine.
type Engine struct {
	db       *pebble.DB
	dir      string
	fs       *failStopFS
	cache    *pebble.Cache
	health   *health
	pressure *pressure
	gate     *gate

	// flushEvery is how many bytes of batches are applied between two flushes that nobody asked for; 0 for none.
	// unflushed is how many there are. Only Apply's caller, and Home while there is none, touch them.
	flushEvery, unflushed int
	closed                func() // called once the database is closed; nil for nothing
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the engine in a directory, and makes it where there is none.
func Open(dir string, options Options) (*Engine, error) {
	options = options.withDefaults()
	cache := pebble.NewCache(options.CacheBytes)
	defer cache.Unref()
	return open(dir, options, cache)
}

// open is Open with a cache that may be shared.
func open(dir string, options Options, cache *pebble.Cache) (*Engine, error) {
	health := newHealth(options.Logger)
	health.onDamage = options.OnDamage
	fs := &failStopFS{FS: options.FS, health: health}
	if options.NoSpace != nil {
		fs.FS = &roomyFS{FS: options.FS, health: health, noSpace: options.NoSpace}
	}
	if err := checkFormat(fs, dir, options.Logger); err != nil {
		return nil, err
	}
	pressure := newPressure(options)
	db, err := openDatabase(dir, options.pebble(fs, cache, health, pressure))
	if failed := health.err(); err == nil && failed != nil {
		health.release()
		err = errors.Join(failed, db.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("engine: opening %s: %w", dir, openError(err, health.err() != nil))
	}
	health.opened.Store(true)
	cache.Ref()
	e := &Engine{db: db, dir: dir, fs: fs, cache: cache, health: health, pressure: pressure, gate: newGate()}
	if options.Deterministic {
		if err := e.growMemTable(options.MemTableBytes); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// use holds the engine open until gate.leave is called, or says why it cannot be used.
func (e *Engine) use() error {
	if !e.gate.enter() {
		return engine.ErrClosed
	}
	if err := e.health.err(); err != nil {
		e.gate.leave()
		return err
	}
	return nil
}

// Get implements engine.Reader.
func (e *Engine) Get(key []byte) ([]byte, error) {
	if err := e.use(); err != nil {
		return nil, err
	}
	defer e.gate.leave()
	return e.get(e.db, key)
}

// get reads from the database or a snapshot of it.
func (e *Engine) get(from pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := from.Get(key)
	if err != nil {
		return nil, e.readError(err)
	}
	result := append(make([]byte, 0, len(value)), value...)
	return result, closer.Close()
}

// readError gives an error of Pebble its meaning here. Damage ends the engine; any other read error does not: the next read may succeed.
func (e *Engine) readError(err error) error {
	if errors.Is(err, pebble.ErrNotFound) {
		return engine.ErrNotFound
	}
	if isDamage(err) {
		err = e.health.damaged(err)
	}
	return fmt.Errorf("engine: reading %s: %w", e.dir, err)
}

// NewIterator implements engine.Reader.
func (e *Engine) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	if err := e.use(); err != nil {
		return nil, err
	}
	return e.newIterator(e.db, pebble.IterOptions{}, lower, upper)
}

// newIterator makes an iterator that leaves the gate when it is closed.
func (e *Engine) newIterator(
	from pebble.Reader, options pebble.IterOptions, lower, upper []byte,
) (engine.Iterator, error) {
	options.UseL6Filters = true
	if len(lower) > 0 {
		options.LowerBound = lower
	}
	if len(upper) > 0 {
		options.UpperBound = upper
	}
	walk, err := from.NewIter(&options)
	if err != nil {
		e.gate.leave()
		return nil, e.readError(err)
	}
	return &iterator{Iterator: walk, engine: e}, nil
}

// NewSnapshot implements engine.Engine.
func (e *Engine) NewSnapshot() engine.Snapshot {
	if err := e.use(); err != nil {
		return &snapshot{engine: e, err: err}
	}
	return &snapshot{engine: e, snapshot: e.db.NewSnapshot()}
}

// NewBatch implements engine.Engine.
func (e *Engine) NewBatch() engine.Batch { return &batch{batch: e.db.NewBatch()} }

// Apply implements engine.Engine. Where flushes or compactions have fallen far behind it waits for them.
func (e *Engine) Apply(b engine.Batch) error {
	changes, ok := b.(*batch)
	if !ok {
		return fmt.Errorf("engine: a %T was made by another engine", b)
	}
	if err := e.use(); err != nil {
		return err
	}
	defer e.gate.leave()
	if changes.err != nil {
		return fmt.Errorf("engine: making a batch: %w", changes.err)
	}
	size := changes.Size()
	if err := e.pressure.wait(e.db, e.health, size); err != nil {
		return err
	}
	if err := e.db.Apply(changes.batch, pebble.NoSync); err != nil {
		return e.health.fail(fmt.Errorf("applying a batch to %s: %w", e.dir, err))
	}
	if err := e.health.err(); err != nil {
		return err // Pebble tells its logger of a failed commit, not its caller
	}
	return e.flushSometimes(size)
}

// flushSometimes flushes where the engine was told to do so by itself.
func (e *Engine) flushSometimes(applied int) error {
	if e.flushEvery == 0 {
		return nil
	}
	if e.unflushed += applied; e.unflushed < e.flushEvery {
		return nil
	}
	e.unflushed = 0
	return e.Flush()
}

// Flush implements engine.Engine.
func (e *Engine) Flush() error {
	if err := e.use(); err != nil {
		return err
	}
	defer e.gate.leave()
	flushed, err := e.db.AsyncFlush()
	if err != nil {
		return e.health.fail(fmt.Errorf("flushing %s: %w", e.dir, err))
	}
	select {
	case <-flushed:
		return e.health.err()
	case <-e.health.failed:
		return e.health.err()
	}
}

// Durable implements engine.Engine.
func (e *Engine) Durable() engine.Reader { return durable{e} }

// Checkpoint implements engine.Engine. Where the file system can, files are linked rather than copied.
func (e *Engine) Checkpoint(dir string) error {
	if err := e.use(); err != nil {
		return err
	}
	defer e.gate.leave()
	if err := e.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("engine: writing a checkpoint of %s: %w", e.dir, err)
	}
	if err := writeFormat(e.fs, dir); err != nil {
		return err
	}
	return e.health.err()
}

// DiskBytes implements engine.Engine.
func (e *Engine) DiskBytes() uint64 {
	if err := e.use(); err != nil {
		return 0
	}
	defer e.gate.leave()
	return e.db.Metrics().DiskSpaceUsage()
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	if !e.gate.close() {
		return nil
	}
	e.health.release()
	err := e.db.Close()
	e.cache.Unref()
	if e.closed != nil {
		e.closed()
	}
	if failed := e.health.err(); failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("engine: closing %s: %w", e.dir, err)
	}
	return nil
}

// growMemTable makes the memtable as large as a simulated run needs. Pebble starts with a small one and doubles it
// as it fills up, at moments that hang on random numbers of its own; a large batch is the only way to ask for more.
// What it writes is gone again, but stays in the memtable until the first flush.
func (e *Engine) growMemTable(size uint64) error {
	key := engine.AppendHeader(nil, 0, 0)
	b := e.NewBatch()
	b.Set(key, make([]byte, size/8+1))
	b.Delete(key)
	return errors.Join(e.Apply(b), b.Close())
}

// durable reads flushed files only. Pebble takes all of them for durable, and nothing else: its log is off.
type durable struct{ engine *Engine }

func (d durable) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	if err := d.engine.use(); err != nil {
		return nil, err
	}
	return d.engine.newIterator(d.engine.db, pebble.IterOptions{OnlyReadGuaranteedDurable: true}, lower, upper)
}

func (d durable) Get(key []byte) ([]byte, error) {
	walk, err := d.NewIterator(nil, nil)
	if err != nil {
		return nil, err
	}
	defer walk.Close()
	found := walk.SeekPrefixGE(key) && string(walk.Key()) == string(key)
	var value []byte
	if found {
		value = append([]byte{}, walk.Value()...)
	}
	switch err := walk.Error(); {
	case err != nil:
		return nil, err
	case !found:
		return nil, engine.ErrNotFound
	}
	return value, nil
}

type snapshot struct {
	engine   *Engine
	snapshot *pebble.Snapshot
	err      error // why there is none
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.engine.get(s.snapshot, key)
}

func (s *snapshot) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	if s.err != nil {
		return nil, s.err
	}
	if err := s.engine.use(); err != nil {
		return nil, err
	}
	return s.engine.newIterator(s.snapshot, pebble.IterOptions{}, lower, upper)
}

func (s *snapshot) Close() error {
	if s.err != nil {
		return nil
	}
	defer s.engine.gate.leave()
	return s.snapshot.Close()
}

// batch remembers its first error, so that building one needs no checks.
type batch struct {
	batch *pebble.Batch
	err   error
}

func (b *batch) note(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

func (b *batch) Set(key, value []byte)           { b.note(b.batch.Set(key, value, nil)) }
func (b *batch) Delete(key []byte)               { b.note(b.batch.Delete(key, nil)) }
func (b *batch) DeleteRange(lower, upper []byte) { b.note(b.batch.DeleteRange(lower, upper, nil)) }
func (b *batch) Size() int                       { return b.batch.Len() }
func (b *batch) Close() error                    { return b.batch.Close() }

func (b *batch) Reset() {
	b.batch.Reset()
	b.err = nil
}

// iterator adds to Pebble's what the engine has learnt meanwhile: once it failed, nothing that was read counts.
type iterator struct {
	*pebble.Iterator
	engine *Engine
	err    error
}

func (i *iterator) Value() []byte {
	value, err := i.Iterator.ValueAndErr()
	if err != nil && i.err == nil {
		i.err = err
	}
	return value
}

func (i *iterator) Error() error {
	if err := i.engine.health.err(); err != nil {
		return err
	}
	if i.err != nil {
		return i.engine.readError(i.err)
	}
	if err := i.Iterator.Error(); err != nil {
		return i.engine.readError(err)
	}
	return nil
}

func (i *iterator) Close() error {
	defer i.engine.gate.leave()
	if err := i.Iterator.Close(); err != nil {
		return i.engine.readError(err)
	}
	return nil
}
