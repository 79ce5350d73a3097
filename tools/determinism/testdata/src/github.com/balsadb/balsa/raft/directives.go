package raft

import "time"

func sum(m map[int]int) (total int) {
	//balsa:unordered addition commutes
	for _, v := range m {
		total += v
	}
	for _, v := range m { //balsa:unordered addition commutes
		total += v
	}
	return total
}

// wait blocks a caller of the outside world.
//
//balsa:edge callers wait here; no actor does
func wait(a, b chan int) {
	select {
	case <-a:
	case <-b:
	}
	go sum(nil)
}

func notCovered(m map[int]int) {
	/* want `unordered needs a reason` */ //balsa:unordered
	for range m {
	}
	/* want `edge excuses nothing here` */ //balsa:edge nothing is wrong here
	_ = time.Second
	/* want `unordered excuses nothing here` */ //balsa:unordered this does not excuse a goroutine
	go sum(m)                                   // want `go: `
}
