package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func fleetOf(n int) *fleet {
	f := &fleet{}
	for range n {
		f.clients = append(f.clients, &client{})
	}
	return f
}

// TestARateCountsWaiting: a server that is too slow for a rate gives latencies that grow, not fewer requests.
func TestARateCountsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(*client) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		n, latencies, err := fleetOf(1).run(t.Context(), work{request: slow, duration: time.Second, limit: 1000, rate: 20})
		if err != nil || n != 19 {
			t.Fatalf("%d requests, %v; 20 a second make 19 before a second is over", n, err)
		}
		if longest := latencies.Max(); longest < 900_000 {
			t.Errorf("the last request waited for %d µs; half of its time passed before it was sent", longest)
		}
	})
}

func TestClientsWorkForTheDurationOrTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		request := func(*client) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		if n, _, err := fleetOf(5).run(t.Context(), work{request: request, duration: time.Second, limit: 10_000}); err != nil || n != 500 {
			t.Errorf("%d requests of 5 clients in a second of 10 ms each, %v", n, err)
		}
		if n, _, err := fleetOf(5).run(t.Context(), work{request: request, duration: time.Hour, limit: 77}); err != nil || n != 77 {
			t.Errorf("%d requests where 77 were allowed, %v", n, err)
		}
	})
}

func TestTheFirstFailureEndsARun(t *testing.T) {
	broken := errors.New("broken")
	var count atomic.Int64
	_, _, err := fleetOf(10).run(context.Background(), work{duration: time.Hour, limit: 1 << 40, request: func(*client) error {
		if count.Add(1) == 100 {
			return broken
		}
		return nil
	}})
	if !errors.Is(err, broken) {
		t.Errorf("a run with a failure ended with %v", err)
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range []string{"-run nothing", "-servers zookeeper", "-rounds 0", "-seconds -1", "-keys 0", "-what"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s was taken", args)
		}
	}
	s, err := parse(strings.Fields("-run put-1,failover -servers balsa,etcd -seconds 0.5"))
	if err != nil || len(s.scenarios) != 2 || len(s.kinds) != 2 || s.duration != time.Second/2 {
		t.Errorf("%+v, %v", s, err)
	}
}
