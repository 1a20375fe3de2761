// Package examples holds programs to run on muster, each in a folder of its own
// with its job file, and the few that the binary brings along.
package examples

import _ "embed"

//go:embed hello.wasm
var hello []byte

// Builtin returns a program that every muster binary carries, as a WebAssembly
// module, and whether there is one of that name. "hello" prints "Hello, NAME",
// NAME being its first argument; it has a few hundred bytes and is portable.
// The caller does not change the bytes.
func Builtin(name string) ([]byte, bool) {
	if name == "hello" {
		return hello, true
	}
	return nil, false
}
