package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// SectorSize is the unit, in bytes, that a power cut keeps or loses whole.
const SectorSize = 512

// sector is never written to once it is in a file; a write puts a new one in its place, so that versions can be shared.
// A nil sector reads as zeros.
type sector [SectorSize]byte

// memFile is a file's page cache, its durable contents, and the writes in between, in order.
type memFile struct {
	sectors, durable  []*sector
	size, durableSize int64
	pending           []memWrite
	doomed            []memWrite // a failed Sync should have covered these; no later one will
}

// memWrite is one write, truncation or preallocation as far as it may survive: new versions of sectors, and the size after it (-1
// where a later one is durable).
type memWrite struct {
	first    int64
	versions []*sector
	size     int64
}

var zeroSector sector

func at(sectors []*sector, n int64) *sector {
	if n < int64(len(sectors)) {
		return sectors[n]
	}
	return nil
}

func put(sectors []*sector, n int64, version *sector) []*sector {
	if n >= int64(len(sectors)) {
		if version == nil {
			return sectors
		}
		sectors = append(sectors, make([]*sector, n+1-int64(len(sectors)))...)
	}
	sectors[n] = version
	return sectors
}

func (f *memFile) read(p []byte, off int64) int {
	n := 0
	for n < len(p) && off < f.size {
		within := off % SectorSize
		end := min(int64(len(p)-n), SectorSize-within, f.size-off)
		from := &zeroSector
		if s := at(f.sectors, off/SectorSize); s != nil {
			from = s
		}
		copy(p[n:n+int(end)], from[within:])
		n += int(end)
		off += end
	}
	return n
}

func (f *memFile) write(p []byte, off int64) {
	first, last := off/SectorSize, (off+int64(len(p))-1)/SectorSize
	w := memWrite{first: first, versions: make([]*sector, last-first+1), size: max(f.size, off+int64(len(p)))}
	block := make([]sector, len(w.versions))
	for i := range w.versions {
		s := &block[i]
		start := (first + int64(i)) * SectorSize
		if old := at(f.sectors, first+int64(i)); old != nil {
			*s = *old
		}
		if start < off {
			copy(s[off-start:], p)
		} else {
			copy(s[:], p[start-off:])
		}
		if *s != zeroSector {
			w.versions[i] = s
		}
	}
	f.apply(w)
}

// resize cuts or extends. What is cut off reads as zeros if the file grows again.
func (f *memFile) resize(size int64) {
	w := memWrite{first: size / SectorSize, size: size}
	if size < f.size {
		if s := at(f.sectors, w.first); s != nil && size%SectorSize != 0 {
			kept := new(sector)
			copy(kept[:size%SectorSize], s[:])
			w.versions = append(w.versions, kept)
		}
		for n := w.first + int64(len(w.versions)); n < int64(len(f.sectors)); n++ {
			w.versions = append(w.versions, nil)
		}
	}
	f.apply(w)
}

func (f *memFile) apply(w memWrite) {
	f.sectors, f.size = w.onto(f.sectors), w.size
	f.pending = append(f.pending, w)
}

func (w memWrite) onto(sectors []*sector) []*sector {
	for i, version := range w.versions {
		sectors = put(sectors, w.first+int64(i), version)
	}
	return sectors
}

func (f *memFile) sync() {
	for _, w := range f.pending {
		f.durable, f.durableSize = w.onto(f.durable), w.size
		for i := range f.doomed {
			f.doomed[i].supersede(w)
		}
	}
	f.pending = nil
}

// superseded stands for a version of a sector that a later one has replaced on the platter: no power cut brings it back.
var superseded = new(sector)

// supersede notes that a later write of the same sectors has become durable, and with it a size.
func (w *memWrite) supersede(later memWrite) {
	w.size = -1
	for n := max(w.first, later.first); n < min(w.first+int64(len(w.versions)), later.first+int64(len(later.versions))); n++ {
		w.versions[n-w.first] = superseded
	}
}

// memHandle is an open file of a Mem.
type memHandle struct {
	disk     *Mem
	file     *memFile
	name     string
	writable bool
	closed   bool
}

func (h *memHandle) check(write bool) error {
	switch {
	case h.disk.off:
		return ErrPowerOff
	case h.closed:
		return fs.ErrClosed
	case write && !h.writable:
		return fs.ErrPermission
	}
	return nil
}

// mutate announces op, and runs do with the lock held where nothing speaks against it.
func (h *memHandle) mutate(op Op, do func()) error {
	op.Name = h.name
	if err := h.disk.begin(op); err != nil {
		return err
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.check(true); err != nil {
		return err
	}
	do()
	return nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.check(false); err != nil {
		return 0, pathError("read", h.name, err)
	}
	if off < 0 {
		return 0, pathError("read", h.name, fs.ErrInvalid)
	}
	n := h.file.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("write", h.name, fs.ErrInvalid)
	}
	if len(p) == 0 {
		return 0, nil
	}
	err := h.mutate(Op{Kind: OpWrite, Offset: off, Size: int64(len(p))}, func() { h.file.write(p, off) })
	var partial *PartialError
	if errors.As(err, &partial) && partial.Written > 0 && partial.Written < len(p) {
		h.disk.mu.Lock()
		defer h.disk.mu.Unlock()
		if h.check(true) == nil {
			h.file.write(p[:partial.Written], off)
			return partial.Written, pathError("write", h.name, err)
		}
	}
	if err != nil {
		return 0, pathError("write", h.name, err)
	}
	return len(p), nil
}

func (h *memHandle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.file.size, pathError("size", h.name, h.check(false))
}

func (h *memHandle) Preallocate(size int64) error {
	return pathError("preallocate", h.name, h.mutate(Op{Kind: OpPreallocate, Size: size}, func() {
		if size > h.file.size {
			h.file.resize(size)
		}
	}))
}

func (h *memHandle) Truncate(size int64) error {
	if size < 0 {
		return pathError("truncate", h.name, fs.ErrInvalid)
	}
	return pathError("truncate", h.name, h.mutate(Op{Kind: OpTruncate, Size: size}, func() { h.file.resize(size) }))
}

func (h *memHandle) Sync() error {
	err := h.mutate(Op{Kind: OpSync}, func() {
		if !h.disk.ignoreSync {
			h.file.sync()
		}
	})
	if err != nil && !errors.Is(err, ErrPowerOff) {
		h.disk.mu.Lock()
		defer h.disk.mu.Unlock()
		h.file.doomed = append(h.file.doomed, h.file.pending...)
		h.file.pending = nil
	}
	return pathError("sync", h.name, err)
}

func (h *memHandle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return pathError("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	return nil
}
