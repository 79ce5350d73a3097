package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// waiter is where a handler waits for the group's answer. Its functions are bound once, so that a request
// that finds one in the pool allocates nothing for waiting.
type waiter struct {
	answered chan struct{}
	result   balsa.Result
	err      error
	proposed func(balsa.Result, error)
	read     func(raft.Index, error)
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{answered: make(chan struct{}, 1)}
	w.proposed = func(r balsa.Result, err error) { w.answer(r, err) }
	w.read = func(index raft.Index, err error) { w.answer(balsa.Result{Index: index}, err) }
	return w
}}

func (w *waiter) answer(r balsa.Result, err error) {
	w.result, w.err = r, err
	w.answered <- struct{}{} // the one answer of this use: there is room
}

// wait returns the answer, or the end of the client's patience. In the second case the answer may still be
// coming, so the waiter does not go back to the pool.
func (w *waiter) wait(ctx context.Context) (balsa.Result, error) {
	select {
	case <-w.answered:
		result, err := w.result, w.err
		w.result, w.err = balsa.Result{}, nil
		waiters.Put(w)
		return result, err
	case <-ctx.Done():
		return balsa.Result{}, ctx.Err()
	}
}

// propose has an entry applied, and returns what the state machine answered. The error is the API's.
func (s *Server) propose(ctx context.Context, entry raft.Entry) (balsa.Result, error) {
	deadline := time.Now().Add(s.config.Limits.RequestTimeout)
	for attempt := 0; ; attempt++ {
		w := waiters.Get().(*waiter)
		s.group.ProposeEntry(entry, time.Until(deadline), w.proposed)
		result, err := w.wait(ctx)
		if err == nil {
			return result, nil
		}
		if !again(err) || !pause(ctx, deadline, attempt) {
			return balsa.Result{}, proposalError(err)
		}
	}
}

// readable waits until the store may be read: at once for a read that may be stale, but never before the
// store is as far as it was before a restart (E50); after a barrier for one that may not. The error is the API's.
func (s *Server) readable(ctx context.Context, stale bool) error {
	if stale {
		return s.recovered(ctx)
	}
	return s.barrier(ctx)
}

func (s *Server) recovered(ctx context.Context) error {
	if err := s.group.Lost(); err != nil {
		return refusal(err)
	}
	select {
	case <-s.group.Ready():
		return nil
	default:
	}
	timer := time.NewTimer(s.config.Limits.RequestTimeout)
	defer timer.Stop()
	select {
	case <-s.group.Ready():
		return nil
	case <-timer.C:
		return rpctypes.ErrGRPCTimeoutWaitAppliedIndex
	case <-ctx.Done():
		return apiError(ctx.Err())
	}
}

// barrier waits until all that was committed when it was called can be read here. The error is the API's.
func (s *Server) barrier(ctx context.Context) error {
	deadline := time.Now().Add(s.config.Limits.RequestTimeout)
	for attempt := 0; ; attempt++ {
		w := waiters.Get().(*waiter)
		s.group.ReadAsync(w.read)
		_, err := w.wait(ctx)
		if err == nil {
			return nil
		}
		if !again(err) || !pause(ctx, deadline, attempt) {
			return refusal(err)
		}
	}
}

// pause lets a group that is between two leaders find the next one before a request that had no effect is
// made again: 2, 4, … 64 ms, and up to as much again by chance. It reports false where time is up.
func pause(ctx context.Context, deadline time.Time, attempt int) bool {
	wait := 2 * time.Millisecond << min(attempt, 5)
	wait += rand.N(wait)
	if time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
