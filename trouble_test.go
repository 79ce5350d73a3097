package balsa

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// changes notes what an observer is told of troubles.
type changes struct {
	NoObserver
	told []string
}

func (c *changes) TroubleChanged(t Trouble, stands bool) {
	c.told = append(c.told, fmt.Sprint(t.Kind, " ", t.Group, " ", stands))
}

func TestTroublesStandUntilTheyAreOver(t *testing.T) {
	var log strings.Builder
	observer, clock := &changes{}, &stoppedClock{now: 5}
	h := &Host{scheduler: clock, config: HostConfig{Logger: slog.New(slog.NewTextHandler(&log, nil)), Observer: observer}}
	full := Trouble{Kind: TroubleDiskFull, Text: "full", Remedy: "make room"}
	behind := Trouble{Kind: TroubleSnapshot, Group: 7, Text: "behind", Remedy: "upgrade", Warning: true}

	h.SetTrouble(full)
	clock.now = clock.now.Add(time.Minute)
	h.SetTrouble(full) // it still stands
	h.SetTrouble(behind)
	full.Since, full.For, behind.Since = 5, time.Minute, 5+60e9
	if list := h.Troubles(); !slices.Equal(list, []Trouble{full, behind}) {
		t.Errorf("the troubles are %+v", list)
	}
	behind.Text = "further behind"
	h.SetTrouble(behind)
	h.ClearTrouble(TroubleDiskFull, 0)
	h.ClearTrouble(TroubleDiskFull, 0)
	if list := h.Troubles(); !slices.Equal(list, []Trouble{behind}) {
		t.Errorf("the troubles are %+v", list)
	}
	h.clearTroubles(7)
	if list := h.Troubles(); len(list) != 0 {
		t.Errorf("the troubles are %+v", list)
	}
	if want := []string{"disk-full 0 true", "snapshot 7 true", "disk-full 0 false", "snapshot 7 false"}; !slices.Equal(observer.told, want) {
		t.Errorf("the observer was told %v, not %v", observer.told, want)
	}
	levels := []string{"ERROR", "WARN", "WARN", "INFO", "INFO"}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for i, line := range lines {
		if len(lines) != len(levels) || !strings.Contains(line, "level="+levels[i]) {
			t.Fatalf("the log should have lines at %v and is:\n%s", levels, log.String())
		}
	}
}

type stoppedClock struct {
	actor.Scheduler
	now actor.Instant
}

func (c *stoppedClock) Now() actor.Instant { return c.now }
