package testnet

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/muster-network/muster/jobs"
)

func TestABenchThatCanMeasureNothingIsRefusedBeforeAnythingStarts(t *testing.T) {
	good := BenchOptions{Nodes: 4, Jobs: 1, Submitters: 1, Single: 1, Array: 0, Binary: filepath.Join(t.TempDir(), "none")}
	for want, change := range map[string]func(*BenchOptions){
		"--nodes 2 is not 4 to 64":                func(o *BenchOptions) { o.Nodes = 2 },
		"--nodes 65 is not 4 to 64":               func(o *BenchOptions) { o.Nodes = 65 },
		"--jobs 0 is not 1 to 1000000":            func(o *BenchOptions) { o.Jobs = 0 },
		"--submitters 0 is not 1 to 1000000":      func(o *BenchOptions) { o.Submitters = 0 },
		"--single 0 is not 1 to 1000000":          func(o *BenchOptions) { o.Single = 0 },
		"--single 1000000000 is not 1 to 1000000": func(o *BenchOptions) { o.Single = 1_000_000_000 },
		"--array -1 is not 0 to 100000":           func(o *BenchOptions) { o.Array = -1 },
		"--array 100001 is not 0 to 100000":       func(o *BenchOptions) { o.Array = 100_001 },
	} {
		o := good
		change(&o)
		_, err := Bench(t.Context(), o)
		p := new(jobs.Problem)
		if !errors.As(err, &p) || p.Code != jobs.CodeUsage || p.What != want || p.Why == "" || p.Try == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Bench(t.Context(), good); !errors.Is(err, fs.ErrNotExist) { // it would start the binary
		t.Errorf("good options: %v", err)
	}
}

func TestProcessesOfEveryThreadAreCounted(t *testing.T) {
	child := exec.Command("cat")
	in, err := child.StdinPipe() // it lives until this is closed
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // not the first thread, which runs main
		defer runtime.UnlockOSThread()
		started <- child.Start()
		<-done
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	children, err := childrenOf(os.Getpid())
	if err != nil || !slices.Contains(children, child.Process.Pid) {
		t.Errorf("children %v, %v; without %d", children, err, child.Process.Pid)
	}
	close(done)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
}
