package main

import (
	"path"
	"strings"
	"testing"
	"time"
)

// TestQuickestAreCaught hunts the mutants that few seeds catch; `go run ./sim/mutants` hunts all of them.
func TestQuickestAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	all := listMutants(t)
	program, err := build(t.Context(), t.TempDir(), all)
	if err != nil {
		t.Fatal(err)
	}
	h := hunt{program: program, first: 1, seeds: 60, limit: time.Minute}
	quick := 0
	for _, m := range all {
		if !m.quick {
			continue
		}
		quick++
		if o := h.mutant(t.Context(), m); o.Caught {
			t.Logf("%s: %d seeds, %s", m.name, o.Seeds, o.by())
		} else {
			t.Errorf("%s survived %d seeds: %s", m.name, o.Seeds, o.by())
		}
	}
	if quick != 10 {
		t.Errorf("%d mutants are marked as quick, ten should be", quick)
	}
}

// TestList: there are enough mutants, and a third of them are outside the protocol.
func TestList(t *testing.T) {
	all := listMutants(t)
	outside := 0
	for _, m := range all {
		if path.Dir(m.file) != "raft" {
			outside++
		}
	}
	if len(all) < 30 || 3*outside < len(all) {
		t.Errorf("%d mutants, %d of them outside raft", len(all), outside)
	}
}

// TestTrackRecord: the table in docs has a row for each mutant, and for no other.
func TestTrackRecord(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(readSource(t, root, "docs/track-record/mutants.md")) {
		if cells := strings.Split(line, "|"); len(cells) == 8 {
			rows[strings.TrimSpace(cells[1])] = true
		}
	}
	delete(rows, "mutant")
	delete(rows, "---")
	for _, m := range listMutants(t) {
		if !rows[m.name] {
			t.Errorf("%s has no row in docs/track-record/mutants.md", m.name)
		}
		delete(rows, m.name)
	}
	for name := range rows {
		t.Errorf("docs/track-record/mutants.md tells of %s, which is not in the list", name)
	}
}

// TestPage: a table takes the place of the one before, and a page without a place for one is left alone.
func TestPage(t *testing.T) {
	r := report{Commit: "abc", First: 7, Jobs: 2, Seconds: 90}
	r.add(outcome{Name: "b", File: "raft/log.go", Why: "why", Caught: true, Seeds: 3, Seconds: 1.5, Invariant: "liveness"})
	r.add(outcome{Name: "a", File: "wal/log.go", Why: "why not"})
	page := "before\n" + tableBegins + "\nan old table\n" + tableEnds + "\nafter\n"
	want := "before\n" + tableBegins + "\n2 mutants, 1 of them outside `raft`: 1 caught, 1 survived. One call (commit abc, seeds from 7 on), 1.5 minutes with 2 at once.\n\n" +
		"| mutant | in | why it is dangerous | seeds | seconds | caught by |\n|---|---|---|---:|---:|---|\n" +
		"| a | `wal/log.go` | why not | 0 | 0.0 | NOBODY |\n| b | `raft/log.go` | why | 3 | 1.5 | liveness |\n\n" + tableEnds + "\nafter\n"
	for range 2 { // the second time it replaces itself
		got, err := r.insert(page)
		if err != nil || got != want {
			t.Fatalf("%v\n%s", err, got)
		}
		page = got
	}
	if _, err := r.insert("no marks\n"); err == nil {
		t.Error("a page without a place is taken")
	}
}
