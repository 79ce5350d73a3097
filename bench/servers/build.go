// Package servers builds and starts the servers that are compared, as real processes with the same command line, and
// reads what they have cost: processor time from the kernel, memory likewise, syncs from their own counters.
package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kind is a server that takes part.
type Kind string

// The servers.
const (
	Etcd  Kind = "etcd"  // the reference, from its published module
	Balsa Kind = "balsa" // this repository
)

// Build builds a server and returns its binary. Both are built alike, in the way that both are released: without cgo.
// What is up to date is not built again.
func Build(ctx context.Context, kind Kind) (string, error) {
	bench, err := moduleDir(ctx, "github.com/balsadb/balsa/bench")
	if err != nil {
		return "", err
	}
	source, pkg := filepath.Join(bench, "reference"), "."
	switch kind {
	case Etcd:
	case Balsa:
		if source, err = moduleDir(ctx, "github.com/balsadb/balsa"); err != nil {
			return "", err
		}
		pkg = "./cmd/balsa"
	default:
		return "", fmt.Errorf("no server is called %q: there are %s and %s", kind, Etcd, Balsa)
	}
	binary := filepath.Join(bench, ".bin", string(kind))
	build := exec.CommandContext(ctx, "go", "build", "-C", source, "-trimpath", "-o", binary, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", kind, err, output)
	}
	return binary, nil
}

func moduleDir(ctx context.Context, module string) (string, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("where is %s? Run this from bench or below it: %w", module, err)
	}
	return strings.TrimSpace(string(dir)), nil
}
