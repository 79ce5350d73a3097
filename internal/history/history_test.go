package history

import (
	"strings"
	"testing"
	"time"
)

// script is a history whose clock ticks with every call.
type script struct {
	*History
	now int64
}

func newScript() *script {
	s := &script{}
	s.History = New(func() int64 { s.now++; return s.now })
	return s
}

func (s *script) do(op Operation, a Answer) { s.Begin(int(s.now), op).End(a) }

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong string // part of the error, "" for none
		run   func(*script)
	}{
		{"reads see the latest write", "", func(s *script) {
			s.do(Operation{Kind: Put, Key: "a", Value: "1"}, Answer{Revision: 2})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Value: "1", Revision: 2})
			s.do(Operation{Kind: Swap, Key: "a", Expect: "1", Value: "2"}, Answer{Done: true, Revision: 3})
			s.do(Operation{Kind: Delete, Key: "a"}, Answer{Done: true, Revision: 4})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Revision: 4})
		}},
		{"a stale read", `about key "a"`, func(s *script) {
			s.do(Operation{Kind: Put, Key: "a", Value: "1"}, Answer{})
			s.do(Operation{Kind: Put, Key: "a", Value: "2"}, Answer{})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Value: "1"})
		}},
		{"a lost write", `about key "a"`, func(s *script) {
			s.do(Operation{Kind: Put, Key: "a", Value: "1"}, Answer{})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{})
		}},
		{"an unknown write may show late, once", "", func(s *script) {
			s.Begin(1, Operation{Kind: Put, Key: "a", Value: "1"})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Value: "1"})
		}},
		{"an unknown write that shows and vanishes", `about key "a"`, func(s *script) {
			s.Begin(1, Operation{Kind: Put, Key: "a", Value: "1"})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Value: "1"})
			s.do(Operation{Kind: Get, Key: "a"}, Answer{})
		}},
		{"a write that was refused and shows", `about key "a"`, func(s *script) {
			s.Begin(1, Operation{Kind: Put, Key: "a", Value: "1"}).NotDone()
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Value: "1"})
		}},
		{"a swap that happened twice", `about key "a"`, func(s *script) {
			s.do(Operation{Kind: Put, Key: "a", Value: "1"}, Answer{})
			s.do(Operation{Kind: Swap, Key: "a", Expect: "1", Value: "2"}, Answer{Done: true})
			s.do(Operation{Kind: Swap, Key: "a", Expect: "1", Value: "3"}, Answer{Done: true})
		}},
		{"a revision that goes back", "revision went back", func(s *script) {
			s.do(Operation{Kind: Get, Key: "a"}, Answer{Revision: 9})
			s.do(Operation{Kind: Get, Key: "b"}, Answer{Revision: 8})
		}},
		{"two writes with one revision", "revision went back", func(s *script) {
			s.do(Operation{Kind: Put, Key: "a", Value: "1"}, Answer{Revision: 9})
			s.do(Operation{Kind: Put, Key: "b", Value: "2"}, Answer{Revision: 9})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript()
			c.run(s)
			err := s.Check(time.Minute)
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("Check: %v, want an error with %q", err, c.wrong)
			}
		})
	}
}
