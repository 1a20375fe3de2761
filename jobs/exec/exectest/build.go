package exectest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Guest compiles the program of package guest for WASI preview 1.
func Guest(t testing.TB) []byte {
	t.Helper()
	return Build(t, "github.com/muster-network/muster/jobs/exec/exectest/guest")
}

// Build compiles a command, named by its import path, for WASI preview 1. The
// first time takes some seconds; later ones come from Go's build cache.
func Build(t testing.TB, pkg string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", pkg, err, out)
	}
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return module
}
