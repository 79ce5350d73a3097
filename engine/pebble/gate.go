package pebble

import (
	"math"
	"sync"
	"sync/atomic"
)

// gate keeps the users of the database and its end apart: Pebble panics where it is used after Close.
type gate struct {
	state atomic.Int64 // the number of users; closedGate is added once the gate is closed
	once  sync.Once
	idle  chan struct{} // closed when the last user leaves a closed gate
}

const closedGate = math.MinInt64

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter reports whether the database may be used; leave must follow then.
func (g *gate) enter() bool {
	if g.state.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.state.Add(-1) == closedGate {
		g.once.Do(func() { close(g.idle) })
	}
}

// close lets nobody in any more and waits for those who are. It reports false where it was closed before.
func (g *gate) close() bool {
	for {
		users := g.state.Load()
		if users < 0 {
			return false
		}
		if !g.state.CompareAndSwap(users, users+closedGate) {
			continue
		}
		if users > 0 {
			<-g.idle
		}
		return true
	}
}

func (g *gate) isClosed() bool { return g.state.Load() < 0 }
