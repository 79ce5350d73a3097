package engine

import (
	"bytes"

	"github.com/tidwall/btree"
)

// memoryIterator walks over an unchanging tree.
type memoryIterator struct {
	walk         btree.IterG[item]
	lower, upper []byte
	prefix       []byte // not nil after SeekPrefixGE
	valid        bool
}

func newMemoryIterator(tree *btree.BTreeG[item], lower, upper []byte) *memoryIterator {
	i := &memoryIterator{walk: tree.Iter(), lower: bytes.Clone(lower)}
	if len(upper) > 0 {
		i.upper = bytes.Clone(upper)
	}
	return i
}

// settle ends a move: the iterator is valid if it stands on a key within its bounds.
func (i *memoryIterator) settle(found bool) bool {
	i.valid = found && i.within(i.walk.Item().key)
	return i.valid
}

func (i *memoryIterator) within(key []byte) bool {
	return (i.lower == nil || bytes.Compare(key, i.lower) >= 0) &&
		(i.upper == nil || bytes.Compare(key, i.upper) < 0) &&
		(i.prefix == nil || bytes.Equal(key[:Split(key)], i.prefix))
}

func (i *memoryIterator) seek(key []byte) bool {
	if i.lower != nil && bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	return i.walk.Seek(item{key: key})
}

func (i *memoryIterator) First() bool { return i.SeekGE(i.lower) }

func (i *memoryIterator) Last() bool {
	if i.upper != nil {
		return i.SeekLT(i.upper)
	}
	i.prefix = nil
	return i.settle(i.walk.Last())
}

func (i *memoryIterator) Next() bool { return i.settle(i.valid && i.walk.Next()) }
func (i *memoryIterator) Prev() bool { return i.settle(i.valid && i.walk.Prev()) }

func (i *memoryIterator) SeekGE(key []byte) bool {
	i.prefix = nil
	return i.settle(i.seek(key))
}

func (i *memoryIterator) SeekLT(key []byte) bool {
	i.prefix = nil
	if i.upper != nil && bytes.Compare(key, i.upper) > 0 {
		key = i.upper
	}
	if i.walk.Seek(item{key: key}) {
		return i.settle(i.walk.Prev())
	}
	return i.settle(i.walk.Last()) // every key is smaller
}

func (i *memoryIterator) SeekPrefixGE(key []byte) bool {
	i.prefix = bytes.Clone(key[:Split(key)])
	return i.settle(i.seek(key))
}

func (i *memoryIterator) NextPrefix() bool {
	if !i.valid {
		return false
	}
	current := i.walk.Item().key
	prefix := current[:Split(current)]
	for i.Next() {
		if key := i.walk.Item().key; !bytes.Equal(key[:Split(key)], prefix) {
			return true
		}
	}
	return false
}

func (i *memoryIterator) Valid() bool   { return i.valid }
func (i *memoryIterator) Key() []byte   { return i.walk.Item().key }
func (i *memoryIterator) Value() []byte { return i.walk.Item().value }
func (i *memoryIterator) Error() error  { return nil }

func (i *memoryIterator) Close() error {
	i.walk.Release()
	i.valid = false
	return nil
}
