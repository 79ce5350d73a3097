package actor

import (
	"context"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

// Goroutines is the production scheduler: a goroutine for each actor.
type Goroutines struct{ start time.Time }

// NewGoroutines returns a scheduler whose clock starts now.
func NewGoroutines() *Goroutines { return &Goroutines{start: time.Now()} }

// Now returns the monotonic time since the scheduler was made, plus one second so that no instant is zero.
func (g *Goroutines) Now() Instant { return Instant(time.Since(g.start) + time.Second) }

// Pause implements Pauser.
func (g *Goroutines) Pause(d time.Duration) { time.Sleep(d) }

// Start runs an actor on a goroutine of its own, labelled with its name in profiles.
func (g *Goroutines) Start(name string, turn Turn) Task {
	t := &goroutine{wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go pprof.Do(context.Background(), pprof.Labels("actor", name), func(context.Context) { t.run(g, turn) })
	return t
}

type goroutine struct {
	wake, stop, done chan struct{}
	once             sync.Once
}

func (t *goroutine) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *goroutine) Stop() {
	t.once.Do(func() { close(t.stop) })
	<-t.done
}

func (t *goroutine) run(g *Goroutines, turn Turn) {
	defer close(t.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-t.stop:
			return
		default:
		}
		wake := turn(g.Now())
		var alarm <-chan time.Time
		if wake != Never {
			timer.Reset(time.Duration(wake - g.Now()))
			alarm = timer.C
		}
		select {
		case <-t.stop:
			return
		case <-t.wake:
			// Those who are about to send something get to run first, so that one turn takes it all: fewer turns,
			// messages and syncs. Where nobody else wants to run this costs next to nothing.
			runtime.Gosched()
		case <-alarm:
		}
	}
}
