package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// build makes the program with all mutants in it, in dir, and returns its path.
func build(ctx context.Context, dir string, all []mutant) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	files, err := compose(root, all)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	overlay, err := writeOverlay(root, dir, files)
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "balsa")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", program, "./cmd/balsa")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building with the mutants: %w\n%s", err, out)
	}
	return program, nil
}

// moduleRoot is where the sources are.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/balsadb/balsa").Output()
	if err != nil {
		return "", fmt.Errorf("finding the sources (call this from within them): %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// sourcesOf says which commit the sources are of, and whether they have changed since; "" where nobody knows.
func sourcesOf(ctx context.Context) string {
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return ""
	}
	name := string(bytes.TrimSpace(commit))
	if changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", ":/*.go").Output(); err != nil || len(changed) > 0 {
		name += " with changes"
	}
	return name
}
