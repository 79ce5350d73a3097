package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLogLinesHaveEtcdsShape(t *testing.T) {
	var out strings.Builder
	logger := slog.New(newLogHandler(&out, slog.LevelInfo, false))
	logger.Debug("below the level")
	logger.Info(`a "quoted" message`)
	logger.With("member", "m1").WithGroup("g").Warn("three attributes", "took", 1500*time.Millisecond, "error", errors.New("no"), "msg", "x")

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q", out.String())
	}
	shape := regexp.MustCompile(`^\{"level":"info","ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","caller":"balsa/log_test\.go:\d+","msg":"a \\"quoted\\" message"\}$`)
	if !shape.MatchString(lines[0]) {
		t.Errorf("got %s", lines[0])
	}
	var second struct {
		Level, Msg, Member string
		G                  struct{ Took, Error, Msg string }
	}
	if err := json.Unmarshal([]byte(lines[1]), &second); err != nil {
		t.Fatalf("%s: %v", lines[1], err)
	}
	if second.Level != "warn" || second.Member != "m1" || second.G.Took != "1.5s" || second.G.Error != "no" || second.G.Msg != "x" {
		t.Errorf("got %s", lines[1])
	}
}

func TestLogConsole(t *testing.T) {
	var out strings.Builder
	slog.New(newLogHandler(&out, slog.LevelDebug, true)).Debug("hello", "n", 1)
	if fields := strings.Split(strings.TrimSpace(out.String()), "\t"); len(fields) != 5 || fields[1] != "debug" || fields[3] != "hello" || fields[4] != `{"n":1}` {
		t.Errorf("got %q", out.String())
	}
}

func TestLogOutputs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	logger, closeLog, err := openLog([]string{file, file}, "error", "json")
	if err != nil {
		t.Fatal(err)
	}
	logger.Warn("not this")
	logger.Error("this")
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); strings.Count(string(text), `"msg":"this"`) != 2 || strings.Contains(string(text), "not this") {
		t.Errorf("got %s", text)
	}
	if _, _, err := openLog([]string{filepath.Join(file, "below a file")}, "info", "json"); err == nil || !strings.Contains(err.Error(), "--log-outputs: ") {
		t.Errorf("an output that cannot be: %v", err)
	}
}
