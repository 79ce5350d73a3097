package sim

import (
	"testing"

	"github.com/balsadb/balsa/internal/actor"
)

// A task that wakes itself in its turn has its next turn when this one has had its time, and what the turns do takes effect in their order.
func TestTaskThatWakesItself(t *testing.T) {
	for seed := range uint64(20) {
		w := NewWorld(seed)
		l := newLife(1, &clock{since: w.now, at: w.now, rate: exactRate})
		var task actor.Task
		var effects []int
		turns := 0
		task = hostScheduler{w, l}.Start("self", func(actor.Instant) actor.Instant {
			if turns++; turns < 10 {
				task.Wake()
			}
			n := turns
			w.afterTurn(func() { effects = append(effects, n) })
			return actor.Never
		})
		for w.Step() {
			if turns > len(effects)+1 {
				t.Fatalf("seed %d: turn %d began before the one before it was over", seed, turns)
			}
		}
		for i, n := range effects {
			if n != i+1 {
				t.Fatalf("seed %d: the turns took effect in the order %v", seed, effects)
			}
		}
		if len(effects) != 10 {
			t.Fatalf("seed %d: %d turns, want 10", seed, len(effects))
		}
	}
}
