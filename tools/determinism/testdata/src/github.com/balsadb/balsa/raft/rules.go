package raft

import (
	"context"
	crand "crypto/rand"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

var pool sync.Pool // want `pool: `

var clock = time.Now // want `clock: a turn`

func goroutine() {
	go clock() // want `go: an actor starts no goroutine`
}

func selects(a, b chan int) {
	select { // want `select: `
	case <-a:
	case <-b:
	}
	select { // want `select: `
	case <-a:
	default:
	}
	select { // one case: a plain receive
	case <-a:
	}
}

func clocks(ctx context.Context, since time.Time) time.Duration {
	time.Sleep(time.Second)                            // want `clock: `
	timer := time.NewTimer(time.Second)                // want `clock: `
	timer.Reset(time.Second)                           // a method: the timer itself was reported
	_, cancel := context.WithTimeout(ctx, time.Second) // want `clock: a context`
	cancel()
	return time.Since(since) // want `clock: `
}

func randomness(seeded *rand.Rand) uint64 {
	crand.Read(nil)                                       // want `rand: the system`
	own := rand.New(rand.NewPCG(1, 2))                    // made from a seed
	return own.Uint64() + seeded.Uint64() + rand.Uint64() // want `rand: global`
}

func order(m map[int]int) (keys []int) {
	for k := range m { // want `map: the order of this range`
		keys = append(keys, k)
	}
	for range m { // neither key nor value: nothing shows
		keys = append(keys, 0)
	}
	for k := range maps.Keys(m) { // want `map: the order differs`
		keys = append(keys, k)
	}
	return slices.Sorted(maps.Keys(m)) // sorted at once
}
