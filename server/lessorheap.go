package server

import (
	"container/heap"
	"math"
	"time"

	"github.com/balsadb/balsa/raft"
)

// held is a lease in the eyes of the lessor.
type held struct {
	id       int64
	renewed  raft.Index
	deadline time.Duration // on the lease clock
	place    int           // in the heap; noPlace while its expiry is on its way
}

const noPlace = -1

// later is a moment of the lease clock; its end is 292 years away.
func later(clock, by time.Duration) time.Duration {
	if by > math.MaxInt64-clock {
		return math.MaxInt64
	}
	return clock + by
}

// hold sets until when a lease lives.
func (r *reign) hold(id int64, renewed raft.Index, deadline time.Duration) {
	h := r.leases[id]
	if h == nil {
		h = &held{id: id, place: noPlace}
		r.leases[id] = h
	}
	h.renewed, h.deadline = renewed, deadline
	if h.place == noPlace {
		heap.Push(&r.due, h)
	} else {
		heap.Fix(&r.due, h.place)
	}
}

// release forgets a lease.
func (r *reign) release(id int64) {
	h := r.leases[id]
	if h == nil {
		return
	}
	delete(r.leases, id)
	if h.place != noPlace {
		heap.Remove(&r.due, h.place)
	}
}

// next takes the lease whose deadline is the first.
func (r *reign) next() *held { return heap.Pop(&r.due).(*held) }

// heldHeap implements heap.Interface: the first deadline comes first.
type heldHeap []*held

func (h heldHeap) Len() int           { return len(h) }
func (h heldHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }

func (h heldHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *heldHeap) Push(x any) {
	one := x.(*held)
	one.place = len(*h)
	*h = append(*h, one)
}

func (h *heldHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	one.place = noPlace
	return one
}
