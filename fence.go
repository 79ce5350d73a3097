package balsa

import (
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/balsadb/balsa/internal/actor"
)

// Fencing: a group whose state machine failed, or whose protocol found a rule broken, stops on this host, answers what it
// can, and stays silent, so that the other members go on without it. What it did last goes to the log. The host and its other groups live.

// guarded calls f and turns a panic into an error. A simulated power cut passes: there is nobody left to handle it.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if _, crash := v.(actor.Crash); crash {
				panic(v)
			}
			err = &panicError{v, debug.Stack()}
		}
	}()
	return f()
}

// guard runs a piece of a replica's turn, where the replica has not stopped; a panic in it fences the group.
func (r *replica) guard(f func()) {
	if r.stopped != nil {
		return
	}
	err := guarded(func() error { f(); return nil })
	if err != nil {
		r.fence(err)
	}
}

// fence stops the group on this host.
func (r *replica) fence(cause error) {
	if r.stopped != nil {
		return
	}
	err := &fencedError{r.config.ID, cause}
	r.group.fenced.Store(err)
	r.report(cause)
	r.stop(err)
}

// stop answers everything that waits, and makes the replica deaf and mute.
func (r *replica) stop(err error) {
	r.stopped = err
	r.endSends()
	r.giveUpWaiting(err)
	r.giveUpChanges(err)
	r.doubtForwarded(err)
	r.releaseHeld()
	for i := range r.proposals {
		r.refuse(&r.proposals[i], err)
	}
	clear(r.proposals)
	r.proposals = r.proposals[:0]
	r.failReads(err)
	r.failTransfers(err)
	r.batch().stop = err
	r.loop.timers.remove(r)
	r.loop.touch(r)
}

// report logs why the group was fenced, and its recent events.
func (r *replica) report(cause error) {
	attrs := []any{slog.String("reason", cause.Error()), slog.String("recent", r.recorder.String())}
	if p := (*panicError)(nil); errors.As(cause, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	r.loop.host.tell(Trouble{
		Kind: TroubleFenced, Group: r.config.ID, Text: "group stopped on this host: going on would not be safe: " + cause.Error(),
		Remedy: "the other members go on without this one: see to the reason, and start it again",
	}, attrs...)
}
