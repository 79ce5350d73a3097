package engine

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/tidwall/btree"
)

// Memory is an engine that keeps everything in memory and forgets like one with a disk: Crash leaves what the
// last Flush covered. Simulated members and tests use it.
type Memory struct {
	mu          sync.Mutex
	live        *btree.BTreeG[item] // only Apply changes it
	view        *btree.BTreeG[item] // a copy of live for readers; nil since the last Apply
	durable     *btree.BTreeG[item] // never changed, only replaced
	liveBytes   uint64
	diskBytes   uint64
	closed      bool
	checkpoints map[string]*btree.BTreeG[item]
}

type item struct{ key, value []byte }

func lessItem(a, b item) bool { return bytes.Compare(a.key, b.key) < 0 }

func newTree() *btree.BTreeG[item] {
	return btree.NewBTreeGOptions(lessItem, btree.Options{NoLocks: true})
}

// NewMemory returns an empty engine.
func NewMemory() *Memory {
	return &Memory{live: newTree(), durable: newTree(), checkpoints: map[string]*btree.BTreeG[item]{}}
}

// Crash returns the engine that a restart after a power cut would find. The old one is closed.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return &Memory{
		live: m.durable.Copy(), durable: m.durable, liveBytes: m.diskBytes, diskBytes: m.diskBytes,
		checkpoints: m.checkpoints,
	}
}

// snapshot returns an unchanging copy of the live tree. Copying is lazy, and shared until the next Apply.
func (m *Memory) snapshot() (*btree.BTreeG[item], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if m.view == nil {
		m.view = m.live.Copy()
	}
	return m.view, nil
}

// Get implements Reader.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return getItem(m.live, key)
}

func getItem(tree *btree.BTreeG[item], key []byte) ([]byte, error) {
	found, ok := tree.Get(item{key: key})
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(found.value), nil
}

// NewIterator implements Reader.
func (m *Memory) NewIterator(lower, upper []byte) (Iterator, error) {
	tree, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	return newMemoryIterator(tree, lower, upper), nil
}

// NewSnapshot implements Engine.
func (m *Memory) NewSnapshot() Snapshot {
	tree, err := m.snapshot()
	return &memorySnapshot{tree: tree, err: err}
}

// NewBatch implements Engine.
func (m *Memory) NewBatch() Batch { return &memoryBatch{} }

// Apply implements Engine.
func (m *Memory) Apply(batch Batch) error {
	changes, ok := batch.(*memoryBatch)
	if !ok {
		return fmt.Errorf("engine: a %T was made by another engine", batch)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.view = nil
	for _, c := range changes.changes {
		switch c.kind {
		case changeSet:
			m.set(c.key, c.value)
		case changeDelete:
			m.delete(c.key)
		case changeDeleteRange:
			m.deleteRange(c.key, c.value)
		}
	}
	return nil
}

func (m *Memory) set(key, value []byte) {
	old, replaced := m.live.Set(item{key, value})
	if replaced {
		m.liveBytes -= uint64(len(old.key) + len(old.value))
	}
	m.liveBytes += uint64(len(key) + len(value))
}

func (m *Memory) delete(key []byte) {
	if old, found := m.live.Delete(item{key: key}); found {
		m.liveBytes -= uint64(len(old.key) + len(old.value))
	}
}

func (m *Memory) deleteRange(lower, upper []byte) {
	var doomed [][]byte
	m.live.Ascend(item{key: lower}, func(i item) bool {
		if bytes.Compare(i.key, upper) >= 0 {
			return false
		}
		doomed = append(doomed, i.key)
		return true
	})
	for _, key := range doomed {
		m.delete(key)
	}
}

// Flush implements Engine.
func (m *Memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.view == nil {
		m.view = m.live.Copy()
	}
	m.durable, m.diskBytes = m.view, m.liveBytes
	return nil
}

// Durable implements Engine.
func (m *Memory) Durable() Reader { return memoryDurable{m} }

type memoryDurable struct{ engine *Memory }

func (d memoryDurable) tree() (*btree.BTreeG[item], error) {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	if d.engine.closed {
		return nil, ErrClosed
	}
	return d.engine.durable, nil
}

func (d memoryDurable) Get(key []byte) ([]byte, error) {
	tree, err := d.tree()
	if err != nil {
		return nil, err
	}
	return getItem(tree, key)
}

func (d memoryDurable) NewIterator(lower, upper []byte) (Iterator, error) {
	tree, err := d.tree()
	if err != nil {
		return nil, err
	}
	return newMemoryIterator(tree, lower, upper), nil
}

// Checkpoint implements Engine. The copy stays in memory: OpenCheckpoint opens it.
func (m *Memory) Checkpoint(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if _, exists := m.checkpoints[dir]; exists {
		return fmt.Errorf("engine: checkpoint %s exists already", dir)
	}
	m.checkpoints[dir] = m.durable
	return nil
}

// OpenCheckpoint returns a new engine that starts with a checkpoint's state.
func (m *Memory) OpenCheckpoint(dir string) (*Memory, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tree, exists := m.checkpoints[dir]
	if !exists {
		return nil, fmt.Errorf("engine: there is no checkpoint %s", dir)
	}
	opened := NewMemory()
	opened.live, opened.durable = tree.Copy(), tree
	tree.Scan(func(i item) bool {
		opened.liveBytes += uint64(len(i.key) + len(i.value))
		return true
	})
	opened.diskBytes = opened.liveBytes
	return opened, nil
}

// DiskBytes implements Engine: the size of the durable state.
func (m *Memory) DiskBytes() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.diskBytes
}

// Close implements Engine.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

type memorySnapshot struct {
	tree *btree.BTreeG[item]
	err  error
}

func (s *memorySnapshot) Get(key []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return getItem(s.tree, key)
}

func (s *memorySnapshot) NewIterator(lower, upper []byte) (Iterator, error) {
	if s.err != nil {
		return nil, s.err
	}
	return newMemoryIterator(s.tree, lower, upper), nil
}

func (s *memorySnapshot) Close() error { return nil }

type changeKind uint8

const (
	changeSet changeKind = iota + 1
	changeDelete
	changeDeleteRange
)

// change is one step of a batch; of a DeleteRange the value is the upper bound.
type change struct {
	kind       changeKind
	key, value []byte
}

type memoryBatch struct {
	changes []change
	size    int
}

func (b *memoryBatch) add(kind changeKind, key, value []byte) {
	// One allocation for both: the tree keeps them for long.
	both := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	b.changes = append(b.changes, change{kind, both[:len(key):len(key)], both[len(key):]})
	b.size += len(both)
}

func (b *memoryBatch) Set(key, value []byte)           { b.add(changeSet, key, value) }
func (b *memoryBatch) Delete(key []byte)               { b.add(changeDelete, key, nil) }
func (b *memoryBatch) DeleteRange(lower, upper []byte) { b.add(changeDeleteRange, lower, upper) }
func (b *memoryBatch) Size() int                       { return b.size }
func (b *memoryBatch) Close() error                    { return nil }

func (b *memoryBatch) Reset() {
	clear(b.changes)
	b.changes, b.size = b.changes[:0], 0
}
