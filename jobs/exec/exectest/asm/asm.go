// Package asm writes small WebAssembly modules for tests: enough of the binary
// format (WebAssembly core specification 2.0, section 5) for a program that
// imports functions of WASI, has a memory with data, and one function.
package asm

import "encoding/binary"

// Value types.
const (
	I32 = 0x7f
	I64 = 0x7e
	F64 = 0x7c
)

// Import is a function that a module imports.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// Program describes a module whose function "_start" is Code. Imported
// functions have the indices 0, 1, ... in their order.
type Program struct {
	Imports []Import
	Locals  int               // locals of type i32
	Code    []byte            // instructions, without the last end
	Pages   uint32            // of memory, 64 KiB each
	Data    map[uint32]string // memory at the start, by address
	Start   string            // exported as; "" is "_start"
	Extra   map[byte][]byte   // contents of further sections, by id
}

// Module returns the program as a module. The same program gives the same
// bytes.
func (p Program) Module() []byte {
	var types, imports []byte
	for i, im := range p.Imports {
		types = append(append(append(types, 0x60), vector(im.Params)...), vector(im.Results)...)
		imports = append(append(imports, name(im.Module)...), name(im.Name)...)
		imports = append(append(imports, 0), U(uint64(i))...)
	}
	types = append(types, 0x60, 0, 0) // of _start
	n := len(p.Imports)
	start := p.Start
	if start == "" {
		start = "_start"
	}
	body := []byte{0}
	if p.Locals > 0 {
		body = append(append([]byte{1}, U(uint64(p.Locals))...), I32)
	}
	body = append(append(body, p.Code...), 0x0b)

	out := []byte("\x00asm\x01\x00\x00\x00")
	add := func(id byte, body []byte) {
		if extra, ok := p.Extra[id]; ok {
			body = extra
		}
		if body != nil {
			out = append(append(append(out, id), U(uint64(len(body)))...), body...)
		}
	}
	add(1, list(n+1, types))
	if n > 0 {
		add(2, list(n, imports))
	}
	add(3, list(1, U(uint64(n))))
	add(4, nil)
	add(5, list(1, append([]byte{0}, U(uint64(p.Pages))...)))
	add(6, nil)
	exports := append(append(name(start), 0), U(uint64(n))...)
	exports = append(append(exports, name("memory")...), 2, 0)
	add(7, list(2, exports))
	add(9, nil)
	add(10, list(1, append(U(uint64(len(body))), body...)))
	add(11, p.data())
	return out
}

func (p Program) data() []byte {
	if len(p.Data) == 0 {
		return nil
	}
	var segments []byte
	count := 0
	for at := uint32(0); count < len(p.Data); at++ {
		if text, ok := p.Data[at]; ok {
			segments = append(append(append(segments, 0), Const(int32(at))...), 0x0b)
			segments = append(segments, name(text)...)
			count++
		}
	}
	return list(count, segments)
}

// U writes an unsigned LEB128 number.
func U(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// S writes a signed LEB128 number.
func S(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Const is i32.const v.
func Const(v int32) []byte { return append([]byte{0x41}, S(int64(v))...) }

// Call is call of the function with an index.
func Call(index int) []byte { return append([]byte{0x10}, U(uint64(index))...) }

// Get and Set are local.get and local.set.
func Get(local int) []byte { return append([]byte{0x20}, U(uint64(local))...) }

// Set is local.set.
func Set(local int) []byte { return append([]byte{0x21}, U(uint64(local))...) }

// Load is i32.load at an offset from the address on the stack.
func Load(offset uint64) []byte { return append([]byte{0x28, 2}, U(offset)...) }

// Store is i32.store at an offset from the address on the stack.
func Store(offset uint64) []byte { return append([]byte{0x36, 2}, U(offset)...) }

// Load8 is i32.load8_u at the address on the stack.
func Load8() []byte { return []byte{0x2d, 0, 0} }

// Instructions without operands in the code.
const (
	Unreachable = 0x00
	Add         = 0x6a
	Sub         = 0x6b
	Drop        = 0x1a
)

// Join puts pieces of code, or single instructions, together.
func Join(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			out = append(out, p...)
		case int:
			out = append(out, byte(p))
		}
	}
	return out
}

func name(s string) []byte { return append(U(uint64(len(s))), s...) }

func vector(b []byte) []byte { return append(U(uint64(len(b))), b...) }

func list(n int, body []byte) []byte { return append(U(uint64(n)), body...) }
