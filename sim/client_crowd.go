package sim

import (
	"math/rand/v2"
	"time"
)

// worker asks one thing after the other, of whichever host is up.
type worker struct {
	run    *run
	id     int
	random *rand.Rand
	asked  int
	// ask asks one thing, and sees to it that done is called when there is an answer.
	ask func(h *Host, done func())
}

// crowd is what such clients know of each other.
type crowd struct {
	leases  []int64                // that were granted, in order
	hashes  map[modelMoment]uint32 // of states
	streams []*streamClient
}

// Numbers of clients begin here, so that a trace tells them apart.
const (
	firstWide   = 100
	firstLease  = 200
	firstStream = 300
)

// startCrowd starts the clients that use more than single keys.
func (r *run) startCrowd() {
	p := &r.plan.Crowd
	r.crowd.hashes = map[modelMoment]uint32{}
	for i := range p.Wide {
		c := &wideClient{worker: r.newWorker(firstWide + i)}
		c.ask = c.next
		r.world.After(between(c.random, 0, p.Think), c.work)
	}
	for i := range p.Leases {
		c := &leaseClient{worker: r.newWorker(firstLease + i)}
		c.ask = c.next
		r.world.After(between(c.random, 0, p.Think), c.work)
	}
	for i := range p.Streams {
		r.startStream(firstStream + i)
	}
}

func (r *run) newWorker(id int) worker {
	return worker{run: r, id: id, random: rand.New(rand.NewPCG(r.world.seed, 0x63726f<<8|uint64(id)))}
}

// work asks the next thing. Where there is no answer for too long it goes on without.
func (w *worker) work() {
	r := w.run
	if r.healing {
		return
	}
	h := r.anyHost(w.random)
	if !h.Up() || h.life.paused {
		r.later(between(w.random, time.Millisecond, r.plan.ElectionTimeout/4), w.work)
		return
	}
	if !r.mayAsk() {
		return
	}
	w.asked++
	over := false
	done := func() {
		if !over {
			over = true
			w.think()
		}
	}
	r.world.After(r.patience(), func() {
		if !over {
			r.counters["answers that clients did not wait for"]++
			done()
		}
	})
	w.ask(h, done)
}

// think is what it does between an answer and the next question; now and then it asks many things without a pause.
func (w *worker) think() {
	d := between(w.random, 0, 2*w.run.plan.Crowd.Think)
	if w.asked%32 < 6 {
		d = 0
	}
	w.run.later(d, w.work)
}

// note adds what a client asks to the trace.
func (w *worker) note(h *Host, what string) {
	w.run.world.note(Event{Member: h.ID, Actor: "client", What: what, N: uint64(w.id)})
}
