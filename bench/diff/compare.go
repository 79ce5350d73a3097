package diff

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pair is the two sides.
type pair struct{ reference, peer *side }

// difference is where two sides part.
type difference struct {
	stream []call // the last one is answered differently
	want   answer // the reference's
	got    answer
}

func (p pair) describe(d *difference) string {
	var b strings.Builder
	fmt.Fprintf(&b, "    %s: %s\n    %s: %s\n", p.reference.name, d.want, p.peer.name, d.got)
	for _, c := range d.stream {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

// noAnswer reports that a side did not get to answer: the machine is too busy for its timeouts, or it hangs.
func noAnswer(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
}

// patiently does something again, a few times, where a side did not get to answer: only one that never does is at fault.
func patiently(do func() error) error {
	var err error
	for range 4 {
		if err = do(); !noAnswer(err) {
			return err
		}
	}
	return err
}

// run resets both sides, makes the stream's calls one after the other on both at once, and returns the first difference,
// nil where there is none. An error means that a side could not be asked at all.
func (p pair) run(ctx context.Context, stream []call) (d *difference, err error) {
	err = patiently(func() (err error) {
		d, err = p.runOnce(ctx, stream)
		return err
	})
	return d, err
}

func (p pair) runOnce(ctx context.Context, stream []call) (*difference, error) {
	if err := p.both(func(s *side, _ *answer) error { return s.reset(ctx) }, new(answer), new(answer)); err != nil {
		return nil, err
	}
	for i, c := range stream {
		var want, got answer
		err := p.both(func(s *side, a *answer) (err error) {
			*a, err = s.do(ctx, c)
			return err
		}, &want, &got)
		if err != nil {
			return nil, fmt.Errorf("call %d, %v: %w", i+1, c, err)
		}
		if want != got {
			return &difference{stream[:i+1], want, got}, nil
		}
	}
	return nil, nil
}

func (p pair) both(do func(*side, *answer) error, want, got *answer) error {
	var group sync.WaitGroup
	var err error
	group.Go(func() { err = do(p.peer, got) })
	if err := do(p.reference, want); err != nil {
		group.Wait()
		return err
	}
	group.Wait()
	return err
}
