package balsa

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestFlightRecorder(t *testing.T) {
	c, _ := newMemoryTrio(t)
	result := c.propose(0, "hello")
	c.converge()
	var out bytes.Buffer
	if err := c.groups[0].WriteTrace(&out, time.Now().UnixNano()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	seen := map[string]bool{}
	last := int64(0)
	for i, line := range lines {
		var e struct {
			T     int64
			M     MemberID
			E     string
			Index Index
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.M != c.groups[0].Member() {
			t.Fatalf("%s: %v", line, err)
		}
		if i > 0 && e.T < last {
			t.Errorf("%s is out of order", line)
		}
		if i > 0 {
			last = e.T
		}
		if e.E == "applied" && e.Index < result.Index {
			continue
		}
		seen[e.E] = true
	}
	for _, what := range []string{"time of day", "connected", "write", "write durable", "committed", "applied"} {
		if !seen[what] {
			t.Errorf("%q is missing in:\n%s", what, out.String())
		}
	}
}

func TestRecorderKeepsTheLast(t *testing.T) {
	r := newRecorder(3)
	for n := range uint64(5) {
		r.add(event{n: n})
		kept := r.last(10)
		if want := min(int(n)+1, 3); len(kept) != want || kept[want-1].n != n || kept[0].n != n+1-uint64(want) {
			t.Fatalf("after %d events: %v", n+1, kept)
		}
	}
}

func BenchmarkRecorder(b *testing.B) {
	r := newRecorder(1 << 14)
	for n := range b.N {
		r.add(event{what: "committed", n: uint64(n)})
	}
}
