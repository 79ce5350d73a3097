package vfs

// PowerCut turns the power off: every operation of d fails from now on. It returns the disk as it is found when the
// power is back. random decides, for what was not synced, which of it survives; nil loses all of it.
func (d *Mem) PowerCut(random func() uint64) *Mem {
	return d.successor(func(c *copier) {
		if random != nil {
			c.survive = newSurvival(random)
		}
	})
}

// Kill ends the process that uses d, not the machine: every operation of d fails from now on. It returns
// the disk as the next process finds it: everything that was written is readable, and no more of it is durable than before.
func (d *Mem) Kill() *Mem {
	return d.successor(func(c *copier) { c.whole = true })
}

// Clone returns a copy of the disk, with what is pending, without locks and hooks. d lives on.
func (d *Mem) Clone() *Mem {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.copyWith(&copier{whole: true})
}

// Flip changes bits of a byte behind everybody's back, in the page cache and on the platter: a rotten disk.
// It reports whether there is such a byte.
func (d *Mem) Flip(name string, off int64, bits byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(name)
	if err != nil || node == nil || node.file == nil || off < 0 || off >= node.file.size {
		return false
	}
	f, n := node.file, off/SectorSize
	f.sectors = put(f.sectors, n, flipped(at(f.sectors, n), off, bits))
	f.durable = put(f.durable, n, flipped(at(f.durable, n), off, bits))
	for _, w := range append(f.pending[:len(f.pending):len(f.pending)], f.doomed...) {
		if i := n - w.first; i >= 0 && i < int64(len(w.versions)) && w.versions[i] != superseded {
			w.versions[i] = flipped(w.versions[i], off, bits)
		}
	}
	return true
}

func flipped(s *sector, off int64, bits byte) *sector {
	changed := new(sector)
	if s != nil {
		*changed = *s
	}
	changed[off%SectorSize] ^= bits
	return changed
}

func (d *Mem) successor(set func(*copier)) *Mem {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	c := &copier{}
	set(c)
	return d.copyWith(c)
}

func (d *Mem) copyWith(c *copier) *Mem {
	c.nodes = map[*memNode]*memNode{}
	return &Mem{root: c.dir(d.root), locks: map[string]bool{}, ignoreSync: d.ignoreSync}
}

// copier makes a successor of a tree. Names that shared a file still do. Directories are visited in order of their names,
// so that the same seed decides the same.
type copier struct {
	whole   bool      // keep everything, pending and doomed as it is
	survive *survival // nil: nothing that is pending survives
	nodes   map[*memNode]*memNode
}

func (c *copier) dir(old *memDir) *memDir {
	made := newMemDir()
	if c.whole {
		c.copyNames(made.names, old.names)
		c.copyNames(made.durable, old.durable)
		for _, change := range old.pending {
			copied := map[string]*memNode{}
			c.copyNames(copied, change)
			made.pending = append(made.pending, copied)
		}
		return made
	}
	kept := map[string]*memNode{}
	applyNames(kept, old.durable)
	for _, change := range old.pending[:c.survive.prefix(len(old.pending))] {
		applyNames(kept, change)
	}
	c.copyNames(made.names, kept)
	c.copyNames(made.durable, kept)
	return made
}

func (c *copier) copyNames(to, from map[string]*memNode) {
	for _, name := range sortedNames(from) {
		to[name] = c.node(from[name])
	}
}

func (c *copier) node(old *memNode) *memNode {
	if old == nil {
		return nil
	}
	if made := c.nodes[old]; made != nil {
		return made
	}
	made := &memNode{}
	c.nodes[old] = made
	if old.dir != nil {
		made.dir = c.dir(old.dir)
	} else {
		made.file = c.file(old.file)
	}
	return made
}

func (c *copier) file(old *memFile) *memFile {
	if c.whole {
		made := *old
		made.sectors = append([]*sector(nil), old.sectors...)
		made.durable = append([]*sector(nil), old.durable...)
		made.pending = copyWrites(old.pending)
		made.doomed = copyWrites(old.doomed)
		return &made
	}
	made := &memFile{durableSize: old.durableSize}
	made.durable = append(made.durable, old.durable...)
	c.survive.writes(made, old)
	// A sector beyond the size that survived is lost with it.
	for n := range made.durable {
		end := made.durableSize - int64(n)*SectorSize
		switch {
		case end <= 0:
			made.durable[n] = nil
		case end < SectorSize && made.durable[n] != nil:
			kept := new(sector)
			copy(kept[:end], made.durable[n][:])
			made.durable[n] = kept
		}
	}
	made.size, made.sectors = made.durableSize, append([]*sector(nil), made.durable...)
	return made
}

func copyWrites(writes []memWrite) []memWrite {
	made := append([]memWrite(nil), writes...)
	for i := range made {
		made[i].versions = append([]*sector(nil), made[i].versions...)
	}
	return made
}

// survival decides what of the pending changes a power cut leaves.
type survival struct {
	random func() uint64
	style  uint64
	odds   uint64 // of 8: how likely a sector survives
}

// The styles of a power cut; each is drawn as often as the others.
const (
	loseAll    = iota // the cache was never written back
	keepAll           // it was, just before
	keepPrefix        // in order, the last write torn at a sector
	keepSome          // in any order, sector by sector
	styles
)

func newSurvival(random func() uint64) *survival {
	s := &survival{random: random}
	s.style, s.odds = random()%styles, 1+random()%7
	return s
}

// prefix returns how many of n changes of a directory survive.
func (s *survival) prefix(n int) int {
	switch {
	case s == nil || s.style == loseAll || n == 0:
		return 0
	case s.style == keepAll:
		return n
	}
	return int(s.random() % uint64(n+1))
}

// writes puts what survives of old's pending writes into made's durable contents.
func (s *survival) writes(made, old *memFile) {
	if s == nil || s.style == loseAll {
		return
	}
	if s.style == keepSome {
		s.scatter(made, old.doomed)
		s.scatter(made, old.pending)
		return
	}
	kept := s.prefix(len(old.pending))
	for _, w := range old.pending[:kept] {
		made.durable, made.durableSize = w.onto(made.durable), w.size
	}
	if kept < len(old.pending) {
		torn := old.pending[kept]
		torn.versions = torn.versions[:s.random()%uint64(len(torn.versions)+1)]
		made.durable = torn.onto(made.durable)
		made.durableSize = max(made.durableSize, min(torn.size, (torn.first+int64(len(torn.versions)))*SectorSize))
	}
}

// scatter keeps each sector of each write, and each change of the size, as the dice fall.
func (s *survival) scatter(made *memFile, writes []memWrite) {
	for _, w := range writes {
		for i, version := range w.versions {
			if s.random()%8 < s.odds && version != superseded {
				made.durable = put(made.durable, w.first+int64(i), version)
			}
		}
		if s.random()%8 < s.odds && w.size >= 0 {
			made.durableSize = w.size
		}
	}
}
