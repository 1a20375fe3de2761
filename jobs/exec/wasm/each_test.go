package wasm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

// greetEach runs hello once for each name, and returns what became of each. The
// first is of a name of its own, so that the others may be given together.
func greetEach(t *testing.T, names ...string) []exec.Result {
	t.Helper()
	e := newExecutor(t, Config{})
	hello := asm.Hello()
	hello.Pages = 64
	req := request(hello.Module())
	req.Stream, req.Timeout = 4<<20, 10*time.Second
	names = append([]string{"Ada"}, names...)
	var results []exec.Result
	taken := 0
	err := e.RunEach(context.Background(), req, func() (exec.Task, bool, error) {
		if taken == len(names) {
			return exec.Task{}, false, nil
		}
		taken++
		return exec.Task{Args: []string{"hello.wasm", names[taken-1]}}, true, nil
	}, func(res exec.Result) error {
		results = append(results, res)
		return nil
	})
	if err != nil || len(results) != len(names) {
		t.Fatalf("%d results of %d tasks: %v", len(results), len(names), err)
	}
	return results[1:]
}

func TestATaskOfTheLongestArgumentsRunsLikeAnyOther(t *testing.T) {
	// An array's items are a block of at most 2 MiB, and one task may have all of it;
	// its task, of 48 KiB, is what they have in common.
	names := []string{"a", "b", strings.Repeat("c", 2<<20+48<<10), "d", "e"}
	for i, res := range greetEach(t, names...) {
		if res.Kind != exec.Exited || string(res.Stdout) != "Hello, "+names[i]+"\n" {
			t.Errorf("task %d ended as %v with %d bytes (%s)", i, res.Kind, len(res.Stdout), res.Reason)
		}
	}
}

func TestATaskThatCannotBeSentEndsWithTheReasonAndAlone(t *testing.T) {
	for what, test := range map[string]struct{ name, reason string }{
		"too long":  {strings.Repeat("c", maxText), "arguments, variables and outputs of 3145748 bytes, at most 3145728 are taken"},
		"not UTF-8": {"\xff", "UTF-8"},
	} {
		names := []string{"a", "b", test.name, "d", "e"}
		for i, res := range greetEach(t, names...) {
			switch {
			case i == 2:
				if res.Kind != exec.Broken || !strings.Contains(res.Reason, test.reason) {
					t.Errorf("%s: ended as %v (%s)", what, res.Kind, res.Reason)
				}
			case res.Kind != exec.Exited || string(res.Stdout) != "Hello, "+names[i]+"\n":
				t.Errorf("beside one that is %s, task %d ended as %v with %q (%s)", what, i, res.Kind, res.Stdout, res.Reason)
			}
		}
	}
}
