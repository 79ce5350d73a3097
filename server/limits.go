package server

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Limits bound what clients may ask for, and how much of it at once. Zero fields take DefaultLimits' values.
type Limits struct {
	// RequestBytes is the largest write, in bytes (--max-request-bytes).
	RequestBytes int
	// TxnOps is the largest number of compares, and of operations in each branch, of a transaction (--max-txn-ops).
	TxnOps int
	// ConcurrentStreams is the largest number of calls at a time on one connection (--max-concurrent-streams).
	ConcurrentStreams uint32
	// Requests is the largest number of requests in progress at a time; more are refused with "too many requests".
	Requests int64
	// Learners is how many members there may be that were added as learners and not promoted yet.
	Learners int
	// RequestTimeout ends a request that is still unanswered. Make it 5 s and two election timeouts, like etcd.
	RequestTimeout time.Duration
}

// DefaultLimits are etcd's defaults, and for what etcd does not bound, what a member of 1 GiB can stand.
func DefaultLimits() Limits {
	return Limits{
		RequestBytes:      1536 << 10,
		TxnOps:            128,
		ConcurrentStreams: 1<<32 - 1,
		Requests:          32 << 10,
		Learners:          1,
		RequestTimeout:    7 * time.Second,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.RequestBytes = cmp.Or(l.RequestBytes, d.RequestBytes)
	l.TxnOps = cmp.Or(l.TxnOps, d.TxnOps)
	l.ConcurrentStreams = cmp.Or(l.ConcurrentStreams, d.ConcurrentStreams)
	l.Requests = cmp.Or(l.Requests, d.Requests)
	l.Learners = cmp.Or(l.Learners, d.Learners)
	l.RequestTimeout = cmp.Or(l.RequestTimeout, d.RequestTimeout)
	return l
}

// grpcOverhead is how much larger than a write a message may be, in bytes, before gRPC itself refuses it.
const grpcOverhead = 512 << 10

// commandOverhead is what etcd adds to a write before it compares it with --max-request-bytes, in bytes: a
// write of a size that etcd takes is taken here, and the other way round.
const commandOverhead = 15

// commandSize is the size, in bytes, that a request counts with against Limits.RequestBytes.
func commandSize(request int) int {
	lengthPrefix := 1
	for n := request; n >= 1<<7; n >>= 7 {
		lengthPrefix++
	}
	return commandOverhead + lengthPrefix + request
}

// gauge counts what is in progress, against a bound.
type gauge struct {
	n     atomic.Int64
	bound int64
}

// take reports false, and takes nothing, where the bound would be passed.
func (g *gauge) take(n int64) bool {
	if g.n.Add(n) > g.bound {
		g.n.Add(-n)
		return false
	}
	return true
}

func (g *gauge) give(n int64) { g.n.Add(-n) }
