package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
)

const heldPage = 4 << 10

// heldFile is what was written to a file since its last Sync. All its open handles share it.
type heldFile struct {
	mu    sync.RWMutex
	pages map[int64]*[heldPage]byte // whole pages, with what is below them filled in
	end   int64                     // of what is held
}

// heldHandle is an open file of an Unsynced.
type heldHandle struct {
	owner    *Unsynced
	held     *heldFile
	file     File
	name     string
	writable bool
}

func (h *heldHandle) ReadAt(p []byte, off int64) (int, error) {
	h.held.mu.RLock()
	defer h.held.mu.RUnlock()
	size, err := h.size()
	if err != nil {
		return 0, err
	}
	if off >= size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), size-off)]
	n, err := h.file.ReadAt(want, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	clear(want[n:])
	for at := off; at < off+int64(len(want)); {
		page, within := at/heldPage, at%heldPage
		step := min(heldPage-within, off+int64(len(want))-at)
		if held := h.held.pages[page]; held != nil {
			copy(want[at-off:at-off+step], held[within:])
		}
		at += step
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(want), nil
}

func (h *heldHandle) WriteAt(p []byte, off int64) (int, error) {
	if !h.writable {
		return 0, pathError("write", h.name, fs.ErrPermission)
	}
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	if h.held.pages == nil {
		h.held.pages = map[int64]*[heldPage]byte{}
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		page := h.held.pages[at/heldPage]
		if page == nil {
			page = new([heldPage]byte)
			if _, err := h.file.ReadAt(page[:], at-at%heldPage); err != nil && !errors.Is(err, io.EOF) {
				return done, err
			}
			h.held.pages[at/heldPage] = page
		}
		done += copy(page[at%heldPage:], p[done:])
		h.held.end = max(h.held.end, off+int64(done))
	}
	return len(p), nil
}

func (h *heldHandle) size() (int64, error) {
	size, err := h.file.Size()
	return max(size, h.held.end), err
}

func (h *heldHandle) Size() (int64, error) {
	h.held.mu.RLock()
	defer h.held.mu.RUnlock()
	return h.size()
}

func (h *heldHandle) Preallocate(size int64) error { return h.file.Preallocate(size) }

// Truncate drops what is held beyond size with the rest.
func (h *heldHandle) Truncate(size int64) error {
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	if err := h.file.Truncate(size); err != nil {
		return err
	}
	for n, page := range h.held.pages {
		switch start := n * heldPage; {
		case start >= size:
			delete(h.held.pages, n)
		case size-start < heldPage:
			clear(page[size-start:])
		}
	}
	h.held.end = min(h.held.end, size)
	return nil
}

// Sync hands what is held to the file below, in the order of its places, and syncs that.
func (h *heldHandle) Sync() error {
	h.owner.mu.Lock()
	ignore := h.owner.ignoreSync
	h.owner.mu.Unlock()
	if ignore {
		return nil
	}
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	size, err := h.size()
	if err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(h.held.pages)) {
		page := h.held.pages[n][:min(heldPage, size-n*heldPage)]
		if _, err := h.file.WriteAt(page, n*heldPage); err != nil {
			return err
		}
	}
	clear(h.held.pages)
	h.held.end = 0
	return h.file.Sync()
}

func (h *heldHandle) Close() error { return h.file.Close() }
