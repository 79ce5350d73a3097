package store

import (
	"sort"

	"github.com/tidwall/btree"
)

// overlay holds the versions that the batch being applied has written, which the engine does not show yet. Looking
// up a key is a map access; the order of the keys is made only when somebody walks over a range.
type overlay struct {
	keys     map[string]*written
	written  []*written // the same, in the order in which they were written first
	unsorted []*written // those that sorted does not have yet
	sorted   *btree.BTreeG[*written]
}

// written is the batch's versions of one key, in the order of their revisions.
type written struct {
	key      string
	versions []writtenVersion
}

type writtenVersion struct {
	version
	value []byte // aliases the command
}

func newOverlay() *overlay {
	o := &overlay{keys: map[string]*written{}}
	o.reset()
	return o
}

// reset forgets everything.
func (o *overlay) reset() {
	clear(o.keys)
	clear(o.written)
	clear(o.unsorted)
	o.written, o.unsorted = o.written[:0], o.unsorted[:0]
	if o.sorted == nil || o.sorted.Len() > 0 {
		o.sorted = btree.NewBTreeGOptions(func(a, b *written) bool { return a.key < b.key }, btree.Options{NoLocks: true})
	}
}

// get returns the batch's versions of key, nil where it wrote none.
func (o *overlay) get(key []byte) *written { return o.keys[string(key)] }

// add adds the newest version of a key.
func (o *overlay) add(key []byte, v version, value []byte) *written {
	w := o.keys[string(key)]
	if w == nil {
		w = &written{key: string(key)}
		o.keys[w.key] = w
		o.written = append(o.written, w)
		o.unsorted = append(o.unsorted, w)
	}
	w.versions = append(w.versions, writtenVersion{v, value})
	return w
}

// undo takes back the last add for w. The key stays, without versions.
func (w *written) undo() { w.versions = w.versions[:len(w.versions)-1] }

// at returns the newest version whose main is at most main, nil where there is none.
func (w *written) at(main int64) *writtenVersion {
	n := sort.Search(len(w.versions), func(i int) bool { return w.versions[i].at.main > main })
	if n == 0 {
		return nil
	}
	return &w.versions[n-1]
}

// walk calls visit for the keys in [start, end), in order, until it returns false.
func (o *overlay) walk(start []byte) *overlayWalk {
	for _, w := range o.unsorted {
		o.sorted.Set(w)
	}
	clear(o.unsorted)
	o.unsorted = o.unsorted[:0]
	walk := &overlayWalk{iterator: o.sorted.Iter()}
	walk.valid = walk.iterator.Seek(&written{key: string(start)})
	return walk
}

// overlayWalk walks over an overlay's keys in order.
type overlayWalk struct {
	iterator btree.IterG[*written]
	valid    bool
}

func (w *overlayWalk) next() { w.valid = w.iterator.Next() }

func (w *overlayWalk) current() *written { return w.iterator.Item() }
