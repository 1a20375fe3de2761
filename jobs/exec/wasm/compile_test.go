package wasm

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

func TestAWorkerThatCompilesHasALimitOfData(t *testing.T) {
	e := newExecutor(t, Config{})
	p, err := e.start(true)
	if err != nil {
		t.Fatal(err)
	}
	defer e.discard(p)
	if err := p.greeted(); err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(limits), "Max data size")
	var soft int64
	if _, err := fmt.Sscan(line, &soft); err != nil || soft < compileData || soft > 2*compileData {
		t.Errorf("limit of data %d (%v) in\n%s", soft, err, limits)
	}
}

func TestAModuleThatTakesTooMuchToCompileIsThisMachinesFaultAndOnlyItsOwn(t *testing.T) {
	e := newExecutor(t, Config{})
	e.compileData = 64 << 20
	p := asm.Hello()
	p.Code = asm.Join(p.Code, bytes.Repeat(asm.Join(asm.Const(1), asm.Drop), 1_000_000))
	if res := run(t, e, request(p.Module())); res.Kind != exec.Broken {
		t.Errorf("ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	if res := run(t, e, request(asm.Hello().Module())); res.Kind != exec.Exited {
		t.Errorf("afterwards: ended as %v (%s)", res.Kind, res.Reason)
	}
}
