package raft

// cache holds the entries at the end of a log, in one slice.
//
// Slices of it are handed out and read by others at any later time, so a slot that was filled once is never
// written again: entries are added behind, evicted in front, and a truncation moves what stays to a new slice.
type cache struct {
	first   Index // index of entries[0]; where there are none, of the next one
	entries []Entry
	bytes   int // of entries
	dead    int // evicted slots in front that the slice's memory still holds
}

// next returns the index that follows the last cached entry.
func (c *cache) next() Index { return c.first + Index(len(c.entries)) }

// has reports whether the entry at index is cached.
func (c *cache) has(index Index) bool { return index >= c.first && index < c.next() }

// slice returns the entries [low, high), all of which are cached. Nobody may append to it.
func (c *cache) slice(low, high Index) []Entry {
	return c.entries[low-c.first : high-c.first : high-c.first]
}

// size returns how many bytes the cached ones among the entries [low, high) have.
func (c *cache) size(low, high Index) int {
	low, high = max(low, c.first), min(high, c.next())
	bytes := 0
	for i := low; i < high; i++ {
		bytes += len(c.entries[i-c.first])
	}
	return bytes
}

// fit returns the largest high such that the entries [low, high) have at most limit bytes, but at least
// low+1: one entry always fits. Entry low must be cached, and high does not exceed end.
func (c *cache) fit(low, end Index, limit int) (high Index, bytes int) {
	for high = low; high < end; high++ {
		size := len(c.entries[high-c.first])
		if high > low && bytes+size > limit {
			break
		}
		bytes += size
	}
	return high, bytes
}

func (c *cache) append(entries []Entry) {
	if len(c.entries)+len(entries) > cap(c.entries) {
		c.move(2 * (len(c.entries) + len(entries)))
	}
	c.entries = append(c.entries, entries...)
	for _, e := range entries {
		c.bytes += len(e)
	}
}

// truncate drops index and all above it.
func (c *cache) truncate(index Index) {
	if index >= c.next() {
		return
	}
	if index <= c.first {
		*c = cache{first: index}
		return
	}
	c.bytes -= c.size(index, c.next())
	c.entries = c.entries[:index-c.first]
	c.move(2 * len(c.entries))
}

// evict drops entries in front, none above upTo, until at most limit bytes are left.
func (c *cache) evict(upTo Index, limit int) {
	for len(c.entries) > 0 && c.bytes > limit && c.first <= upTo {
		c.bytes -= len(c.entries[0])
		c.entries = c.entries[1:]
		c.first++
		c.dead++
	}
	// The slots in front keep their entries alive. Move once they are a quarter of the live ones, so that
	// moving costs each entry a few copies of its slice header, and what is kept alive is little more than the limit.
	if c.dead > len(c.entries)/4+16 {
		c.move(2 * len(c.entries))
	}
}

func (c *cache) move(capacity int) {
	c.entries = append(make([]Entry, 0, capacity), c.entries...)
	c.dead = 0
}
