package pebble

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
)

// Home keeps engines in numbered directories beside each other:
//
//	BALSA-ENGINE        names the current one (see pointer)
//	0000000000000003/   the current one
//	0000000000000004/   one that was begun, or one that was current and is not removed yet
//
// A new engine becomes the current one when BALSA-ENGINE is replaced, which is one rename. Everything else can be
// interrupted at will: a directory that is not named is garbage, and removed at the next start. Before there were homes
// an engine lay in the directory itself. Such a one goes on as it is, until a new one takes its place.
type Home struct {
	dir     string
	options Options
	cache   *pebble.Cache // of all engines together

	mu        sync.Mutex
	at        pointer
	current   *Engine // nil before Open, and where that found damage
	opened    bool
	next      *Engine // between Begin and Commit or Abort
	former    []*Engine
	uncertain error // wraps engine.ErrUncertain once that is so
	closed    bool
}

var _ engine.Home = (*Home)(nil)

// NewHome returns the home in a directory. Nothing is read or changed before Open.
func NewHome(dir string, options Options) *Home {
	options = options.withDefaults()
	return &Home{dir: dir, options: options, cache: pebble.NewCache(options.CacheBytes)}
}

// Open implements engine.Home.
func (h *Home) Open() (engine.Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.opened {
		return nil, fmt.Errorf("engine: %s was opened before", h.dir)
	}
	at, err := findCurrent(h.options, h.dir)
	if err == nil {
		err = checkCondemned(h.options.FS, h.dir, at)
	}
	var e *Engine
	if err == nil {
		e, err = open(at.path(h.options.FS, h.dir), h.options, h.cache)
	}
	if errors.Is(err, engine.ErrDamaged) {
		h.at, h.opened = at, true
	}
	if err != nil {
		return nil, err
	}
	h.at, h.current, h.opened = at, e, true
	// Only now, when Pebble has locked the directory, is it certain that nobody else uses what is here.
	if err := removeOthers(h.options.FS, h.dir, at); err != nil {
		h.options.Logger.Warn("what an interrupted change of the state left is still there", "error", err)
	}
	return e, nil
}

// Begin implements engine.Home.
func (h *Home) Begin() (engine.Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed || !h.opened:
		return nil, engine.ErrClosed
	case h.uncertain != nil:
		return nil, h.uncertain
	case h.next != nil:
		return nil, fmt.Errorf("engine: a new engine was begun in %s already: Commit or Abort it first", h.dir)
	}
	number, err := unusedNumber(h.options.FS, h.dir, h.at)
	if err != nil {
		return nil, fmt.Errorf("engine: looking into %s: %w", h.dir, err)
	}
	path := number.path(h.options.FS, h.dir)
	e, err := open(path, h.options, h.cache)
	if err != nil {
		return nil, errors.Join(err, h.options.FS.RemoveAll(path))
	}
	if h.options.Deterministic {
		e.flushEvery = int(h.options.MemTableBytes / 16)
	}
	h.next = e
	return e, nil
}

// Commit implements engine.Home.
func (h *Home) Commit(next engine.Engine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(next); err != nil {
		return err
	}
	if err := h.next.Flush(); err != nil {
		return err
	}
	number, err := numberOf(h.options.FS, h.next.dir)
	if err != nil {
		return err
	}
	if err := h.replacePointer(number); err != nil {
		return err
	}
	old, oldAt := h.current, h.at
	h.current, h.at, h.next = h.next, number, nil
	h.current.flushEvery = 0
	if old == nil || old.isClosed() { // it was damaged
		if err := removeOthers(h.options.FS, h.dir, number); err != nil {
			h.options.Logger.Warn("the damaged state is still there, and is removed at the next start", "error", err)
		}
		return nil
	}
	h.former = append(slices.DeleteFunc(h.former, (*Engine).isClosed), old)
	old.closed = func() {
		if err := errors.Join(removeEngine(h.options.FS, h.dir, oldAt), removeVerdict(h.options.FS, h.dir)); err != nil {
			h.options.Logger.Warn("the former state is still there, and is removed at the next start", "error", err)
		}
	}
	return nil
}

// replacePointer makes BALSA-ENGINE name a directory, durably. Up to the rename a failure changes nothing.
func (h *Home) replacePointer(to pointer) error {
	// What the pointer names must be there before the pointer is.
	if err := syncDir(h.options.FS, h.dir); err != nil {
		return fmt.Errorf("engine: syncing %s: %w", h.dir, err)
	}
	fresh, err := writePointer(h.options.FS, h.dir, to)
	if err != nil {
		return err
	}
	err = h.options.FS.Rename(fresh, h.options.FS.PathJoin(h.dir, formatFile))
	if err == nil {
		err = syncDir(h.options.FS, h.dir)
	}
	if err != nil {
		h.uncertain = fmt.Errorf("%w: naming the new one in %s: %w", engine.ErrUncertain, h.dir, err)
	}
	return h.uncertain
}

// Abort implements engine.Home. Where a restart may find the new engine it is left there.
func (h *Home) Abort(next engine.Engine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == nil || next != engine.Engine(h.next) {
		return fmt.Errorf("engine: a %T that Begin did not return", next)
	}
	path := h.next.dir
	_ = h.next.Close() // its failure is why it is aborted, and known
	h.next = nil
	if h.uncertain != nil {
		return nil
	}
	if err := h.options.FS.RemoveAll(path); err != nil {
		return fmt.Errorf("engine: removing %s: %w", path, err)
	}
	return nil
}

// check says why next cannot become the current engine.
func (h *Home) check(next engine.Engine) error {
	switch {
	case h.closed:
		return engine.ErrClosed
	case h.uncertain != nil:
		return h.uncertain
	case h.next == nil || next != engine.Engine(h.next):
		return fmt.Errorf("engine: a %T that Begin did not return", next)
	}
	return nil
}

// Close implements engine.Home.
func (h *Home) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	var errs []error
	for _, e := range append(h.former, h.next) {
		if e == nil {
			continue
		}
		if err := e.Close(); !errors.Is(err, engine.ErrDamaged) { // another state has taken its place, or is still to be made
			errs = append(errs, err)
		}
	}
	if h.current != nil {
		errs = append(errs, h.closeCurrent())
	}
	h.cache.Unref()
	return errors.Join(errs...)
}

// closeCurrent closes the current engine. That it is damaged is no failure of closing it: it is condemned, and the next start has it rebuilt.
func (h *Home) closeCurrent() error {
	err := h.current.Close()
	if !errors.Is(err, engine.ErrDamaged) {
		return err
	}
	if checkCondemned(h.options.FS, h.dir, h.at) == nil {
		if failed := h.condemn(err.Error()); failed != nil {
			return errors.Join(err, failed)
		}
	}
	h.options.Logger.Warn("the state that was closed is damaged: the next start has it rebuilt", "state", h.at.String(), "error", err)
	return nil
}

func (e *Engine) isClosed() bool { return e.gate.isClosed() }
