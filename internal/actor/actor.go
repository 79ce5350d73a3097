// Package actor is the shape of the runtime's moving parts: a mailbox, and a turn that takes what is in it.
//
// An actor owns its state, and nobody else touches it. In production each actor has a goroutine; in the
// simulator one thread picks, from a seed, whose turn it is. The actors cannot tell the difference:
// they never start a goroutine, ask a clock, select over channels or sleep.
package actor

import (
	"math"
	"sync"
	"time"
)

// Instant is a moment on the scheduler's monotonic clock, in nanoseconds.
type Instant int64

// Never is the wake-up time of an actor that waits for messages only.
const Never Instant = math.MaxInt64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Turn runs an actor once: it takes what its mailboxes hold and returns when it wants to run again
// though no message came, or Never. Turns of one actor never overlap.
type Turn func(now Instant) (wake Instant)

// Scheduler decides when actors run.
type Scheduler interface {
	// Now returns the current instant. Actors use the one that their turn was given.
	Now() Instant
	// Start adds an actor. Its first turn comes at once. The name shows in traces and goroutine labels.
	Start(name string, turn Turn) Task
}

// Pauser is what a Scheduler has besides where an actor whose turns take as long as its data is large may wait in one, so as not
// to take a disk for itself. On virtual time nothing takes long, and there is none.
type Pauser interface {
	Pause(d time.Duration)
}

// Task is a started actor.
type Task interface {
	// Wake asks for a turn soon; it never blocks, and any number of calls before the turn are one.
	Wake()
	// Stop ends the actor: after it returns no turn is running, and none will. It must not be called from the actor's own turn.
	Stop()
}

// Delayer is what a Task has besides where a message takes effect later than it is posted: the simulator
// holds back what an actor says until the disk writes of that actor's turn have had their (virtual) time.
type Delayer interface {
	// Delay keeps put for later and reports true, or reports false: the message is to be put now.
	Delay(put func()) bool
}

// Warden is what a Task has besides where it watches that its actor's mailboxes stay short, as the simulator's does.
type Warden interface {
	// Bound is told of each mailbox that is bound to the task.
	Bound(mailbox interface{ Len() int })
}

// Mailbox is an actor's queue of messages. Post may be called from anywhere; Take by its actor only.
type Mailbox[M any] struct {
	mu     sync.Mutex
	queue  []M
	batch  []M // what the last Take returned; becomes the queue at the next
	task   Task
	delay  Delayer
	closed bool
}

// Bind names the actor that a post wakes. Messages posted before it wait.
func (m *Mailbox[M]) Bind(task Task) {
	m.mu.Lock()
	m.task = task
	m.delay, _ = task.(Delayer)
	waiting := len(m.queue) > 0
	m.mu.Unlock()
	if w, ok := task.(Warden); ok {
		w.Bound(m)
	}
	if waiting {
		task.Wake()
	}
}

// Post adds a message and wakes the actor. It reports false, and does nothing, once the mailbox is closed.
func (m *Mailbox[M]) Post(message M) bool {
	if m.delay != nil && m.delay.Delay(func() { m.put(message) }) {
		return true
	}
	return m.put(message)
}

func (m *Mailbox[M]) put(message M) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, message)
	first, task := len(m.queue) == 1, m.task
	m.mu.Unlock()
	if first && task != nil {
		task.Wake()
	}
	return true
}

// Take returns all that is waiting. The slice is valid until the next Take.
func (m *Mailbox[M]) Take() []M {
	clear(m.batch)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batch, m.queue = m.queue, m.batch[:0]
	return m.batch
}

// Len returns how many messages wait.
func (m *Mailbox[M]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

// Close refuses further posts and returns what was still waiting.
func (m *Mailbox[M]) Close() []M {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	left := m.queue
	m.queue = nil
	return left
}

// Crash is implemented by the panic value with which a simulated disk ends a turn in a power cut. Whoever recovers
// panics in an actor lets it pass: the process it would handle them in is gone.
type Crash interface{ ActorCrash() }
