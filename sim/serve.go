package sim

import (
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/server"
)

// serve starts what a member's server does beside answering: events are handed to those who watch, and leases are ended. Both are the
// server's own code, as actors of the member's life.
func (r *run) serve(h *Host) {
	state, actors := h.State.(*StoreState), hostScheduler{r.world, h.life}
	if r.plan.Crowd.Streams > 0 {
		dispatcher := actors.Start("dispatcher", func(actor.Instant) actor.Instant {
			state.DispatchEvents()
			return actor.Never
		})
		state.OnEvents(dispatcher.Wake)
	}
	if r.plan.Crowd.Leases > 0 {
		r.serveLeases(h, state, actors)
	}
}

func (r *run) serveLeases(h *Host, state *StoreState, actors hostScheduler) {
	var lessor *server.Lessor
	due := actors.Now()
	task := actors.Start("lessor", func(now actor.Instant) actor.Instant {
		next := now.Add(r.plan.Crowd.Tick)
		tick := now >= due || due > next // the clock has jumped back
		if tick {
			due = next
		}
		lessor.Turn(tick)
		return due
	})
	clock := func() time.Time { return time.Unix(0, int64(actors.Now())) }
	lessor = server.NewLessor(lessorGroup{h.Group, r}, state.Store, r.patience(), clock, task.Wake)
}

// lessorGroup is the group in the eyes of a lessor, whose commands are expected.
type lessorGroup struct {
	*balsa.Group
	run *run
}

// ProposeEntry implements server.Group.
func (g lessorGroup) ProposeEntry(entry raft.Entry, timeout time.Duration, done func(balsa.Result, error)) {
	g.run.expect("a lessor's command", entry, false)
	g.Group.ProposeEntry(entry, timeout, done)
}
