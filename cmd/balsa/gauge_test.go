package main

import (
	"context"
	"fmt"
	"sync"
)

// gauge is a number that only grows, and that one can wait for.
type gauge struct {
	mu    sync.Mutex
	n     int64
	moved chan struct{} // closed when it has grown; nil while nobody waits
}

func (g *gauge) add() { g.grow(func(n int64) int64 { return n + 1 }) }

// raise sets the number where it is smaller.
func (g *gauge) raise(to int64) { g.grow(func(n int64) int64 { return max(n, to) }) }

func (g *gauge) grow(f func(int64) int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n = f(g.n)
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

func (g *gauge) value() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// more returns when the number has grown by so much.
func (g *gauge) more(ctx context.Context, by int64) error { return g.reach(ctx, g.value()+by) }

// reach returns when the number is at least the target.
func (g *gauge) reach(ctx context.Context, target int64) error {
	for {
		g.mu.Lock()
		n := g.n
		if n < target && g.moved == nil {
			g.moved = make(chan struct{})
		}
		moved := g.moved
		g.mu.Unlock()
		if n >= target {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("at %d, and %d is waited for: %w", n, target, ctx.Err())
		}
	}
}
