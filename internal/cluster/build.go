package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build builds the server from this module's source into dir and returns the binary's path. It is for tests and benchmarks, which
// run inside the module.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "balsa")
	output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/balsadb/balsa/cmd/balsa").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, output)
	}
	return binary, nil
}
