package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// World is one simulated run. It is single-threaded: everything in it happens inside Step.
type World struct {
	seed   uint64
	random *rand.Rand
	now    actor.Instant
	events eventQueue
	order  uint64 // breaks ties between events of the same instant
	ready  []*task
	turn   *turn // the turn that is running, nil between turns
	steps  uint64
	trace  hash.Hash64
	// OnTrace sees each line of the trace; nil is fine.
	OnTrace func(line string)
}

// NewWorld returns an empty world at virtual second one.
func NewWorld(seed uint64) *World {
	return &World{
		seed:   seed,
		random: rand.New(rand.NewPCG(seed, 0x62616c7361)),
		now:    actor.Instant(time.Second),
		trace:  fnv.New64a(),
	}
}

// Now returns the current virtual instant.
func (w *World) Now() actor.Instant { return w.now }

// Seed returns the seed that the world was made with.
func (w *World) Seed() uint64 { return w.seed }

// Steps returns how many turns and events have happened.
func (w *World) Steps() uint64 { return w.steps }

// Chance reports true once in n times.
func (w *World) Chance(n int) bool { return w.random.IntN(n) == 0 }

// Between returns a random duration in [low, high].
func (w *World) Between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.random.Int64N(int64(high-low)+1))
}

// IntN returns a random number in [0, n).
func (w *World) IntN(n int) int { return w.random.IntN(n) }

// Uint64 returns a random number.
func (w *World) Uint64() uint64 { return w.random.Uint64() }

// After runs fn when d of virtual time has passed.
func (w *World) After(d time.Duration, fn func()) { w.at(w.now.Add(d), fn) }

func (w *World) at(when actor.Instant, fn func()) {
	w.order++
	heap.Push(&w.events, event{when: when, order: w.order, fn: fn})
}

// Step lets one thing happen: the turn of a ready actor, picked at random, or else the next event. It reports false when
// nothing will ever happen again.
func (w *World) Step() bool {
	w.steps++
	if n := len(w.ready); n > 0 {
		i := w.random.IntN(n)
		t := w.ready[i]
		w.ready[i] = w.ready[n-1]
		w.ready = w.ready[:n-1]
		t.ready = false
		switch {
		case t.dead():
		case t.life.paused:
			t.life.when(t.Wake)
		default:
			w.runTurn(t)
		}
		return true
	}
	if len(w.events) == 0 {
		return false
	}
	e := heap.Pop(&w.events).(event)
	w.now = max(w.now, e.when)
	e.fn()
	return true
}

// RunUntil steps until done reports true, or limit of virtual time has passed: then it returns an error.
func (w *World) RunUntil(limit time.Duration, done func() bool) error {
	end := w.now.Add(limit)
	for !done() {
		if w.now > end {
			return fmt.Errorf("seed %d: not reached after %v of virtual time (step %d)", w.seed, limit, w.steps)
		}
		if !w.Step() {
			return fmt.Errorf("seed %d: nothing left to happen (step %d)", w.seed, w.steps)
		}
	}
	return nil
}

// Run steps through d of virtual time.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for w.now < end && (len(w.ready) > 0 || len(w.events) > 0) {
		if len(w.ready) == 0 && w.events[0].when > end {
			w.now = end
			return
		}
		w.Step()
	}
}

// Trace adds one line to the trace: when, who, what.
func (w *World) Trace(who, format string, args ...any) {
	line := fmt.Sprintf("%d %s %s", w.now, who, fmt.Sprintf(format, args...))
	w.trace.Write([]byte(line))
	if w.OnTrace != nil {
		w.OnTrace(line)
	}
}

// TraceHash identifies everything that happened so far.
func (w *World) TraceHash() uint64 { return w.trace.Sum64() }

type event struct {
	when  actor.Instant
	order uint64
	fn    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].when != q[j].when {
		return q[i].when < q[j].when
	}
	return q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
