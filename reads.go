package balsa

import (
	"context"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// Read barriers: all that arrive during one turn of the loop share one question to the protocol, and the protocol shares one
// round of confirmation among all questions that wait. The answer is an index; whoever asked is told once the state
// machine of this member has applied it, and no sooner than this member has caught up with what its own log recorded as
// committed before a restart (E50).

// readRequest is a read barrier on its way to the loop.
type readRequest struct {
	replica *replica
	done    func(Index, error)
}

// readers wait for one answer of the protocol.
type readers struct {
	id   raft.ReadID
	done []func(Index, error)
}

// ReadBarrier returns once this member's state machine holds every command that was answered anywhere before the call, so that a
// read of its state from then on is linearizable. It returns the index that the state has at least. It works on every
// member. Errors (ErrNoLeader, ErrOverloaded, ErrClosed, ErrFenced, the context's) say that nothing may be read; trying again is always safe.
//
//balsa:edge callers wait here, outside all actors
func (g *Group) ReadBarrier(ctx context.Context) (Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	type answer struct {
		index Index
		err   error
	}
	answered := make(chan answer, 1)
	g.ReadAsync(func(index Index, err error) { answered <- answer{index, err} })
	select {
	case a := <-answered:
		return a.index, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// ReadAsync is ReadBarrier for callers that do not want to wait: done is called exactly once, often from one of the host's
// actors, and must not block.
func (g *Group) ReadAsync(done func(Index, error)) {
	if n := g.reading.Add(1); n > int64(g.limits.PendingReads) {
		g.reading.Add(-1)
		done(0, fmt.Errorf("%w: %d read barriers are waiting", ErrOverloaded, n-1))
		return
	}
	if !g.host.loop.reads.Post(readRequest{g.replica, done}) {
		g.reading.Add(-1)
		done(0, ErrClosed)
	}
}

// read asks the protocol once for all readers of this turn.
func (r *replica) read() {
	if len(r.arriving) == 0 {
		return
	}
	r.lastRead++
	r.reading = append(r.reading, readers{r.lastRead, r.arriving})
	r.arriving = nil
	r.raft.Read(r.now(), r.lastRead)
}

// finishReads passes the protocol's answers on.
func (r *replica) finishReads(results []raft.ReadResult) {
	for _, result := range results {
		for i := range r.reading {
			if r.reading[i].id == result.ID {
				r.answerReaders(r.reading[i].done, result)
				r.reading[i].done = nil
				break
			}
		}
	}
	kept := r.reading[:0]
	for _, waiting := range r.reading {
		if waiting.done != nil {
			kept = append(kept, waiting)
		}
	}
	clear(r.reading[len(kept):])
	r.reading = kept
}

func (r *replica) answerReaders(done []func(Index, error), result raft.ReadResult) {
	index := max(result.Index, r.recoverTo)
	if result.Err != nil || index <= r.applied {
		r.group.reading.Add(-int64(len(done)))
		for _, d := range done {
			d(index, result.Err)
		}
		return
	}
	for _, d := range done {
		r.batch().waits = append(r.batch().waits, appliedWait{index: index, read: d})
	}
}

// failReads ends all barriers that wait for the protocol.
func (r *replica) failReads(err error) {
	for _, waiting := range append(r.reading, readers{done: r.arriving}) {
		r.group.reading.Add(-int64(len(waiting.done)))
		for _, done := range waiting.done {
			done(0, err)
		}
	}
	r.reading, r.arriving = nil, nil
}
