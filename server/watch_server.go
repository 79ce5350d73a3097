package server

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// leaderWatch tells streams that need a leader when there was none for too long.
type leaderWatch struct {
	mu    sync.Mutex
	known time.Time     // when there was one last, about
	lost  chan struct{} // closed when it is
}

// leaderLost returns a channel that is closed once this member has not known a leader for Config.LeaderTimeout.
func (s *Server) leaderLost() <-chan struct{} {
	s.leader.mu.Lock()
	defer s.leader.mu.Unlock()
	if s.leader.lost == nil {
		s.leader.lost = make(chan struct{})
	}
	return s.leader.lost
}

// awaitLeader waits until this member knows a leader, as long as a stream that is there lives without one: whoever comes anew
// since their own member was killed must not be refused for the milliseconds that the others take to elect.
func (s *Server) awaitLeader(ctx context.Context) error {
	s.leader.mu.Lock()
	deadline := s.leader.known.Add(s.config.LeaderTimeout)
	s.leader.mu.Unlock()
	for attempt := 0; s.group.Leadership().Leader == 0; attempt++ {
		if !pause(ctx, deadline, attempt) {
			return rpctypes.ErrGRPCNoLeader
		}
	}
	return nil
}

// knowLeader notes that there is a leader.
func (s *Server) knowLeader(now time.Time) {
	s.leader.mu.Lock()
	defer s.leader.mu.Unlock()
	s.leader.known = now
}

// watchGroup looks whether there is a leader, and whether the group works, until the server stops. Requests learn that
// from their answers; streams on which nothing happens would not.
func (s *Server) watchGroup() {
	every := time.NewTicker(s.config.LeaderTimeout / 8)
	defer every.Stop()
	known, fenced := time.Now(), false
	for {
		select {
		case now := <-every.C:
			if !fenced && s.group.Err() != nil {
				fenced = true
				close(s.fenced)
			}
			if s.group.Leadership().Leader != 0 {
				known = now
				s.knowLeader(now)
			} else if now.Sub(known) >= s.config.LeaderTimeout {
				s.loseLeader()
			}
		case <-s.stopping:
			return
		}
	}
}

func (s *Server) loseLeader() {
	s.leader.mu.Lock()
	defer s.leader.mu.Unlock()
	if s.leader.lost != nil {
		close(s.leader.lost)
		s.leader.lost = nil
	}
}

// dispatchEvents hands the store's changes to those who watch, until the server stops.
func (s *Server) dispatchEvents() {
	arrived := make(chan struct{}, 1)
	s.store.OnEvents(func() { signal(arrived) })
	for {
		s.store.DispatchEvents()
		select {
		case <-arrived:
		case <-s.stopping:
			return
		}
	}
}
