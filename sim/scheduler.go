package sim

import (
	"fmt"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// life is one life of one host, from its start to its crash. What belongs to a life that is over never runs again.
type life struct {
	member balsa.MemberID
	clock  *clock
	over   bool
	// paused: nothing of it runs, as after SIGSTOP; what happens to it meanwhile is parked.
	paused bool
	parked []func() // turns that end
	frames []func() // what waits in the sockets' buffers
	drains bool     // they are being read
	tasks  []*task
	// protocol is the host's part in the group, to be looked at between turns.
	protocol *raft.Raft
	fenced   bool // an operator has noticed that it stopped
	// opsLeft is how many disk operations are left before the power goes; -1 for no end.
	opsLeft int
}

func newLife(member balsa.MemberID, c *clock) *life {
	return &life{member: member, clock: c, opsLeft: -1}
}

// when runs fn, which happens to this life: now, or once it is no longer paused.
func (l *life) when(fn func()) {
	if l.paused {
		l.parked = append(l.parked, fn)
		return
	}
	fn()
}

// arrives runs fn, with which the network reaches this life: now, or in its turn behind what came before it.
func (l *life) arrives(fn func()) {
	if l.paused || l.drains {
		l.frames = append(l.frames, fn)
		return
	}
	fn()
}

// resume lets a paused life go on. What waits in its sockets is read a little later, in order: the goroutines
// that read them are not the first to run.
func (l *life) resume(w *World) {
	l.paused = false
	parked := l.parked
	l.parked = nil
	for _, fn := range parked {
		fn()
	}
	if !l.drains && len(l.frames) > 0 {
		l.drains = true
		l.drain(w)
	}
}

// drain reads what waits, one frame after the other.
func (l *life) drain(w *World) {
	w.After(w.Between(0, 100*time.Microsecond), func() {
		if l.paused || l.over || len(l.frames) == 0 {
			l.drains = false
			return
		}
		fn := l.frames[0]
		l.frames = l.frames[1:]
		fn()
		l.drain(w)
	})
}

// hostScheduler is the actor.Scheduler of one life of a host.
type hostScheduler struct {
	world *World
	life  *life
}

func (s hostScheduler) Now() actor.Instant { return s.life.clock.read(s.world.now) }

func (s hostScheduler) Start(name string, run actor.Turn) actor.Task {
	t := &task{world: s.world, life: s.life, name: name, run: run, alarm: actor.Never}
	s.life.tasks = append(s.life.tasks, t)
	t.Wake()
	return t
}

// WatchProtocol is where the runtime shows what it starts.
func (s hostScheduler) WatchProtocol(_ balsa.GroupID, protocol *raft.Raft) {
	s.life.protocol = protocol
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
	alarm   actor.Instant // when it asked to be woken, on its own clock
	boxes   []interface{ Len() int }
}

func (t *task) dead() bool { return t.stopped || t.life.over }

func (t *task) Wake() {
	switch {
	case t.dead() || t.ready:
	case t.busy || t.running():
		t.again = true
	default:
		t.ready = true
		t.world.ready = append(t.world.ready, t)
	}
}

// running reports whether the task is in the midst of a turn, in which it may wake itself.
func (t *task) running() bool { return t.world.turn != nil && t.world.turn.task == t }

func (t *task) Stop() { t.stopped = true }

// Bound implements actor.Warden.
func (t *task) Bound(mailbox interface{ Len() int }) { t.boxes = append(t.boxes, mailbox) }

// Delay implements actor.Delayer: what a turn posts becomes visible when the turn's time is over.
func (t *task) Delay(put func()) bool {
	if t.world.turn == nil {
		return false
	}
	t.world.turn.effects = append(t.world.turn.effects, put)
	return true
}

// setAlarm has the task woken when its own clock shows the instant.
func (t *task) setAlarm(wake actor.Instant) {
	t.alarm = wake
	w := t.world
	when := t.life.clock.when(wake, w.now)
	if when == actor.Never {
		return // never, or until the clock goes on: then it is set again
	}
	w.at(when, func() {
		switch {
		case t.alarm != wake || t.dead():
		case t.life.clock.read(w.now) < wake: // the clock was slowed down meanwhile
			t.setAlarm(wake)
		default:
			t.alarm = actor.Never
			t.Wake()
		}
	})
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
	w.note(Event{Member: t.life.member, Actor: t.name, What: "turn"})
	current := &turn{task: t, cost: time.Duration(1000 + w.random.Int64N(19000))}
	wake, crashed := w.runUntilPowerCut(current)
	if crashed || t.life.over {
		return
	}
	if w.onTurn != nil {
		w.onTurn(t)
	}
	if t.stopped {
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
				panic(fmt.Sprintf("seed %d, step %d: %v", w.seed, w.steps, r))
			}
			crashed = true
		}
	}()
	return current.task.run(current.task.life.clock.read(w.now)), false
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
	t.setAlarm(wake)
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
