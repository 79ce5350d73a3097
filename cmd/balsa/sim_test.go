package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balsadb/balsa/sim"
)

// simOutput runs balsa sim and returns what it printed.
func simOutput(t *testing.T, wantError bool, args ...string) string {
	t.Helper()
	cmd := simCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(t.Context()); (err != nil) != wantError {
		t.Fatalf("balsa sim %v: %v\n%s", args, err, out.String())
	}
	return out.String()
}

func TestSimCampaign(t *testing.T) {
	text := simOutput(t, false, "--first", "1", "--seeds", "2", "--jobs", "2")
	for _, want := range []string{"violations: 0", "elections", "torn tails", "simulated hours"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not tell of %s:\n%s", want, text)
		}
	}
	var report struct {
		Runs       int               `json:"runs"`
		Counters   map[string]uint64 `json:"counters"`
		Violations []any             `json:"violations"`
	}
	if err := json.Unmarshal([]byte(simOutput(t, false, "--first", "1", "--seeds", "2", "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Runs != 2 || report.Counters["operations acknowledged"] == 0 || report.Violations == nil {
		t.Errorf("%+v", report)
	}
}

// TestSimTrace: the trace is JSON lines in the order of time, and writing it does not change the run.
func TestSimTrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.jsonl")
	with := simOutput(t, false, "--seed", "11", "--trace", file)
	if without := simOutput(t, false, "--seed", "11"); with != without {
		t.Errorf("with a trace:\n%s\nwithout:\n%s", with, without)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, last := 0, int64(0)
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for ; scanner.Scan(); lines++ {
		var event struct {
			Time int64  `json:"t"`
			Who  string `json:"a"`
			What string `json:"e"`
		}
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil || event.Time < last || event.Who == "" || event.What == "" {
			t.Fatalf("line %d: %s: %v", lines+1, scanner.Text(), err)
		}
		last = event.Time
	}
	if scanner.Err() != nil || lines < 10_000 {
		t.Errorf("%d lines, %v", lines, scanner.Err())
	}
}

func TestSimRefusesWhatMakesNoSense(t *testing.T) {
	for _, args := range [][]string{{"-o", "xml"}, {"--drop", "3"}, {"--trace", "x"}, {"--seed", "1", "--first", "2"}, {"--without", "nonsense"},
		{"--twice"}, {"--seed", "1", "--twice"}, {"--seeds", "2", "--with", "x"}, {"--seeds", "2", "--backwards"}} {
		simOutput(t, true, args...)
	}
}

// TestSimTwice runs seeds here and in a process of their own.
func TestSimTwice(t *testing.T) {
	t.Setenv(playVariable, "1")
	text := simOutput(t, false, "--first", "1", "--seeds", "3", "--twice", "--without", "clock")
	if !strings.Contains(text, "3 seeds run twice, 0 gave another trace") {
		t.Error(text)
	}
}

// TestSimTwiceTellsOfDifferences: it names the seed, says how to go on, and ends with an error.
func TestSimTwiceTellsOfDifferences(t *testing.T) {
	first := []sim.Fingerprint{{Seed: 7, Hash: 1, Steps: 10}, {Seed: 8, Hash: 2, Steps: 20}}
	second := []sim.Fingerprint{{Seed: 7, Hash: 1, Steps: 10}, {Seed: 8, Hash: 3, Steps: 20}}
	var out bytes.Buffer
	err := compareRuns(&out, first, second, []string{"disk"}, 0)
	if code := exitCode(0); !errors.As(err, &code) || code != exitError {
		t.Errorf("it ends with %v", err)
	}
	for _, want := range []string{"seed 8: 20 steps", "balsa sim --seed 8 --without 'disk' --trace a.jsonl", "2 seeds run twice, 1 gave another trace"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if err := compareRuns(&out, first, first, nil, 0); err != nil {
		t.Errorf("equal runs: %v", err)
	}
	if err := compareRuns(&out, first, first, nil, 1); err == nil {
		t.Error("a violation passes")
	}
}
