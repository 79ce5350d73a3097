// Package history records what clients asked a cluster and what they were answered, and judges whether the
// answers could have come from one register per key that does one thing at a time (linearizability), with revisions that
// only grow.
//
// Each operation is about one key. Values must be unique, so that a read names the write that it saw.
package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what an operation does.
type Kind uint8

const (
	// Get reads a key.
	Get Kind = iota
	// Put writes a key.
	Put
	// Delete deletes a key.
	Delete
	// Swap is a transaction: where the key's value is Expect it becomes Value, else it is read.
	Swap
)

func (k Kind) String() string { return [...]string{"get", "put", "delete", "swap"}[k] }

// Operation is what was asked.
type Operation struct {
	Kind   Kind
	Key    string
	Value  string // put, swap
	Expect string // swap; "" is an absent key
}

// Answer is what was answered.
type Answer struct {
	Value    string // get, and a swap that did not happen: what was found; "" is an absent key
	Done     bool   // delete: there was something to delete; swap: it happened
	Revision int64  // of the store, when it answered; 0 where that was not told
}

// History is a record of operations. Its methods may be called concurrently.
type History struct {
	clock func() int64
	mu    sync.Mutex
	calls []*Call
}

// Call is one operation that was begun.
type Call struct {
	history *History
	client  int
	op      Operation
	answer  Answer
	begin   int64
	end     int64 // forever while there is no answer
	dropped bool
	done    bool // it is known to have happened by end, and not what was answered
}

const forever = math.MaxInt64

// New returns an empty history. The clock gives nanoseconds that never go back.
func New(clock func() int64) *History { return &History{clock: clock} }

// Begin notes that a client asks something now. One client asks one thing at a time.
func (h *History) Begin(client int, op Operation) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Call{history: h, client: client, op: op, begin: h.clock(), end: forever}
	h.calls = append(h.calls, c)
	return c
}

// End notes the answer.
func (c *Call) End(answer Answer) {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	c.answer, c.end, c.done = answer, c.history.clock(), false
}

// NotDone notes that the operation is known not to have happened, and never to happen. An operation that is
// neither ended nor not done is of unknown outcome: it may happen at any time from its begin on.
func (c *Call) NotDone() {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	c.dropped = true
}

// Happened notes that an operation that was not answered is known to have happened by now.
func (c *Call) Happened() {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	if c.end == forever {
		c.end, c.done = c.history.clock(), true
	}
}

// Counts tells how many operations were answered and how many are of unknown outcome.
func (h *History) Counts() (answered, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		switch {
		case c.dropped:
		case c.end == forever || c.done:
			unknown++
		default:
			answered++
		}
	}
	return answered, unknown
}

// output is porcupine's view of an answer.
type output struct {
	Answer
	unknown bool
}

// Check returns an error that names a key whose answers no order of operations explains, or a revision that went
// back. Where the checker has not decided within limit, the error says so and wraps ErrUndecided.
func (h *History) Check(limit time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.checkRevisions(); err != nil {
		return err
	}
	perKey := map[string][]porcupine.Operation{}
	for _, c := range h.calls {
		unknown := c.end == forever || c.done
		if c.dropped || unknown && c.op.Kind == Get {
			continue
		}
		perKey[c.op.Key] = append(perKey[c.op.Key], porcupine.Operation{
			ClientId: c.client, Input: c.op, Call: c.begin, Output: output{c.answer, unknown}, Return: c.end,
		})
	}
	keys := make([]string, 0, len(perKey))
	for key := range perKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		switch porcupine.CheckOperationsTimeout(register, perKey[key], limit) {
		case porcupine.Illegal:
			return fmt.Errorf("no order of its %d operations explains what was answered about key %q:\n%s",
				len(perKey[key]), key, describe(perKey[key]))
		case porcupine.Unknown:
			return fmt.Errorf("key %q, %d operations: %w after %v", key, len(perKey[key]), ErrUndecided, limit)
		}
	}
	return nil
}

// ErrUndecided says that the checker ran out of time: nothing is known.
var ErrUndecided = fmt.Errorf("not decided")

// register is one key: its value, or "" where it is absent.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		value, op, got := state.(string), in.(Operation), out.(output)
		switch op.Kind {
		case Get:
			return got.Value == value, value
		case Put:
			return true, op.Value
		case Delete:
			return got.unknown || got.Done == (value != ""), ""
		}
		if value == op.Expect {
			return got.unknown || got.Done, op.Value
		}
		return got.unknown || !got.Done && got.Value == value, value
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v %+v", in, out) },
}

// checkRevisions demands that revisions agree with real time: what begins after something else ended
// answers with no smaller revision, and with a larger one if it wrote.
func (h *History) checkRevisions() error {
	ended := slices.DeleteFunc(slices.Clone(h.calls), func(c *Call) bool {
		return c.dropped || c.done || c.end == forever || c.answer.Revision == 0
	})
	begun := slices.Clone(ended)
	slices.SortFunc(ended, func(a, b *Call) int { return cmp.Compare(a.end, b.end) })
	slices.SortFunc(begun, func(a, b *Call) int { return cmp.Compare(a.begin, b.begin) })
	var latest *Call
	next := 0
	for _, c := range begun {
		for next < len(ended) && ended[next].end < c.begin {
			if latest == nil || ended[next].answer.Revision > latest.answer.Revision {
				latest = ended[next]
			}
			next++
		}
		if latest == nil {
			continue
		}
		if c.answer.Revision < latest.answer.Revision || c.wrote() && c.answer.Revision == latest.answer.Revision {
			return fmt.Errorf("revision went back: %v of key %q answered with revision %d after %v of key %q had ended with revision %d",
				c.op.Kind, c.op.Key, c.answer.Revision, latest.op.Kind, latest.op.Key, latest.answer.Revision)
		}
	}
	return nil
}

func (c *Call) wrote() bool {
	return c.op.Kind == Put || c.op.Kind != Get && c.answer.Done
}

func describe(operations []porcupine.Operation) string {
	sorted := slices.Clone(operations)
	slices.SortFunc(sorted, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	text := ""
	for i, o := range sorted {
		if i == 200 {
			return text + fmt.Sprintf("  … and %d more\n", len(sorted)-i)
		}
		text += fmt.Sprintf("  client %d [%d, %d] %+v → %+v\n", o.ClientId, o.Call, o.Return, o.Input, o.Output)
	}
	return text
}
