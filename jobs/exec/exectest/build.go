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
	module, err := os.ReadFile(build(t, pkg, "GOOS=wasip1", "GOARCH=wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// Command compiles a command, named by its import path, for this machine and
// without the race detector, which slows an executor's own processes down far
// more than a suite can wait for. It returns the file.
func Command(t testing.TB, pkg string) string {
	t.Helper()
	return build(t, pkg)
}

func build(t testing.TB, pkg string, env ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", pkg, err, out)
	}
	return file
}
