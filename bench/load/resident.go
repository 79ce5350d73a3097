package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/balsadb/balsa/bench/servers"
)

// residentWatch looks at a process's resident memory four times a second.
type residentWatch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	largest float64
	err     error
}

func watchResident(ctx context.Context, pid int) *residentWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &residentWatch{cancel: cancel}
	w.running.Go(func() {
		ticks := time.NewTicker(250 * time.Millisecond)
		defer ticks.Stop()
		for {
			bytes, err := servers.ResidentOf(pid)
			w.mu.Lock()
			w.largest, w.err = max(w.largest, bytes), errors.Join(w.err, err)
			w.mu.Unlock()
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return w
}

// most returns the largest so far, in bytes.
func (w *residentWatch) most() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.largest
}

func (w *residentWatch) stop() error {
	w.cancel()
	w.running.Wait()
	return w.err
}
