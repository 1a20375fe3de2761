package examples_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/muster-network/muster/examples"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

var update = flag.Bool("update", false, "write hello.wasm anew")

func TestHelloIsWhatTheAssemblerWrites(t *testing.T) {
	want := asm.Hello().Module()
	if *update {
		if err := os.WriteFile("hello.wasm", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, ok := examples.Builtin("hello")
	if !ok || !bytes.Equal(got, want) && !*update {
		t.Errorf("hello.wasm has other bytes; run this test with -update")
	}
	if len(want) > 1024 {
		t.Errorf("it has %d bytes", len(want))
	}
	if _, ok := examples.Builtin("goodbye"); ok {
		t.Error("there is a program that should not be there")
	}
}
