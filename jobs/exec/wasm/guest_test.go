package wasm

import (
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

func TestEveryTrapHasItsNumber(t *testing.T) {
	e := newExecutor(t, Config{})
	recursion := asm.Program{Pages: 1, Code: asm.Call(0)}
	for _, c := range []struct {
		name    string
		program asm.Program
		code    int32
	}{
		{"unreachable", asm.Program{Code: []byte{asm.Unreachable}}, TrapUnreachable},
		{"division by zero", asm.Program{Code: asm.Join(asm.Const(1), asm.Const(0), 0x6d, asm.Drop)}, TrapDivideByZero},
		{"smallest number by -1", asm.Program{Code: asm.Join(asm.Const(-1<<31), asm.Const(-1), 0x6d, asm.Drop)}, TrapIntegerOverflow},
		{"float to integer", asm.Program{Code: asm.Join(0x43, 0, 0, 0xc0, 0x7f, 0xa8, asm.Drop)}, TrapInvalidConversion},
		{"load past the end", asm.Program{Code: asm.Join(asm.Const(1<<20), asm.Load(0), asm.Drop)}, TrapMemoryAccess},
		{"call past the table", asm.Program{
			Code:  asm.Join(asm.Const(5), 0x11, 0, 0),
			Extra: map[byte][]byte{sectionTable: {1, typeFuncRef, 0, 1}},
		}, TrapTableAccess},
		{"endless recursion", recursion, TrapStackOverflow},
		{"nonsense to a host function", asm.Program{
			Imports: []asm.Import{asm.WASI("poll_oneoff", 4)},
			Code:    asm.Join(asm.Const(0), asm.Const(0), asm.Const(0x10000000), asm.Const(0), asm.Call(0), asm.Drop),
		}, TrapHostCall},
		{"a body that does not type-check", asm.Program{Code: []byte{asm.Add}}, TrapInvalidModule},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.program.Pages = 1
			res := run(t, e, request(c.program.Module()))
			if res.Kind != exec.Trapped || res.Code != c.code {
				t.Errorf("ended as %v %d (%s), want trap %d", res.Kind, res.Code, res.Reason, c.code)
			}
			if strings.Contains(res.Reason, "\n") {
				t.Errorf("reason of more than a line: %s", res.Reason)
			}
		})
	}
}

func TestWhatAModuleCallsItsFunctionsIsNothingToTheNumberOfItsTrap(t *testing.T) {
	e := newExecutor(t, Config{})
	for _, name := range []string{recovered, "x\n" + recovered + "\nwasm stack trace:", "unreachable"} {
		for code, body := range map[int32][]byte{
			TrapUnreachable:  {asm.Unreachable},
			TrapDivideByZero: asm.Join(asm.Const(1), asm.Const(0), 0x6d, asm.Drop),
		} {
			names := asm.Join(1, 0, asm.U(uint64(len(name))), []byte(name)) // one function, the first
			section := asm.Join(4, []byte("name"), 1, asm.U(uint64(len(names))), names)
			module := asm.Join(asm.Program{Pages: 1, Code: body}.Module(), 0, asm.U(uint64(len(section))), section)
			res := run(t, e, request(module))
			if res.Kind != exec.Trapped || res.Code != code {
				t.Errorf("by the name %q: ended as %v %d (%s), want trap %d", name, res.Kind, res.Code, res.Reason, code)
			}
		}
	}
}

func TestOutputBeforeATrapIsKept(t *testing.T) {
	p := asm.Hello()
	p.Code = append(p.Code, asm.Unreachable)
	res := run(t, newExecutor(t, Config{}), request(p.Module(), "Ada"))
	if res.Kind != exec.Trapped || string(res.Stdout) != "Hello, Ada\n" {
		t.Errorf("%v, stdout %q", res.Kind, res.Stdout)
	}
}

func TestMemoryThatDoesNotFitAtTheStartIsALimit(t *testing.T) {
	e := newExecutor(t, Config{})
	req := request(asm.Program{Pages: 16}.Module())
	req.Memory = 16 * pageSize
	if res := run(t, e, req); res.Kind != exec.Exited {
		t.Errorf("exact: ended as %v (%s)", res.Kind, res.Reason)
	}
	req.Inputs = []exec.File{{Path: "x"}}
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("with an input: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	req.Inputs = []exec.File{{Path: "x", Data: make([]byte, req.Memory)}}
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("with an input that fits by no means: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	req.Inputs, req.Memory = nil, req.Memory-1
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("a byte less: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
}

// grow exits with 0 when memory.grow by so many pages gives what was there
// before, and with 1 when it is refused.
func grow(pages int32) []byte {
	exit := asm.Import{Module: wasi, Name: "proc_exit", Params: []byte{asm.I32}}
	return asm.Program{
		Imports: []asm.Import{exit}, Pages: 1,
		Code: asm.Join(asm.Const(pages), 0x40, 0, asm.Const(-1), 0x46, asm.Call(0)),
	}.Module()
}

func TestGrowingMemoryBeyondTheLimitIsRefusedToTheProgram(t *testing.T) {
	e := newExecutor(t, Config{})
	for pages, code := range map[int32]int32{9: 0, 10: 1, 65535: 1, -1: 1} {
		req := request(grow(pages))
		req.Memory = 10 * pageSize
		if res := run(t, e, req); res.Kind != exec.Exited || res.Code != code {
			t.Errorf("%d pages: ended as %v %d (%s), want exit %d", pages, res.Kind, res.Code, res.Reason, code)
		}
	}
}

func TestDescriptorsCannotBeMovedFarAway(t *testing.T) {
	exit := asm.Import{Module: wasi, Name: "proc_exit", Params: []byte{asm.I32}}
	p := asm.Program{
		Imports: []asm.Import{asm.WASI("fd_renumber", 2), exit}, Pages: 1,
		Code: asm.Join(asm.Const(1), asm.Const(1<<30), asm.Call(0), asm.Call(1)),
	}
	if res := run(t, newExecutor(t, Config{}), request(p.Module())); res.Kind != exec.Exited || res.Code != errnoNosys {
		t.Errorf("ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
}

// loop prints a greeting and never ends.
func loop() []byte {
	p := asm.Hello()
	p.Code = asm.Join(p.Code, 0x03, 0x40, 0x0c, 0, 0x0b)
	return p.Module()
}

// slow prints a greeting and ends when it has counted to 2^30, which takes far
// longer than killing it.
func slow() []byte {
	const counter = 0
	p := asm.Hello()
	p.Code = asm.Join(p.Code, asm.Const(0), asm.Set(counter), 0x03, 0x40,
		asm.Get(counter), asm.Const(1), asm.Add, 0x22, counter, // local.tee
		asm.Const(1<<30), 0x47, 0x0d, 0, 0x0b)
	return p.Module()
}

// writer hands each write to a function.
type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestARequestThatCannotBeIsRefused(t *testing.T) {
	e := newExecutor(t, Config{})
	for name, change := range map[string]func(*exec.Request){
		"no memory":        func(r *exec.Request) { r.Memory = 0 },
		"too much memory":  func(r *exec.Request) { r.Memory = 1 << 40 },
		"input outside":    func(r *exec.Request) { r.Inputs = []exec.File{{Path: "../x"}} },
		"absolute input":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "/x"}} },
		"repeated input":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "x"}, {Path: "x"}} },
		"file in a file":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "x"}, {Path: "x/y"}} },
		"output outside":   func(r *exec.Request) { r.Outputs = []string{"../x"} },
		"unclean output":   func(r *exec.Request) { r.Outputs = []string{"a//b"} },
		"negative timeout": func(r *exec.Request) { r.Timeout = -1 },
	} {
		req := request(asm.Hello().Module())
		change(&req)
		if res := run(t, e, req); res.Kind != exec.Broken {
			t.Errorf("%s: ended as %v", name, res.Kind)
		}
	}
}
