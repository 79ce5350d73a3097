package store

import (
	"github.com/balsadb/balsa"
	"github.com/cespare/xxhash/v2"
)

// unflushed tells a writer where the versions of a key may be: whoever is not in it was not written since the engine
// last became durable, so that looking through what is durable is enough. That spares new keys, which no cache can
// know, the search through the engine's memory, where most of a write's time would go.
//
// It errs on one side only: it may hold keys that are durable, and takes some keys for others. It holds two
// generations; the older one is forgotten once everything in it is durable.
type unflushed struct {
	young, old generation
	everything balsa.Index // all that was written up to here counts as unflushed, until it is durable
	size       int         // how many keys a generation gets before it becomes the old one
	room       int         // how many more keys are added before it is asked what is durable
}

// generation is a Bloom filter of keys whose words for one key share a cache line.
type generation struct {
	blocks [][8]uint64
	last   balsa.Index // of the last batch that added a key
}

// filterBlocks times 64 bytes is the memory of a generation, 32 bits for each of the keys that one is meant for.
const filterBlocks = 1 << 12

// generationKeys is the usual size of a generation, where a key that is written twice counts twice. It gets more where
// the old one is not durable yet: what the engine keeps in memory bounds them.
const generationKeys = 64 << 10

// newUnflushed starts with an engine that holds everything up to applied, all of which may be unflushed.
func newUnflushed(applied balsa.Index, size int) unflushed {
	return unflushed{
		young:      generation{blocks: make([][8]uint64, filterBlocks)},
		old:        generation{blocks: make([][8]uint64, filterBlocks)},
		everything: applied,
		size:       size,
		room:       size,
	}
}

// add notes that the batch at the given index wrote key.
func (u *unflushed) add(key string, at balsa.Index) {
	block, bits := place(xxhash.Sum64String(key))
	line := &u.young.blocks[block]
	for range filterBits {
		line[bits>>6&7] |= 1 << (bits & 63)
		bits >>= 9
	}
	u.young.last = at
	u.room--
}

// has reports whether key may have been written since the engine last became durable.
func (u *unflushed) has(key []byte) bool {
	if u.everything > 0 {
		return true
	}
	block, bits := place(xxhash.Sum64(key))
	return u.young.has(block, bits) || u.old.has(block, bits)
}

func (g *generation) has(block int, bits uint64) bool {
	line := &g.blocks[block]
	for range filterBits {
		if line[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

// filterBits is how many bits a key sets, nine bits of hash each.
const filterBits = 6

// place spreads a hash over a block and the bits in it.
func place(hash uint64) (block int, bits uint64) {
	return int(hash % filterBlocks), hash * 0x9e3779b97f4a7c15 >> 10
}

// full reports whether it is time to ask how far the engine is durable.
func (u *unflushed) full() bool { return u.room <= 0 }

// flushed is told how far the engine is durable.
func (u *unflushed) flushed(durable balsa.Index) {
	if durable >= u.everything {
		u.everything = 0
	}
	if !u.full() {
		return
	}
	if u.old.last > durable {
		u.room = (u.size + 3) / 4
		return
	}
	u.young, u.old = u.old, u.young
	clear(u.young.blocks)
	u.young.last, u.room = 0, u.size
}
