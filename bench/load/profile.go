package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/balsadb/balsa/bench/servers"
)

// profile runs each scenario of clients once more on each server, for profiles: those runs are not measured.
func (s *settings) profile(ctx context.Context) error {
	if s.profiles == "" {
		return nil
	}
	if err := os.MkdirAll(s.profiles, 0o755); err != nil {
		return err
	}
	for _, sc := range s.scenarios {
		if sc.request == nil && sc.watch == nil && !sc.renews {
			continue
		}
		for _, kind := range s.kinds {
			if _, err := s.runOnce(ctx, sc, kind, s.profiles); err != nil {
				return fmt.Errorf("profiling %s, %s: %w", sc.name, kind, err)
			}
		}
	}
	return nil
}

// profileRun measures a scenario while the leader and a follower are profiled, and prints the top of both.
func (s *settings) profileRun(ctx context.Context, cluster *servers.Servers, sc scenario, dir string) error {
	leader, err := cluster.AwaitLeader(ctx)
	if err != nil {
		return err
	}
	roles := map[string]int{"leader": leader, "follower": (leader + 1) % len(cluster.Members)}
	path := func(role string) string {
		return filepath.Join(dir, fmt.Sprintf("%s-%s-%s.prof", sc.name, cluster.Kind, role))
	}
	var failures errorList
	s.measuring = func(ctx context.Context, cluster *servers.Servers) func() {
		var group sync.WaitGroup
		for role, member := range roles {
			group.Go(func() { failures.add(s.fetchProfile(ctx, cluster.Members[member].Endpoint, path(role))) })
		}
		return group.Wait
	}
	_, err = sc.measure(ctx, s, cluster, sc)
	if err := errors.Join(append(failures.all, err)...); err != nil {
		return err
	}
	for _, role := range []string{"leader", "follower"} {
		fmt.Printf("\n%s, %s, %s: %s\n", sc.title, cluster.Kind, role, path(role))
		top := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=30", path(role))
		top.Stdout, top.Stderr = os.Stdout, os.Stderr
		if err := top.Run(); err != nil {
			return fmt.Errorf("go tool pprof -top %s: %w", path(role), err)
		}
	}
	return nil
}

// errorList gathers errors of several goroutines.
type errorList struct {
	mu  sync.Mutex
	all []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, err)
}

func (s *settings) fetchProfile(ctx context.Context, endpoint, path string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", endpoint, max(1, int(s.duration.Seconds())))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	profile, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", url, response.Status, profile)
	}
	return os.WriteFile(path, profile, 0o644)
}
