package sim

import (
	"fmt"
	"hash/fnv"

	"github.com/balsadb/balsa"
)

// ledger is the simplest durable state machine: it remembers every command, in order. Its disk holds what it had at
// the last flush.
type ledger struct {
	page
	durable page
}

type page struct {
	lines   []string
	applied balsa.Position
}

func newLedger() (State, error) { return &ledger{}, nil }

func (l *ledger) Apply(batch *balsa.Batch) error {
	for i := range batch.Commands {
		c := &batch.Commands[i]
		l.lines = append(l.lines, string(c.Payload))
		c.Result = fmt.Appendf(nil, "line %d", len(l.lines))
	}
	l.applied = batch.Position
	return nil
}

func (l *ledger) Applied() (balsa.Position, error) { return l.applied, nil }
func (l *ledger) Durable() (balsa.Position, error) { return l.durable.applied, nil }

func (l *ledger) Flush() error {
	l.durable = page{lines: l.lines[:len(l.lines):len(l.lines)], applied: l.applied}
	return nil
}

func (l *ledger) PowerCut() (State, error) { return &ledger{page: l.durable, durable: l.durable}, nil }

func (l *ledger) Digest() string {
	sum := fnv.New64a()
	for _, line := range l.lines {
		fmt.Fprintln(sum, line)
	}
	return fmt.Sprintf("%d lines, %x", len(l.lines), sum.Sum64())
}

// has returns the number of times that a line is in the ledger.
func (l *ledger) has(line string) (times int) {
	for _, have := range l.lines {
		if have == line {
			times++
		}
	}
	return times
}
