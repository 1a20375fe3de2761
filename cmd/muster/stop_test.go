package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// envListen makes this test's binary a process that listens at a socket until its
// input ends.
const envListen = "MUSTER_TEST_LISTEN"

func listen(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listens")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
	os.Exit(0)
}

func TestStopWaitsForTheProcessThatOwnsTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener := exec.Command(os.Args[0])
	listener.Env = append(os.Environ(), envListen+"="+path)
	in, err := listener.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := listener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "listens\n" {
		t.Fatalf("%q: %v", line, err)
	}
	p := listenerOf(t.Context(), "unix:"+path, listener.Process.Pid)
	defer p.close()
	if p < 0 || p.gone() {
		t.Errorf("process %d, gone: %v", p, p.gone())
	}
	if other := listenerOf(t.Context(), "unix:"+path, os.Getpid()); other != -1 {
		t.Errorf("a node says the number of another process: %d", other)
	}
	_ = in.Close()
	if err := listener.Wait(); err != nil {
		t.Fatal(err)
	}
	if !p.gone() {
		t.Error("it has ended, and is not gone")
	}
	for _, address := range []string{"unix:" + path, "http://127.0.0.1:1"} {
		if p := listenerOf(t.Context(), address, listener.Process.Pid); p != -1 || !p.gone() {
			t.Errorf("%s: process %d", address, p)
		}
	}
}
