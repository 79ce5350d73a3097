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
