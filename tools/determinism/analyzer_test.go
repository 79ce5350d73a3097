package determinism_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/balsadb/balsa/tools/determinism"
)

// Each package under testdata/src says in "want" comments what must be reported, and by their absence what must not.
func TestAnalyzer(t *testing.T) {
	for pkg, shows := range map[string]string{
		"github.com/balsadb/balsa/raft":           "every rule, what is allowed, and both directives",
		"github.com/balsadb/balsa/internal/actor": "a file that the table names as an edge is not looked at",
		"github.com/balsadb/balsa/server":         "a package outside the table is not looked at",
	} {
		t.Run(pkg, func(t *testing.T) {
			t.Log("shows:", shows)
			analysistest.Run(t, analysistest.TestData(), determinism.Analyzer, pkg)
		})
	}
}
