package testnet

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
)

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
