package pebble

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
)

// health remembers the first error that ends the use of the directory. It is Pebble's logger too, since that is
// where Pebble reports what it would end the process for.
type health struct {
	logger   *slog.Logger
	failed   chan struct{} // closed at the first error
	released chan struct{} // closed when the engine is being closed
	once     sync.Once
	first    error // set before failed is closed
	mu       sync.Mutex
	onDamage func(error) // nil for nobody
	told     atomic.Bool
	opened   atomic.Bool // a failure while opening is the opener's to report: nobody waits then
}

func newHealth(logger *slog.Logger) *health {
	return &health{logger: logger, failed: make(chan struct{}), released: make(chan struct{})}
}

// fail remembers cause, unless it is not the first, and returns the first.
func (h *health) fail(cause error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first == nil {
		h.first = fmt.Errorf("%w: %w", engine.ErrFailed, cause)
		close(h.failed)
		h.logger.Error("the state engine failed", "error", cause)
	}
	return h.first
}

// damaged is fail where what is stored is not what was written. Who opened the engine is told beside.
func (h *health) damaged(cause error) error {
	err := h.fail(fmt.Errorf("%w: %w", engine.ErrDamaged, cause))
	if h.opened.Load() && h.onDamage != nil && !h.told.Swap(true) {
		h.onDamage(err)
	}
	return err
}

// err returns the first error, wrapped in engine.ErrFailed; nil while all is well.
func (h *health) err() error {
	select {
	case <-h.failed:
		return h.first
	default:
		return nil
	}
}

// release lets go what waits in a failed engine.
func (h *health) release() { h.once.Do(func() { close(h.released) }) }

// Infof implements Pebble's logger.
func (h *health) Infof(format string, args ...any) {
	h.logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

// Errorf implements Pebble's logger. What matters comes as an event, so this is no error of ours.
func (h *health) Errorf(format string, args ...any) {
	h.logger.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf implements Pebble's logger. It returns, though Pebble does not count on it: what may follow is an error
// to a caller or a retry, and neither can write any more, since the file system has stopped (failStopFS).
func (h *health) Fatalf(format string, args ...any) {
	_ = h.fail(fmt.Errorf("pebble: "+format, args...))
}

// events returns the listener for what Pebble does in the background.
func (h *health) events(p *pressure) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { _ = h.fail(fmt.Errorf("in the background: %w", err)) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			_ = h.damaged(fmt.Errorf("corruption in %s: %w", info.Path, info.Details))
		},
		FlushEnd:      func(pebble.FlushInfo) { p.relieved() },
		CompactionEnd: func(pebble.CompactionInfo) { p.relieved() },
	}
}
