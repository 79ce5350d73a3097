package enginetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/balsadb/balsa/engine"
	"pgregory.net/rapid"
)

// twin is the naive engine that the real one is compared with: a map, and every state that a crash may leave.
type twin struct {
	state   map[string]string
	since   []map[string]string // the states after each batch since the last flush, that of the flush first
	engine  engine.Engine
	disk    Disk
	options Options
}

// checkTwin applies random batches, reads in every way, and cuts the power at random.
func checkTwin(t *rapid.T, disk Disk, options Options) {
	w := &twin{state: map[string]string{}, since: []map[string]string{{}}, disk: disk, options: options}
	w.open(t)
	defer func() { _ = w.engine.Close() }()
	t.Repeat(map[string]func(*rapid.T){
		"apply": w.apply,
		"read":  w.read,
		"walk":  w.walk,
		"flush": func(t *rapid.T) {
			if err := w.engine.Flush(); err != nil {
				t.Fatal(err)
			}
			w.since = []map[string]string{w.state}
		},
		"crash": func(t *rapid.T) {
			disk := w.disk.Crash()
			_ = w.engine.Close()
			w.disk = disk
			w.open(t)
			w.recover(t)
		},
	})
}

func (w *twin) open(t *rapid.T) {
	e, err := w.disk.Open()
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
}

// drawKey draws keys of both shapes, few enough to meet again. Versioned ones share names.
func drawKey(t *rapid.T) []byte {
	group := rapid.Uint64Range(1, 2).Draw(t, "group")
	if rapid.Bool().Draw(t, "plain") {
		return append(engine.AppendHeader(nil, group, 'r'), byte(rapid.IntRange(0, 9).Draw(t, "key")))
	}
	name := rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00\x01", "ab", "\xff", "b\x00\xffc"}).Draw(t, "name")
	key := engine.AppendName(engine.AppendHeader(nil, group, engine.Versioned), []byte(name))
	return append(key, byte(rapid.IntRange(0, 3).Draw(t, "version")))
}

// drawBound draws a key, or a piece of one: bounds need not be whole keys.
func drawBound(t *rapid.T) []byte {
	key := drawKey(t)
	return key[:rapid.IntRange(0, len(key)).Draw(t, "length")]
}

func (w *twin) apply(t *rapid.T) {
	next := maps.Clone(w.state)
	b := w.engine.NewBatch()
	defer b.Close()
	for range rapid.IntRange(0, 5).Draw(t, "changes") {
		switch key := drawKey(t); rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			b.Delete(key)
			delete(next, string(key))
		case 1:
			upper := drawBound(t)
			switch order := bytes.Compare(key, upper); {
			case order == 0 || len(upper) == 0:
				continue
			case order > 0:
				key, upper = upper, key
			}
			b.DeleteRange(key, upper)
			maps.DeleteFunc(next, func(k, _ string) bool { return k >= string(key) && k < string(upper) })
		default:
			value := rapid.StringN(0, 3, 8).Draw(t, "value")
			b.Set(key, []byte(value))
			next[string(key)] = value
		}
	}
	if err := w.engine.Apply(b); err != nil {
		t.Fatal(err)
	}
	w.state = next
	w.since = append(w.since, next)
}

func (w *twin) read(t *rapid.T) {
	key := drawKey(t)
	value, err := w.engine.Get(key)
	compareGet(t, "Get", key, value, err, w.state)
	value, err = w.engine.Durable().Get(key)
	if !w.options.FlushesItself {
		compareGet(t, "Durable().Get", key, value, err, w.since[0])
		w.walkDurable(t)
	}
}

// walkDurable compares what an iterator over the durable state finds with what the last flush covered.
func (w *twin) walkDurable(t *rapid.T) {
	i, err := w.engine.Durable().NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	found := map[string]string{}
	for ok := i.First(); ok; ok = i.Next() {
		found[string(i.Key())] = string(i.Value())
	}
	if err := i.Error(); err != nil || !maps.Equal(found, w.since[0]) {
		t.Fatalf("the durable state is %q, %v, want %q", found, err, w.since[0])
	}
}

func compareGet(t *rapid.T, method string, key, value []byte, err error, state map[string]string) {
	expected, exists := state[string(key)]
	if exists && (err != nil || string(value) != expected) {
		t.Fatalf("%s(%q) = %q, %v, want %q", method, key, value, err, expected)
	}
	if !exists && err != engine.ErrNotFound {
		t.Fatalf("%s(%q) = %q, %v, want ErrNotFound", method, key, value, err)
	}
}

// recover compares what a crash left with what it may leave.
func (w *twin) recover(t *rapid.T) {
	found := map[string]string{}
	i, err := w.engine.NewIterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for ok := i.First(); ok; ok = i.Next() {
		found[string(i.Key())] = string(i.Value())
	}
	allowed := w.since[:1]
	if w.options.FlushesItself {
		allowed = w.since
	}
	for _, state := range allowed {
		if maps.Equal(found, state) {
			w.state, w.since = state, []map[string]string{state}
			return
		}
	}
	t.Fatalf("a crash left %q, which is not what the last flush covered: %q", found, w.since)
}

// walk moves an iterator at random, and a naive one along with it.
func (w *twin) walk(t *rapid.T) {
	var lower, upper []byte
	if rapid.Bool().Draw(t, "lower") {
		lower = drawBound(t)
	}
	if rapid.Bool().Draw(t, "upper") {
		upper = drawBound(t)
	}
	if len(upper) > 0 && bytes.Compare(lower, upper) > 0 {
		lower, upper = upper, lower
	}
	i, err := w.engine.NewIterator(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	keys := slices.Sorted(maps.Keys(w.state))
	keys = slices.DeleteFunc(keys, func(k string) bool {
		return k < string(lower) || len(upper) > 0 && k >= string(upper)
	})
	n := naiveIterator{keys: keys, at: -1, bounded: engine.Split(upper) < len(upper), within: func(key []byte) bool {
		return bytes.Compare(key, lower) >= 0 && (len(upper) == 0 || bytes.Compare(key, upper) < 0)
	}}
	for range rapid.IntRange(1, 12).Draw(t, "moves") {
		move := n.draw(t)
		got, wanted := move.real(i), move.naive()
		if got != wanted || got != i.Valid() {
			t.Fatalf("%s: %v, want %v; error %v; key %q, bounds %q %q; keys %q",
				move.name, got, wanted, i.Error(), i.Key(), lower, upper, keys)
		}
		if !got {
			n.at = -1
			continue
		}
		if key := n.keys[n.at]; string(i.Key()) != key || string(i.Value()) != w.state[key] {
			t.Fatalf("%s: at %q=%q, want %q=%q", move.name, i.Key(), i.Value(), key, w.state[key])
		}
	}
	if err := i.Error(); err != nil {
		t.Fatal(err)
	}
}

type naiveIterator struct {
	keys     []string
	at       int
	prefixed bool // after SeekPrefixGE
	backward bool // after Last, Prev or SeekLT
	bounded  bool // by an upper bound with a version
	within   func(key []byte) bool
}

type move struct {
	name  string
	real  func(engine.Iterator) bool
	naive func() bool
}

func (n *naiveIterator) stand(at int) bool {
	n.at = at
	return at >= 0 && at < len(n.keys)
}

func prefixOf(key string) string { return key[:engine.Split([]byte(key))] }

// draw draws a move that the contract allows from here.
func (n *naiveIterator) draw(t *rapid.T) move {
	key := drawBound(t)
	whole := drawKey(t)
	if len(key) == 0 {
		key = whole
	}
	seeks := []move{
		{"First", engine.Iterator.First, func() bool { return n.stand(0) }},
		{"Last", engine.Iterator.Last, func() bool { return n.stand(len(n.keys) - 1) }},
		{fmt.Sprintf("SeekGE(%q)", key), func(i engine.Iterator) bool { return i.SeekGE(key) }, func() bool {
			at, _ := slices.BinarySearch(n.keys, string(key))
			return n.stand(at)
		}},
		{fmt.Sprintf("SeekLT(%q)", key), func(i engine.Iterator) bool { return i.SeekLT(key) }, func() bool {
			at, _ := slices.BinarySearch(n.keys, string(key))
			return n.stand(at - 1)
		}},
	}
	prefix := move{fmt.Sprintf("SeekPrefixGE(%q)", whole),
		func(i engine.Iterator) bool { return i.SeekPrefixGE(whole) },
		func() bool {
			at, _ := slices.BinarySearch(n.keys, string(whole))
			return n.stand(at) && prefixOf(n.keys[at]) == prefixOf(string(whole))
		}}
	next := move{"Next", engine.Iterator.Next, func() bool { return n.stand(n.at + 1) }}
	if n.prefixed && n.at >= 0 {
		current := prefixOf(n.keys[n.at])
		next.naive = func() bool { return n.stand(n.at+1) && prefixOf(n.keys[n.at]) == current }
	}
	prev := move{"Prev", engine.Iterator.Prev, func() bool { return n.stand(n.at - 1) }}
	nextPrefix := move{"NextPrefix", engine.Iterator.NextPrefix, func() bool {
		for current := prefixOf(n.keys[n.at]); n.stand(n.at + 1); {
			if prefixOf(n.keys[n.at]) != current {
				return true
			}
		}
		return false
	}}
	choice := rapid.IntRange(0, 9).Draw(t, "move")
	switch {
	case choice == 0 && n.within(whole):
		n.prefixed, n.backward = true, false
		return prefix
	case choice < 5 || n.at < 0:
		n.prefixed, n.backward = false, choice%2 == 1
		return seeks[choice%len(seeks)]
	case choice == 8 && !n.prefixed:
		n.backward = true
		return prev
	case choice == 9 && !n.prefixed && !n.backward && !n.bounded:
		return nextPrefix
	}
	n.backward = false
	return next
}
