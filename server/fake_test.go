package server

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// fakeGroup answers proposals by a function, or at once.
type fakeGroup struct {
	mu         sync.Mutex
	apply      func(entry raft.Entry) ([]byte, error)
	read       func() error
	leadership atomic.Pointer[raft.Leadership]
	looked     atomic.Int64 // how often somebody has asked who leads
	applied    atomic.Uint64
	err        atomic.Pointer[error]
	ready      chan struct{}
	proposals  atomic.Int64
	reads      atomic.Int64
}

func newFakeGroup(apply func(raft.Entry) ([]byte, error)) *fakeGroup {
	g := &fakeGroup{apply: apply, ready: make(chan struct{})}
	g.leadership.Store(&raft.Leadership{Role: raft.Leader, Term: 3, Leader: 1})
	close(g.ready)
	return g
}

func (g *fakeGroup) ProposeEntry(entry raft.Entry, _ time.Duration, done func(balsa.Result, error)) {
	g.proposals.Add(1)
	go func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		value, err := g.apply(entry)
		if err != nil {
			done(balsa.Result{}, err)
			return
		}
		done(balsa.Result{Index: raft.Index(g.applied.Add(1)), Term: 3, Value: value}, nil)
	}()
}

// answer changes how proposals are answered from now on.
func (g *fakeGroup) answer(apply func(raft.Entry) ([]byte, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apply = apply
}

func (g *fakeGroup) ReadAsync(done func(raft.Index, error)) {
	g.reads.Add(1)
	g.mu.Lock()
	read := g.read
	g.mu.Unlock()
	if read != nil {
		done(0, read())
		return
	}
	done(g.Counters().Applied, nil)
}

func (g *fakeGroup) TransferAsync(to raft.MemberID, done func(error)) {
	if to == unreachable {
		done(balsa.ErrTransferFailed)
		return
	}
	l := g.Leadership()
	g.leadership.Store(&raft.Leadership{Role: raft.Follower, Term: l.Term + 1, Leader: to})
	done(nil)
}

// unreachable is a member that leadership cannot be handed to.
const unreachable = 9

// Settled has no seats: the members are those of Config.
func (g *fakeGroup) Settled() raft.ConfigurationAt { return raft.ConfigurationAt{} }

func (g *fakeGroup) ChangeMembersAsync(_ balsa.ChangeOptions, _ []balsa.Change, _ time.Duration, done func(raft.ConfigurationAt, error)) {
	done(raft.ConfigurationAt{}, balsa.ErrMembersFixed)
}

func (g *fakeGroup) Leadership() raft.Leadership {
	g.looked.Add(1)
	return *g.leadership.Load()
}
func (g *fakeGroup) Counters() balsa.Counters {
	applied := raft.Index(g.applied.Load())
	return balsa.Counters{Applied: applied, Committed: applied}
}
func (g *fakeGroup) Err() error {
	if err := g.err.Load(); err != nil {
		return *err
	}
	return nil
}
func (g *fakeGroup) Lost() error { return nil }

func (g *fakeGroup) Ready() <-chan struct{} { return g.ready }

// newStore returns an empty store in memory, and a group that applies to it one command at a time.
func newStore(t testing.TB) (*store.Store, *fakeGroup) {
	t.Helper()
	s, err := store.Open(engine.NewMemory(), store.Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	index := raft.Index(0)
	return s, newFakeGroup(func(entry raft.Entry) ([]byte, error) {
		index++
		batch := &balsa.Batch{
			Commands: []balsa.Command{{Index: index, Term: 3, Payload: entry.Payload()}},
			Position: raft.Position{Index: index, Term: 3},
		}
		err := s.Apply(batch)
		return batch.Commands[0].Result, err
	})
}
