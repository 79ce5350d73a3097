package sim

import (
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// life is one life of one host, from its start to its crash. What belongs to a life that is over never runs again.
type life struct {
	host string
	over bool
	// paused: nothing of it runs, as after SIGSTOP; what happens to it meanwhile is parked.
	paused bool
	parked []func() // turns that end
	frames []func() // what waits in the sockets' buffers
}

// when runs fn, which happens to this life: now, or once it is no longer paused.
func (l *life) when(fn func()) {
	if l.paused {
		l.parked = append(l.parked, fn)
		return
	}
	fn()
}

// arrives runs fn, with which the network reaches this life: now, or some time after it is no longer paused.
func (l *life) arrives(fn func()) {
	if l.paused {
		l.frames = append(l.frames, fn)
		return
	}
	fn()
}

// resume lets a paused life go on. What waits in its sockets is read a little later, in order: the goroutines
// that read them are not the first to run.
func (l *life) resume(w *World) {
	l.paused = false
	parked, frames := l.parked, l.frames
	l.parked, l.frames = nil, nil
	for _, fn := range parked {
		fn()
	}
	when := w.now
	for _, fn := range frames {
		when = when.Add(w.Between(0, 100*time.Microsecond))
		w.at(when, func() { l.arrives(fn) })
	}
}

// hostScheduler is the actor.Scheduler of one life of a host.
type hostScheduler struct {
	world *World
	life  *life
}

func (s hostScheduler) Now() actor.Instant { return s.world.now }

func (s hostScheduler) Start(name string, run actor.Turn) actor.Task {
	t := &task{world: s.world, life: s.life, name: s.life.host + "/" + name, run: run}
	t.Wake()
	return t
}

// task is one actor.
type task struct {
	world   *World
	life    *life
	name    string
	run     actor.Turn
	ready   bool          // in world.ready
	busy    bool          // its last turn has not had its time yet
	again   bool          // woken while busy
	stopped bool          // by Stop
	alarm   actor.Instant // when it asked to be woken
}

func (t *task) dead() bool { return t.stopped || t.life.over }

func (t *task) Wake() {
	switch {
	case t.dead() || t.ready:
	case t.busy:
		t.again = true
	default:
		t.ready = true
		t.world.ready = append(t.world.ready, t)
	}
}

func (t *task) Stop() { t.stopped = true }

// Delay implements actor.Delayer: what a turn posts becomes visible when the turn's time is over.
func (t *task) Delay(put func()) bool {
	if t.world.turn == nil {
		return false
	}
	t.world.turn.effects = append(t.world.turn.effects, put)
	return true
}

// turn is one turn while it runs.
type turn struct {
	task    *task
	cost    time.Duration
	effects []func()
}

// powerCut ends a turn between two disk operations; it is thrown by the disk and caught by runTurn.
type powerCut struct{ life *life }

// ActorCrash implements actor.Crash: the runtime lets it pass, as a dead machine would.
func (powerCut) ActorCrash() {}

func (w *World) runTurn(t *task) {
	w.Trace(t.name, "turn")
	current := &turn{task: t, cost: w.Between(time.Microsecond, 20*time.Microsecond)}
	wake, crashed := w.runUntilPowerCut(current)
	if crashed || t.dead() {
		return
	}
	t.busy = true
	w.After(current.cost, func() { t.life.when(func() { w.endTurn(current, wake) }) })
}

func (w *World) runUntilPowerCut(current *turn) (wake actor.Instant, crashed bool) {
	w.turn = current
	defer func() {
		w.turn = nil
		if r := recover(); r != nil {
			if _, ok := r.(powerCut); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	return current.task.run(w.now), false
}

func (w *World) endTurn(current *turn, wake actor.Instant) {
	t := current.task
	if t.life.over {
		return
	}
	t.busy = false
	for _, effect := range current.effects {
		effect()
	}
	if t.again {
		t.again = false
		t.Wake()
	}
	t.alarm = wake
	if wake != actor.Never {
		w.at(wake, func() {
			if t.alarm == wake {
				t.Wake()
			}
		})
	}
}

// spend adds to the time of the turn that is running.
func (w *World) spend(d time.Duration) {
	if w.turn != nil {
		w.turn.cost += d
	}
}

// afterTurn runs fn when what is happening now has taken effect.
func (w *World) afterTurn(fn func()) {
	if w.turn != nil {
		w.turn.effects = append(w.turn.effects, fn)
		return
	}
	fn()
}
