package store

import (
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestWatcherIndex compares the index with a list, and looks after the shape of its tree.
func TestWatcherIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var index watcherIndex
		var all []*Watcher
		key := rapid.SliceOfN(rapid.ByteRange('a', 'd'), 0, 3)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "step") == 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "remove")
				index.remove(all[i])
				all = slices.Delete(all, i, i+1)
			} else {
				w := &Watcher{in: interval{start: key.Draw(t, "start"), single: rapid.Bool().Draw(t, "single")}}
				if !w.in.single {
					w.in.end = key.Draw(t, "end")
				}
				index.add(w)
				all = append(all, w)
			}
			checkIndex(t, &index, all, key.Draw(t, "key"))
		}
	})
}

func checkIndex(t *rapid.T, index *watcherIndex, all []*Watcher, key []byte) {
	found := map[*Watcher]int{}
	index.visit(key, func(w *Watcher) { found[w]++ })
	for _, w := range all {
		want := 0
		if w.in.single && string(w.in.start) == string(key) ||
			!w.in.single && string(w.in.start) <= string(key) && endsAfter(string(w.in.end), string(key)) {
			want = 1
		}
		if found[w] != want {
			t.Fatalf("%q: a watcher of %q to %q, single: %v, was found %d times", key, w.in.start, w.in.end, w.in.single, found[w])
		}
		delete(found, w)
	}
	if len(found) > 0 || index.size != len(all) {
		t.Fatalf("%d watchers were found that are not there; the index counts %d of %d", len(found), index.size, len(all))
	}
	if n, height := countNodes(index.ranges), index.ranges.tall(); height > 2*bits.Len(uint(n)) {
		t.Fatalf("a tree of %d nodes is %d high", n, height)
	}
	if len(all) == 0 && (len(index.keys) > 0 || index.ranges != nil) {
		t.Fatal("an empty index keeps something")
	}
}

func countNodes(n *rangeNode) int {
	if n == nil {
		return 0
	}
	return 1 + countNodes(n.left) + countNodes(n.right)
}
