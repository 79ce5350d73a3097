package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/cluster"
)

// A bit flips in an entry of a stopped member's log, then in one of a running member's that is killed afterwards; then one of a log's first head, that
// nothing can bring back. Each time the member says what is wrong, comes back by itself with what the others have, and complains no more. The others know it again,
// though its log had to begin anew (E21).
func TestE44DamagedLogIsMendedByItself(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=16384", "--heartbeat-interval=50", "--election-timeout=500"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*repairPatience)
	defer cancel()
	client := dial(t, c.Endpoints()...)
	written := fillKeys(ctx, t, client, 0, 60)
	for round, m := range c.Members {
		switch round {
		case 0:
			m.Kill()
			flipLogged(t, m.Dir, fmt.Sprintf("key%05d", written-5))
		case 1:
			flipLogged(t, m.Dir, fmt.Sprintf("key%05d", written-5))
			written = fillKeys(ctx, t, client, written, 5)
			m.Kill()
		case 2:
			m.Kill()
			flipFirstHead(t, m.Dir)
		}
		written = fillKeys(ctx, t, client, written, 5)
		for _, other := range c.Members {
			if other != m {
				other.Kill()
			}
		}
		launchMember(t, m)
		awaitTrouble(ctx, t, m, balsa.TroubleLog)
		for _, other := range c.Members {
			if other != m {
				launchMember(t, other)
			}
		}
		for _, each := range c.Members {
			awaitSound(ctx, t, each)
		}
		compare(ctx, t, c, written)
		if aside, err := filepath.Glob(filepath.Join(m.Dir, "wal", "*.damaged")); err != nil || len(aside) > 0 {
			t.Errorf("%s has still %v, %v", m.Name, aside, err)
		}
	}
}

func launchMember(t *testing.T, m *cluster.Member) {
	t.Helper()
	if err := m.Launch(); err != nil {
		t.Fatal(err)
	}
}

// awaitTrouble returns once a member complains of something.
func awaitTrouble(ctx context.Context, t *testing.T, m *cluster.Member, kind string) {
	t.Helper()
	for ctx.Err() == nil {
		s, err := statusOf(ctx, m)
		if err == nil && slices.ContainsFunc(s.Troubles, func(t trouble) bool { return t.Kind == kind }) {
			return
		}
		pauseBetweenLooks(ctx)
	}
	log, _ := os.ReadFile(m.Log)
	t.Fatalf("%s never says that its log is damaged:\n%s", m.Name, tail(string(log), 4000))
}

// flipLogged flips a bit of the entry in a member's log that has a text.
func flipLogged(t *testing.T, dataDir, text string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dataDir, "wal", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it was removed meanwhile
		}
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			flipBit(t, name, int64(i)*8+3)
			return
		}
	}
	t.Fatalf("%s is not in the log: %s", text, strings.Join(segments, ", "))
}

// flipFirstHead flips a bit in the head of a log's first segment. What the log began with is nowhere else.
func flipFirstHead(t *testing.T, dataDir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dataDir, "wal", "*.wal"))
	if err != nil || len(segments) == 0 || strings.HasSuffix(segments[0], "0000000000000001.wal") {
		t.Fatalf("the log was never cut: %v, %v", segments, err)
	}
	flipBit(t, segments[0], 60*8)
}
