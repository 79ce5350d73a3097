package balsa

import (
	"os"
	"os/exec"
	"testing"
)

// The examples are modules of their own, so that they see what an embedder sees. Their tests belong to ours.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a module")
	}
	for _, example := range []string{"counter"} {
		test := exec.Command("go", "test", "./...")
		test.Dir = "examples/" + example
		test.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := test.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", example, err, out)
		}
	}
}
