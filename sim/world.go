package sim

import (
	"fmt"
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
	hash   uint64
	// OnTrace sees each event of the trace; nil is fine.
	OnTrace func(Event)
	// onTurn is told of each turn that has run, before what it said takes effect.
	onTurn func(*task)
	failed error
}

// NewWorld returns an empty world at virtual second one.
func NewWorld(seed uint64) *World {
	return &World{seed: seed, random: rand.New(rand.NewPCG(seed, 0x62616c7361)), now: actor.Instant(time.Second), hash: seed}
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
func (w *World) Between(low, high time.Duration) time.Duration { return between(w.random, low, high) }

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// IntN returns a random number in [0, n).
func (w *World) IntN(n int) int { return w.random.IntN(n) }

// Uint64 returns a random number.
func (w *World) Uint64() uint64 { return w.random.Uint64() }

// After runs fn when d of virtual time has passed.
func (w *World) After(d time.Duration, fn func()) { w.at(w.now.Add(d), fn) }

func (w *World) at(when actor.Instant, fn func()) {
	w.order++
	w.events.push(event{when: when, order: w.order, fn: fn})
}

// Fail ends the run: the first error counts.
func (w *World) Fail(err error) {
	if w.failed == nil && err != nil {
		w.failed = err
	}
}

// Err returns what ended the run; nil while it goes on.
func (w *World) Err() error { return w.failed }

// Step lets one thing happen: the turn of a ready actor, picked at random, or else the next event. It reports false when
// nothing will ever happen again, or the run has failed.
func (w *World) Step() bool {
	if w.failed != nil {
		return false
	}
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
	e := w.events.pop()
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
			if w.failed != nil {
				return w.failed
			}
			return fmt.Errorf("seed %d: nothing left to happen (step %d)", w.seed, w.steps)
		}
	}
	return nil
}

// Run steps through d of virtual time.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for w.now < end && w.failed == nil && (len(w.ready) > 0 || len(w.events) > 0) {
		if len(w.ready) == 0 && w.events[0].when > end {
			w.now = end
			return
		}
		w.Step()
	}
}

type event struct {
	when  actor.Instant
	order uint64
	fn    func()
}

func (e *event) before(o *event) bool {
	return e.when < o.when || e.when == o.when && e.order < o.order
}

// eventQueue is a heap. It is container/heap's, without the boxes: a run has millions of events.
type eventQueue []event

func (q *eventQueue) push(e event) {
	*q = append(*q, e)
	s := *q
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !s[i].before(&s[parent]) {
			break
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (q *eventQueue) pop() event {
	s := *q
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s[last] = event{}
	*q = s[:last]
	s = s[:last]
	for i := 0; ; {
		least := 2*i + 1
		if least >= last {
			break
		}
		if right := least + 1; right < last && s[right].before(&s[least]) {
			least = right
		}
		if !s[least].before(&s[i]) {
			break
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
	return first
}
