package wasm

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

// workerArg makes the test binary a worker, as the node's does.
const workerArg = "wasm-worker"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		os.Exit(WorkerMain())
	}
	if len(os.Args) > 2 && os.Args[1] == sealedArg {
		os.Exit(sealed(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

func newExecutor(t testing.TB, config Config) *Executor {
	t.Helper()
	if config.Command.Path == "" {
		config.Command.Args = []string{workerArg}
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if len(e.slots) > 0 {
			t.Errorf("%d slots were not given back", len(e.slots))
		}
	})
	return e
}

func request(module []byte, args ...string) exec.Request {
	return exec.Request{
		Module: module,
		Args:   append([]string{"program.wasm"}, args...),
		Memory: 64 << 20, Disk: 16 << 20, Stream: 1 << 20,
		Timeout: time.Minute,
	}
}

func run(t testing.TB, e *Executor, req exec.Request) exec.Result {
	t.Helper()
	res, err := e.Run(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestHelloGreetsItsArgument(t *testing.T) {
	e := newExecutor(t, Config{})
	module := asm.Hello().Module()
	class, err := e.Inspect(module)
	if err != nil || class != exec.Portable {
		t.Fatalf("class %q, error %v", class, err)
	}
	for _, name := range []string{"Ada", "World"} {
		res := run(t, e, request(module, name))
		if res.Kind != exec.Exited || res.Code != 0 || string(res.Stdout) != "Hello, "+name+"\n" {
			t.Errorf("%v %d %q: %s", res.Kind, res.Code, res.Stdout, res.Reason)
		}
		t.Logf("%+v", res.Use)
	}
}
