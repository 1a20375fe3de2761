package wasm

import (
	"testing"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest"
)

func TestKeepsTheContract(t *testing.T) {
	cache := t.TempDir() // one, so that the program is compiled once
	worker := Command{Path: exectest.Command(t, "github.com/muster-network/muster/jobs/exec/wasm/testdata/worker")}
	exectest.Run(t, func(t testing.TB) exec.Executor {
		return newExecutor(t, Config{Command: worker, Cache: cache})
	}, exectest.Fixtures{
		Program: exectest.Guest(t),
		Invalid: []byte("not a module"),
		Memory:  24 << 20,
	})
}
