package determinism

import (
	"path/filepath"
	"strings"
)

const module = "github.com/balsadb/balsa"

// scope is one package whose code must be deterministic, and the files of it that are the edge instead.
type scope struct {
	pkg   string
	why   string
	edges map[string]string // file name → why it is exempt
}

// scopes is the whole configuration: a package that is not here is not looked at.
var scopes = []scope{
	{pkg: module, why: "the runtime's actors run in the simulator"},
	{pkg: module + "/raft", why: "the protocol is a pure function of its inputs"},
	{pkg: module + "/wal", why: "the log writer is an actor"},
	{pkg: module + "/snapshot", why: "the snapshot worker is an actor"},
	{pkg: module + "/internal/wire", why: "what is sent is part of the trace"},
	{pkg: module + "/internal/actor", why: "actors must not be able to tell the scheduler",
		edges: map[string]string{"goroutines.go": "the production scheduler is the one place that has goroutines and a clock"}},
	{pkg: module + "/engine", why: "the in-memory engine runs in the simulator"},
	{pkg: module + "/store", why: "an apply gives the same result on every replica"},
	{pkg: module + "/sim", why: "a seed replays exactly"},
}

// scopeOf returns the rules for a package, or nil where none apply.
func scopeOf(pkg string) *scope {
	// A package's external tests and its test variants ("p [p.test]") are judged by the package's name alone.
	pkg, _, _ = strings.Cut(pkg, " ")
	for i := range scopes {
		if scopes[i].pkg == pkg {
			return &scopes[i]
		}
	}
	return nil
}

// covers reports whether a file of the package is looked at: tests and edges are not.
func (s *scope) covers(file string) bool {
	name := filepath.Base(file)
	_, edge := s.edges[name]
	return !edge && !strings.HasSuffix(name, "_test.go")
}
