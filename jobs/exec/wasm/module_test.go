package wasm

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

func spoil(t *testing.T, cache string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no compiled code in %s: %v", cache, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(f, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotRunIsRefusedWithAReason(t *testing.T) {
	e := newExecutor(t, Config{})
	hello := asm.Hello()
	with := func(change func(*asm.Program)) []byte {
		p := asm.Hello()
		change(&p)
		return p.Module()
	}
	valid := hello.Module()
	for _, c := range []struct {
		name   string
		module []byte
		reason string
	}{
		{"nothing", nil, "not a WebAssembly module"},
		{"text", []byte("#!/bin/sh\necho hello\n"), "not a WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "not a WebAssembly module"},
		{"cut short", valid[:len(valid)-3], "ends in the middle"},
		{"library", with(func(p *asm.Program) { p.Start = "run" }), `"_start"`},
		{"unknown module", with(func(p *asm.Program) { p.Imports[0].Module = "env" }), `"env"."args_sizes_get" is unknown`},
		{"name that would fill the memory of who remembers it", with(func(p *asm.Program) {
			p.Imports[0].Name = strings.Repeat("x", 1<<20)
		}), "too long"},
		{"unknown function", with(func(p *asm.Program) { p.Imports[0].Name = "fork" }), `"fork" is unknown`},
		{"long signature", with(func(p *asm.Program) { p.Imports[0].Params = bytes.Repeat([]byte{asm.I32}, 1000) }), "i32 ...) i32, want"},
		{"wrong signature", with(func(p *asm.Program) { p.Imports[0].Params = nil }), "want (i32 i32) i32"},
		{"shared memory", with(func(p *asm.Program) { p.Extra = map[byte][]byte{sectionMemory: {1, 3, 1, 2}} }), "threads"},
		{"imported memory", with(func(p *asm.Program) {
			p.Extra = map[byte][]byte{sectionImport: []byte("\x01\x03env\x06memory\x02\x00\x01")}
		}), "threads"},
		{"two memories", with(func(p *asm.Program) { p.Extra = map[byte][]byte{sectionMemory: {2, 0, 1, 0, 1}} }), "more than one memory"},
		{"atomic instruction", with(func(p *asm.Program) { p.Code = []byte{0xfe, 0x03, 0x00} }), "0xfe"},
		{"exception", with(func(p *asm.Program) { p.Code = []byte{0x08, 0x00} }), "0x8"},
		{"huge table", with(func(p *asm.Program) {
			p.Extra = map[byte][]byte{sectionTable: asm.Join(1, typeFuncRef, 0, asm.U(1<<21))}
		}), "table"},
		{"growing table", with(func(p *asm.Program) {
			p.Extra = map[byte][]byte{sectionTable: {1, typeFuncRef, 0, 1}}
			p.Code = asm.Join(0xd0, typeFuncRef, asm.Const(1), 0xfc, 15, 0, asm.Drop)
		}), "table.grow"},
		// The engine checks one length of a type of references, and compiles another.
		{"select of a reference to a type", with(func(p *asm.Program) {
			p.Code = asm.Join(0xd0, typeFuncRef, 0xd0, typeFuncRef, asm.Const(1), 0x1c, 1, 0x63, 0x00, asm.Drop)
		}), "type 0x63"},
		{"select of a reference that is not null", with(func(p *asm.Program) { p.Code = asm.Join(0x1c, 1, 0x64, 0x70) }), "type 0x64"},
		{"select of two", with(func(p *asm.Program) { p.Code = asm.Join(0x1c, 2, 0x7f, 0x7f) }), "select of 2"},
		{"block of a reference to a type", with(func(p *asm.Program) { p.Code = asm.Join(0x02, 0x63, 0x1c, 0x0b) }), "type 0x63"},
		{"block of a negative type at length", with(func(p *asm.Program) { p.Code = asm.Join(0x02, 0xe3, 0x7f, 0x0b) }), "not known"},
		{"null of a type", with(func(p *asm.Program) { p.Code = asm.Join(0xd0, 0x00, asm.Drop) }), "null of type"},
		{"growing table behind a vector", with(func(p *asm.Program) {
			p.Extra = map[byte][]byte{sectionTable: {1, typeFuncRef, 0, 1}}
			p.Code = asm.Join(0xfd, 12, make([]byte, 16), asm.Drop,
				0xd0, typeFuncRef, asm.Const(40_000_000), 0xfc, 15, 0, asm.Drop)
		}), "table.grow"},
		{"vector instruction that there is none of", with(func(p *asm.Program) { p.Code = asm.Join(0xfd, 154, 1) }), "0xfd 154"},
		{"relaxed vector instruction", with(func(p *asm.Program) { p.Code = asm.Join(0xfd, 0x80, 2) }), "0xfd 256"},
		// The engine takes 0x8c for the instruction and ends the block at 0x00.
		{"vector instruction by a long number", with(func(p *asm.Program) {
			p.Code = asm.Join(0xfd, 0x8c, 0, make([]byte, 16), asm.Drop)
		}), "longer than need be"},
		{"no memory", with(func(p *asm.Program) { p.Extra = map[byte][]byte{sectionMemory: {0}} }), "no memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			class, err := e.Inspect(c.module)
			if err == nil || !strings.Contains(err.Error(), c.reason) || len(err.Error()) > 1000 {
				t.Errorf("class %q, error %v, want %q", class, err, c.reason)
			}
		})
	}
}

func TestAFloatingPointInstructionBindsAModuleToItsArchitecture(t *testing.T) {
	drop := asm.Drop
	for _, c := range []struct {
		name  string
		code  []byte
		class exec.Class
	}{
		{"nothing", nil, exec.Portable},
		{"integers", asm.Join(asm.Const(7), asm.Const(2), 0x6c, drop, 0x42, asm.S(-1<<62), 0xa7, drop), exec.Portable},
		{"sign extension", asm.Join(asm.Const(7), 0xc0, drop), exec.Portable},
		{"bulk memory", asm.Join(asm.Const(0), asm.Const(0), asm.Const(0), 0xfc, 10, 0, 0), exec.Portable},
		{"a constant like an opcode", asm.Join(asm.Const(0x43), drop, asm.Const(0xfd), drop), exec.Portable},
		{"branch table", asm.Join(0x02, 0x40, asm.Const(0), 0x0e, 2, 0, 0, 0, 0x0b), exec.Portable},
		{"f32.const", asm.Join(0x43, 0, 0, 0, 0, drop), exec.Arch(runtime.GOARCH)},
		{"f64.const", asm.Join(0x44, 0, 0, 0, 0, 0, 0, 0, 0, drop), exec.Arch(runtime.GOARCH)},
		{"f32.load", asm.Join(asm.Const(0), 0x2a, 2, 0, drop), exec.Arch(runtime.GOARCH)},
		{"conversion", asm.Join(asm.Const(0), 0xb2, drop), exec.Arch(runtime.GOARCH)},
		{"vector", asm.Join(asm.Const(0), 0xfd, 15, drop), exec.Arch(runtime.GOARCH)},
		{"in an inner block", asm.Join(0x02, 0x40, 0x03, 0x40, 0x43, 0, 0, 0, 0, drop, 0x0b, 0x0b), exec.Arch(runtime.GOARCH)},
	} {
		m, err := decode(asm.Program{Pages: 1, Code: c.code}.Module())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if m.class() != c.class {
			t.Errorf("%s: class %q, want %q", c.name, m.class(), c.class)
		}
	}
	global := asm.Program{Pages: 1, Extra: map[byte][]byte{sectionGlobal: {1, asm.F64, 0, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b}}}
	if m, err := decode(global.Module()); err != nil || m.class() == exec.Portable {
		t.Errorf("a float in a global: %v %v", m, err)
	}
	v128 := asm.Join(0x7b, 0, 0xfd, 12, make([]byte, 16), 0x0b)
	globals := asm.Program{Pages: 1, Extra: map[byte][]byte{sectionGlobal: asm.Join(2, v128, v128)}}
	if m, err := decode(globals.Module()); err != nil || m.class() == exec.Portable {
		t.Errorf("vectors in two globals: %v %v", m, err)
	}
}

// What the engine reads more bytes of than the scanner hides what follows. Nothing here
// is run: the engine compiles what it has not validated.
func TestTheScannerAndTheEngineSeeTheSameBehindEveryType(t *testing.T) {
	e, err := newEngine(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close(t.Context())
	const nop = 0x01
	// An instruction that is read for the number of types swallows the growth.
	grows := asm.Join(asm.Const(0), asm.Drop, 0xd0, typeFuncRef, asm.Const(1), 0xfc, 15, 0, asm.Drop, bytes.Repeat([]byte{nop}, 80))
	places := map[string]func(kind []byte) []byte{
		"local":  func(kind []byte) []byte { return asm.Join(1, 1, kind, grows, asm.Unreachable) },
		"select": func(kind []byte) []byte { return asm.Join(0, asm.Unreachable, 0x1c, 1, kind, grows, asm.Unreachable) },
		"block": func(kind []byte) []byte {
			return asm.Join(0, asm.Unreachable, 0x02, kind, grows, asm.Unreachable, 0x0b, asm.Unreachable)
		},
		"null": func(kind []byte) []byte { return asm.Join(0, asm.Unreachable, 0xd0, kind, grows, asm.Unreachable) },
	}
	compiles := func(module []byte) (ok bool) {
		defer func() {
			if recover() != nil {
				ok = false
			}
		}()
		compiled, err := e.runtime.CompileModule(t.Context(), module)
		if err == nil {
			_ = compiled.Close(t.Context())
		}
		return err == nil
	}
	for place, code := range places {
		taken, refused := 0, 0
		for first := range 256 {
			for _, kind := range [][]byte{{byte(first)}, {byte(first), 0x1c}, {byte(first), 0x20}, {byte(first), 0x70}, {byte(first), 0x7f}} {
				body := append(code(kind), 0x0b)
				module := asm.Program{Pages: 1, Extra: map[byte][]byte{
					sectionType:  asm.Join(40, bytes.Repeat([]byte{typeFunc, 0, 0}, 40)),
					sectionTable: {1, typeFuncRef, 1, 1, 2},
					sectionCode:  asm.Join(1, asm.U(uint64(len(body))), body),
				}}.Module()
				if !compiles(module) {
					continue
				}
				switch m, err := decode(module); {
				case err != nil:
					refused++
				case !m.growsTab:
					t.Errorf("%s of type % x: what follows is hidden", place, kind)
				default:
					taken++
				}
			}
		}
		if taken == 0 {
			t.Errorf("%s: nothing that the engine takes is taken", place)
		}
		t.Logf("%s: %d taken, %d refused", place, taken, refused)
	}
}

func TestTheScannerAndTheEngineSeeTheSameBehindEveryVectorInstruction(t *testing.T) {
	e, err := newEngine(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close(t.Context())
	grow := asm.Join(0xd0, typeFuncRef, asm.Const(1), 0xfc, 15, 0, asm.Drop)
	const lane = 2 // read as an instruction it would open a block
	immediates := [][]byte{nil, {0}, {lane}, {0, 0}, {0, 0, 0}, {0, 0, lane}, bytes.Repeat([]byte{lane}, 16)}
	for op := range uint64(256) {
		forms := 0
		for _, immediates := range immediates {
			module := asm.Program{
				Pages: 1,
				Extra: map[byte][]byte{sectionTable: {1, typeFuncRef, 1, 1, 2}},
				// After unreachable, whatever operands it wants are there.
				Code: asm.Join(asm.Unreachable, 0xfd, asm.U(op), immediates, grow, asm.Unreachable),
			}.Module()
			compiled, err := e.runtime.CompileModule(t.Context(), module)
			if err != nil {
				continue
			}
			forms++
			_ = compiled.Close(t.Context())
			if m, err := decode(module); err != nil || !m.growsTab {
				t.Errorf("%d with %d bytes: %+v %v", op, len(immediates), m, err)
			}
		}
		if vectorOp(uint32(op)) != (forms > 0) {
			t.Errorf("%d: the engine takes %d forms of it", op, forms)
		}
	}
}

func TestEveryNumericInstructionIsKnownForWhatItComputesWith(t *testing.T) {
	integers := map[byte]bool{0xa7: true, 0xac: true, 0xad: true} // wrap and extend
	for _, span := range [][2]byte{{0x45, 0x5a}, {0x67, 0x8a}, {0xc0, 0xc4}} {
		for op := span[0]; op <= span[1]; op++ {
			integers[op] = true
		}
	}
	for op := byte(0x45); op <= 0xc4; op++ {
		if floatingOp(op) == integers[op] {
			t.Errorf("%#x: floating is %v", op, floatingOp(op))
		}
	}
}

func TestInspectingAModuleOfLongSignaturesTakesNoMemoryForThem(t *testing.T) {
	const types = 30_000
	long := append(asm.U(1000), bytes.Repeat([]byte{typeI64}, 1000)...)
	section := append(asm.U(types+1), typeFunc, 0, 0)
	for range types {
		section = append(append(append(section, typeFunc), long...), long...)
	}
	module := asm.Program{Pages: 1, Extra: map[byte][]byte{sectionType: section}}.Module()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := decode(module)
	runtime.ReadMemStats(&after)
	if err != nil || len(m.types) != types+1 {
		t.Fatal(err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(module)) {
		t.Errorf("%d bytes were allocated for a module of %d", took, len(module))
	}
}

// FuzzDecode checks that no bytes make the decoder panic, and that what the
// engine accepts is not refused for its form.
func FuzzDecode(f *testing.F) {
	f.Add(asm.Hello().Module())
	f.Add(loop())
	f.Add(grow(1))
	f.Add(asm.Program{Pages: 1, Code: asm.Join(0x43, 0, 0, 0, 0, asm.Drop)}.Module())
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decode(data); err == nil && (m.start.String() != "()" || !m.memory) {
			t.Errorf("accepted without _start or memory")
		}
	})
}
