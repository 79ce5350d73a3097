package store

// recent remembers the newest versions of keys that were written lately, so that writing one again need not look
// for it in the engine. It holds a bounded number of keys, in two generations: what was not used while the younger
// one filled up is forgotten. Forgetting costs a look into the engine and nothing else: answers do not hang on it.
type recent struct {
	limit      int // of one generation
	young, old map[string]version
}

// defaultRecentKeys is about 20 MiB of memory with keys of 50 bytes.
const defaultRecentKeys = 128 << 10

func newRecent(keys int) recent {
	return recent{limit: max(keys/2, 1), young: map[string]version{}}
}

func (r *recent) get(key []byte) (version, bool) {
	if v, ok := r.young[string(key)]; ok {
		return v, true
	}
	v, ok := r.old[string(key)]
	return v, ok
}

// set notes the newest version of a key.
func (r *recent) set(key string, v version) {
	if len(r.young) >= r.limit {
		if _, ok := r.young[key]; !ok {
			clear(r.old)
			r.young, r.old = r.old, r.young
			if r.young == nil {
				r.young = map[string]version{}
			}
		}
	}
	r.young[key] = v
}
