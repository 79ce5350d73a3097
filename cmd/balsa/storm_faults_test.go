package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// fault is something bad. Its clients try so many requests before it is repaired.
type fault struct {
	name   string
	tries  int64
	strike func(context.Context, *storm) (repair func(context.Context) error, err error)
}

// nothing is the repair of what repairs itself.
func nothing(context.Context) error { return nil }

// breakage is what members and the ways between them suffer.
var breakage = []fault{
	{"one member killed", 60, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		m.Kill()
		return m.Restart, nil
	}},
	{"a member stopped, the others go on", 60, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		return func(context.Context) error { return m.Resume() }, m.Pause()
	}},
	{"all members killed", 0, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		s.cluster.KillAll()
		return func(ctx context.Context) error {
			for _, m := range s.cluster.Members {
				if err := m.Launch(); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}},
	{"the way to a member cut", 60, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		p := s.proxies[s.random.IntN(3)]
		p.Cut()
		return func(context.Context) error { p.Heal(); return nil }, nil
	}},
	{"a member killed until the others' logs begin behind its own", 400, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		m := s.anyone()
		m.Kill()
		return m.Restart, nil
	}},
	{"one killed while another is stopped", 6, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		first := s.random.IntN(3)
		killed, stopped := s.cluster.Members[first], s.cluster.Members[(first+1)%3]
		err := stopped.Pause()
		killed.Kill()
		return func(ctx context.Context) error {
			if err := killed.Launch(); err != nil {
				return err
			}
			return stopped.Resume()
		}, err
	}},
}

// nuisances are what those suffer who watch.
var nuisances = []fault{
	{"the leader killed", 60, func(ctx context.Context, s *storm) (func(context.Context) error, error) {
		m, err := leading(ctx, s.cluster, s.clients)
		if err != nil {
			return nil, err
		}
		m.Kill()
		return m.Restart, nil
	}},
	{"all connections of some clients broken, thrice", 60, func(ctx context.Context, s *storm) (func(context.Context) error, error) {
		for range 3 {
			s.shut()
			if err := s.tried.more(ctx, 10); err != nil {
				return nil, err
			}
			s.open()
		}
		return nothing, nil
	}},
	{"some clients cut off from all but one member", 60, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		left := s.random.IntN(3)
		s.shut()
		s.doors[left].Heal()
		return func(context.Context) error { s.open(); return nil }, nil
	}},
	{"a member cut off until the others' logs begin behind its own, its clients not", 400, func(_ context.Context, s *storm) (func(context.Context) error, error) {
		p := s.proxies[s.random.IntN(3)]
		p.Cut()
		return func(context.Context) error { p.Heal(); return nil }, nil
	}},
}

func (s *storm) shut() {
	for _, d := range s.doors {
		d.Cut()
	}
}

func (s *storm) open() {
	for _, d := range s.doors {
		d.Heal()
	}
}

func (s *storm) anyone() *cluster.Member { return s.cluster.Members[s.random.IntN(3)] }

// leading returns the member that leads, once one does. clients are of one member each.
func leading(ctx context.Context, c *cluster.Cluster, clients []*clientv3.Client) (*cluster.Member, error) {
	for {
		for i, client := range clients {
			var s *clientv3.StatusResponse
			err := insist(ctx, func(ctx context.Context) (err error) {
				if _, err = client.Get(ctx, "whoever answers this has a leader"); err == nil {
					s, err = client.Status(ctx, c.Members[i].Endpoint)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			if s.Leader == s.Header.MemberId {
				return c.Members[i], nil
			}
		}
	}
}
