package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestComposes checks that the original of each mutant still occurs in the sources, once, and that what it is replaced by is Go.
func TestComposes(t *testing.T) {
	all := listMutants(t)
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files, err := compose(root, all)
	if err != nil {
		t.Fatal(err)
	}
	text := string(bytes.Join(slices.Collect(maps.Values(files)), nil))
	for _, m := range all {
		if planted := strings.Count(text, `plantedMutant == "`+m.name+`"`); planted != len(m.places) {
			t.Errorf("%s is planted in %d places, it has %d", m.name, planted, len(m.places))
		}
	}
}

// TestSourcesHaveNoMutants: what is built without the overlay has none of it.
func TestSourcesHaveNoMutants(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range listMutants(t) {
		for _, p := range m.places {
			if text := readSource(t, root, p.file); strings.Contains(text, switchVariable) || strings.Contains(text, "plantedMutant") {
				t.Errorf("%s has mutants in it", p.file)
			}
		}
	}
}

func TestPlaces(t *testing.T) {
	s := source{lines: []string{"a", "b", "c", "a", "b"}, places: map[int]*planted{}}
	for _, c := range []struct{ original, problem string }{
		{"a\nb", "both begin"},
		{"d", "not there"},
		{"c\na", ""},
		{"c\na", ""}, // another one at the same place
		{"b\nc", "shares some of its lines"},
	} {
		err := s.plant("m", place{original: strings.Split(c.original, "\n"), mutated: []string{"x"}})
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%q: %v, want a problem like %q", c.original, err, c.problem)
		}
	}
}

func listMutants(t *testing.T) []mutant {
	t.Helper()
	all, err := mutants()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clip(all)
}
func readSource(t *testing.T, root, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
