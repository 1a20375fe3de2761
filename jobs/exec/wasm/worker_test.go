package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

// killBusy kills the worker processes in use, as the system might.
func killBusy(t testing.TB, e *Executor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p := range e.busy {
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}

func TestAWorkerThatDiesOnceIsReplacedAndItsOutputPassedOnOnce(t *testing.T) {
	attempts := 0
	req := request(slow(), "Ada")
	e := newExecutor(t, Config{After: func(d time.Duration, f func()) func() bool {
		if d == req.Timeout { // armed once for each attempt at the run
			attempts++
		}
		return time.AfterFunc(d, f).Stop
	}})
	req.Timeout = time.Hour
	var heard strings.Builder
	req.Stdout = writer(func(p []byte) {
		if heard.Len() == 0 {
			killBusy(t, e)
		}
		heard.Write(p)
	})
	res := run(t, e, req)
	if res.Kind != exec.Exited || attempts != 2 {
		t.Errorf("ended as %v (%s) after %d attempts", res.Kind, res.Reason, attempts)
	}
	if heard.String() != "Hello, Ada\n" || string(res.Stdout) != "Hello, Ada\n" {
		t.Errorf("heard %q, kept %q", heard.String(), res.Stdout)
	}
}

func TestAWorkerThatDiesTwiceIsThisMachinesFault(t *testing.T) {
	e := newExecutor(t, Config{})
	warm := run(t, e, request(chatter(0)))
	if warm.Kind != exec.Exited {
		t.Fatalf("ended as %v (%s)", warm.Kind, warm.Reason)
	}
	req := request(chatter(1))
	writes := 0
	req.Stdout = writer(func([]byte) {
		writes++
		killBusy(t, e)
	})
	res := run(t, e, req)
	if res.Kind != exec.Broken || writes == 0 {
		t.Errorf("ended as %v (%s) after %d writes", res.Kind, res.Reason, writes)
	}
}

// What acts on the world may have acted before its worker died, or its time was over.
func TestAProgramThatMustNotBeginTwiceBeginsOnceAndItIsSaidWhetherItMayHave(t *testing.T) {
	attempts, compiles := 0, 0
	limit := 20 * time.Millisecond
	e := newExecutor(t, Config{Compile: 2 * time.Hour, After: func(d time.Duration, f func()) func() bool {
		switch d {
		case time.Hour, limit:
			attempts++
		case 2 * time.Hour:
			compiles++
		}
		return time.AfterFunc(d, f).Stop
	}})
	req := request(chatter(1))
	req.Once, req.Timeout = true, time.Hour
	req.Stdout = writer(func([]byte) { killBusy(t, e) })
	if res := run(t, e, req); res.Kind != exec.Broken || !res.Begun || attempts != 1 {
		t.Errorf("its worker killed: %v (%s) after %d attempts, begun %v", res.Kind, res.Reason, attempts, res.Begun)
	}
	req.Stdout, req.Timeout, attempts = nil, limit, 0
	if res := run(t, e, req); res.Kind != exec.TimedOut || !res.Begun || attempts != 1 {
		t.Errorf("its time over: %v (%s) after %d attempts, begun %v", res.Kind, res.Reason, attempts, res.Begun)
	}
	if compiles != 2 {
		t.Errorf("compiled %d times, though what broke may have been the code", compiles)
	}
	req = request(chatter(0))
	req.Once = true
	if res := run(t, e, req); res.Kind != exec.Exited || res.Begun {
		t.Errorf("run to its end: %v, begun %v", res.Kind, res.Begun)
	}
	dead := newExecutor(t, Config{Command: Command{Path: "/bin/false"}})
	if res := run(t, dead, req); res.Kind != exec.Broken || res.Begun {
		t.Errorf("no worker: %v (%s), begun %v", res.Kind, res.Reason, res.Begun)
	}
}

// chatter prints for ever, or, with 0, nothing.
func chatter(n int32) []byte {
	return asm.Program{
		Imports: []asm.Import{asm.WASI("fd_write", 4)}, Pages: 1,
		Data: map[uint32]string{0: "\x10\x00\x00\x00\x01\x00\x00\x00", 16: "x"},
		Code: asm.Join(asm.Const(n), 0x04, 0x40, 0x03, 0x40,
			asm.Const(1), asm.Const(0), asm.Const(1), asm.Const(32), asm.Call(0), asm.Drop,
			0x0c, 0, 0x0b, 0x0b),
	}.Module()
}

func TestCloseEndsRunsAndWorkers(t *testing.T) {
	e := newExecutor(t, Config{})
	run(t, e, request(asm.Hello().Module())) // leaves an idle worker
	req := request(loop())
	up := make(chan struct{})
	var once sync.Once
	req.Stdout = writer(func([]byte) { once.Do(func() { close(up) }) })
	ended := make(chan error)
	go func() {
		_, err := e.Run(context.Background(), req)
		ended <- err
	}()
	<-up
	e.mu.Lock()
	var pids []int
	for p := range e.busy {
		pids = append(pids, p.cmd.Process.Pid)
	}
	for _, p := range e.idle {
		pids = append(pids, p.cmd.Process.Pid)
	}
	e.mu.Unlock()
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	if err := <-ended; !errors.Is(err, exec.ErrClosed) {
		t.Errorf("run: error %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if len(pids) == 0 {
		t.Error("no worker was seen")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("worker %d is still there: %v", pid, err)
		}
	}
	if _, err := os.Stat(e.config.Cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary cache is still there: %v", err)
	}
	if _, err := e.Run(context.Background(), req); !errors.Is(err, exec.ErrClosed) {
		t.Errorf("run after close: error %v", err)
	}
}

// inheritable opens a file that goes to every process that is started from here.
func inheritable(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Open(filepath.Join(t.TempDir(), "secret"), syscall.O_CREAT|syscall.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return fd
}

func TestNoDescriptorIsHandedOnWithAndWithoutTheSystemsCallForIt(t *testing.T) {
	for name, seal := range map[string]func() error{"close_range": sealDescriptors, "one by one": sealListed} {
		fd := inheritable(t)
		if err := seal(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: descriptor %d has flags %#x (%v)", name, fd, flags, err)
		}
	}
}

func TestAWorkerHasNothingButItsPipes(t *testing.T) {
	t.Setenv("MUSTER_SECRET", "not for workers")
	inheritable(t) // as what the node's parent may have left open
	e := newExecutor(t, Config{})
	run(t, e, request(asm.Hello().Module()))
	p := e.idle[0]
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	if env, err := os.ReadFile(proc + "environ"); err != nil || len(env) != 0 {
		t.Errorf("environment %q, error %v", env, err)
	}
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		// stdin, stdout and stderr are /dev/null; the Go runtime polls, and
		// keeps an eye on its share of the CPU.
		to, err := os.Readlink(proc + "fd/" + fd.Name())
		if err != nil || to != os.DevNull && !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s is %s (%v)", fd.Name(), to, err)
		}
	}
	// When the executor's process is gone, its end of the pipe is, too.
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("at the end of its jobs: %v", err)
	}
	e.mu.Lock()
	e.idle = nil
	e.mu.Unlock()
	p.idle()
	p.out.Close()
}

func TestSomethingElseThanAnExecutorIsNotServed(t *testing.T) {
	in, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := theirs.WriteString("GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if code := work(in, nil); code == 0 {
		t.Error("served")
	}
}

func TestAnIdleWorkerEnds(t *testing.T) {
	var expire []func()
	e := newExecutor(t, Config{
		Idle: time.Hour,
		After: func(d time.Duration, f func()) func() bool {
			if d != time.Hour {
				return time.AfterFunc(d, f).Stop
			}
			expire = append(expire, f)
			return func() bool { return true }
		},
	})
	run(t, e, request(asm.Hello().Module()))
	run(t, e, request(asm.Hello().Module()))
	if len(expire) != 2 || len(e.idle) != 1 {
		t.Fatalf("%d timers, %d idle workers", len(expire), len(e.idle))
	}
	pid := e.idle[0].cmd.Process.Pid
	expire[1]()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("worker %d is still there: %v", pid, err)
	}
	if res := run(t, e, request(asm.Hello().Module())); res.Kind != exec.Exited {
		t.Errorf("afterwards: ended as %v (%s)", res.Kind, res.Reason)
	}
}

func TestWhatThisMachineCouldNotGiveAProgramSaysWhetherItHadBegun(t *testing.T) {
	e, err := newEngine(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close(t.Context())
	code := asm.Hello().Module()
	id := hash(sha256.Sum256(code))
	if err := e.load(t.Context(), id, code); err != nil {
		t.Fatal(err)
	}
	a := &account{memory: 64 << 20}
	fails := writer(func([]byte) { a.fail(errors.New("nobody hears it")) })
	if o := e.run(t.Context(), &job{module: id, args: []string{"hello"}, stdout: fails, stderr: fails}, a); o.kind != exec.Broken || !o.begun {
		t.Errorf("in a write: %v (%s), begun %v", o.kind, o.reason, o.begun)
	}
	clash := []exec.File{{Path: "a"}, {Path: "a/b"}}
	if o := e.run(t.Context(), &job{module: id, inputs: clash}, &account{memory: 64 << 20}); o.kind != exec.Broken || o.begun {
		t.Errorf("before it: %v (%s), begun %v", o.kind, o.reason, o.begun)
	}
}

func TestWorkersCannotWriteTheCache(t *testing.T) { missCache(t, false) }

// Nothing of it ran where its code was missing.
func TestAProgramThatMustNotBeginTwiceBeginsWhereItsCodeIsGoneFromTheCache(t *testing.T) {
	missCache(t, true)
}

func missCache(t *testing.T, once bool) {
	t.Helper()
	cache := t.TempDir()
	compiles := 0
	e := newExecutor(t, Config{Cache: cache, Compile: time.Hour, After: func(d time.Duration, f func()) func() bool {
		if d == time.Hour {
			compiles++
		}
		return time.AfterFunc(d, f).Stop
	}})
	module := asm.Hello().Module()
	run(t, e, request(module))
	// Take the compiled code away: a run finds it missing, has it compiled by
	// the worker that may, and goes on.
	if err := prune(cache, 0); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	idle := e.idle
	e.idle = nil
	e.mu.Unlock()
	for _, p := range idle {
		p.idle()
		e.discard(p)
	}
	req := request(module, "Ada")
	req.Once = once
	if res := run(t, e, req); res.Kind != exec.Exited || string(res.Stdout) != "Hello, Ada\n" {
		t.Errorf("ended as %v (%s)", res.Kind, res.Reason)
	}
	if compiles != 2 {
		t.Errorf("%d workers compiled, want 2", compiles)
	}
	// A cache that was written by something else is thrown away.
	spoil(t, cache)
	again := newExecutor(t, Config{Cache: cache})
	if res := run(t, again, request(module)); res.Kind != exec.Exited {
		t.Errorf("with a spoilt cache: ended as %v (%s)", res.Kind, res.Reason)
	}
}
