package store

import "github.com/cespare/xxhash/v2"

// recent remembers the newest versions of keys that were written lately, so that writing one again need not look
// for it in the engine. What it holds is bounded, in two generations: what was not written while the younger one
// filled up is forgotten. Forgetting costs a look into the engine and nothing else: answers do not hang on it.
type recent struct {
	limit      int // keys of one generation
	young, old lately
}

// defaultRecentKeys is about 15 MiB of memory with keys of 40 bytes.
const defaultRecentKeys = 128 << 10

// recentKeyBytes is how many bytes a key may have on average before a generation is full by their bytes.
const recentKeyBytes = 64

func newRecent(keys int) recent { return recent{limit: max(keys/2, 1)} }

func (r *recent) get(key []byte) (version, bool) {
	hash := xxhash.Sum64(key)
	if found := find(&r.young, hash, key); found != nil {
		return found.version, true
	}
	if found := find(&r.old, hash, key); found != nil {
		return found.version, true
	}
	return version{}, false
}

// set notes the newest version of a key.
func (r *recent) set(key string, v version) {
	hash := xxhash.Sum64String(key)
	if found := find(&r.young, hash, key); found != nil {
		found.version = v
		return
	}
	if n := len(r.young.entries); n >= r.limit || n > 0 && len(r.young.keys)+len(key) > r.limit*recentKeyBytes {
		r.old.clear()
		r.young, r.old = r.old, r.young
	}
	r.young.add(hash, key, v)
}

// lately is a hash table of versions without a pointer in it, which takes a third of a map's memory, and of which the
// garbage collector needs to look at nothing. Keys are added, and forgotten all at once.
type lately struct {
	places  []uint32 // by hash, with linear probing: the number of an entry, from 1; at most half of them are in use
	entries []noted
	keys    []byte // of all entries, one after the other
}

// noted is the newest version of the key at keys[from:to].
type noted struct {
	from, to uint32
	version
}

// find returns the entry of a key, nil where there is none. It is valid until the next one is added.
func find[K string | []byte](l *lately, hash uint64, key K) *noted {
	if len(l.places) == 0 {
		return nil
	}
	for at := hash; ; at++ {
		place := l.places[at&uint64(len(l.places)-1)]
		if place == 0 {
			return nil
		}
		if e := &l.entries[place-1]; string(l.keys[e.from:e.to]) == string(key) {
			return e
		}
	}
}

// add adds a key that is not there.
func (l *lately) add(hash uint64, key string, v version) {
	if 2*(len(l.entries)+1) > len(l.places) {
		l.grow()
	}
	from := uint32(len(l.keys))
	l.keys = append(l.keys, key...)
	l.entries = append(l.entries, noted{from, uint32(len(l.keys)), v})
	l.put(hash, uint32(len(l.entries)))
}

// put takes the next free place of a hash.
func (l *lately) put(hash uint64, entry uint32) {
	for at := hash; ; at++ {
		if place := &l.places[at&uint64(len(l.places)-1)]; *place == 0 {
			*place = entry
			return
		}
	}
}

func (l *lately) grow() {
	l.places = make([]uint32, max(64, 2*len(l.places)))
	for i := range l.entries {
		e := &l.entries[i]
		l.put(xxhash.Sum64(l.keys[e.from:e.to]), uint32(i+1))
	}
}

// clear forgets all keys, and keeps the memory.
func (l *lately) clear() {
	clear(l.places)
	l.entries, l.keys = l.entries[:0], l.keys[:0]
}
