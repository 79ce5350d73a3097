package actor

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestE42OnlyMonotonicTime: a jump of the wall clock changes nothing, since what decides anything is told the time by
// the scheduler, and the scheduler's clock is the distance from a start that holds a monotonic reading. Nothing else on the floors below
// the server may ask a clock.
//
// Seen to fail with a start that was rounded (which takes the monotonic reading away), and with time.Now in the loop.
func TestE42OnlyMonotonicTime(t *testing.T) {
	if start := NewGoroutines().start.String(); !strings.Contains(start, " m=") {
		t.Errorf("the scheduler's start is %s: no monotonic reading", start)
	}
	asks := regexp.MustCompile(`time\.Now\(|\.Unix(Nano|Milli|Micro)?\(`)
	for _, dir := range []string{"../..", "../../raft", "../../wal", "../../store", "../wire", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || dir == "." && filepath.Base(file) == "goroutines.go" {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if found := asks.Find(source); found != nil {
				t.Errorf("%s asks a clock: %s", file, found)
			}
		}
	}
}
