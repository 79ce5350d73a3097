package raft

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestImports enforces what this package may know: nothing of clocks, goroutines, files, sockets or randomness that it
// was not handed. Of package time it may use the type Duration and its units, nothing that asks a clock.
func TestImports(t *testing.T) {
	allowed := map[string]bool{
		"encoding/binary": true, "errors": true, "fmt": true, "hash/crc32": true, "math": true, "slices": true, "sort": true, "time": true,
	}
	clocks := []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.Tick", "time.NewT"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); !allowed[path] {
				t.Errorf("%s imports %s: the protocol is a pure function of its inputs", name, path)
			}
		}
		for _, forbidden := range append(clocks, "\tgo ", "range map", "sync.", "select {") {
			if strings.Contains(string(source), forbidden) {
				t.Errorf("%s has %q", name, forbidden)
			}
		}
		for number, line := range strings.Split(string(source), "\n") {
			if strings.Contains(line, "map[") {
				t.Errorf("%s:%d has a map, whose order could show: %s", name, number+1, strings.TrimSpace(line))
			}
		}
		if lines := strings.Count(string(source), "\n"); lines > 500 {
			t.Errorf("%s has %d lines: one idea a file", name, lines)
		}
	}
}
