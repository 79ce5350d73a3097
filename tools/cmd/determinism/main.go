// Command determinism reports code that would make a replay differ: see package determinism for the rules.
//
//	go build -C tools -o /tmp/determinism ./cmd/determinism && /tmp/determinism ./...
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/balsadb/balsa/tools/determinism"
)

func main() { singlechecker.Main(determinism.Analyzer) }
