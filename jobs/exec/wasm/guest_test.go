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

func TestEveryTrapHasItsNumber(t *testing.T) {
	e := newExecutor(t, Config{})
	recursion := asm.Program{Pages: 1, Code: asm.Call(0)}
	for _, c := range []struct {
		name    string
		program asm.Program
		code    int32
	}{
		{"unreachable", asm.Program{Code: []byte{asm.Unreachable}}, TrapUnreachable},
		{"division by zero", asm.Program{Code: asm.Join(asm.Const(1), asm.Const(0), 0x6d, asm.Drop)}, TrapDivideByZero},
		{"smallest number by -1", asm.Program{Code: asm.Join(asm.Const(-1<<31), asm.Const(-1), 0x6d, asm.Drop)}, TrapIntegerOverflow},
		{"float to integer", asm.Program{Code: asm.Join(0x43, 0, 0, 0xc0, 0x7f, 0xa8, asm.Drop)}, TrapInvalidConversion},
		{"load past the end", asm.Program{Code: asm.Join(asm.Const(1<<20), asm.Load(0), asm.Drop)}, TrapMemoryAccess},
		{"call past the table", asm.Program{
			Code:  asm.Join(asm.Const(5), 0x11, 0, 0),
			Extra: map[byte][]byte{sectionTable: {1, typeFuncRef, 0, 1}},
		}, TrapTableAccess},
		{"endless recursion", recursion, TrapStackOverflow},
		{"nonsense to a host function", asm.Program{
			Imports: []asm.Import{asm.WASI("poll_oneoff", 4)},
			Code:    asm.Join(asm.Const(0), asm.Const(0), asm.Const(0x10000000), asm.Const(0), asm.Call(0), asm.Drop),
		}, TrapHostCall},
		{"a body that does not type-check", asm.Program{Code: []byte{asm.Add}}, TrapInvalidModule},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.program.Pages = 1
			res := run(t, e, request(c.program.Module()))
			if res.Kind != exec.Trapped || res.Code != c.code {
				t.Errorf("ended as %v %d (%s), want trap %d", res.Kind, res.Code, res.Reason, c.code)
			}
			if strings.Contains(res.Reason, "\n") {
				t.Errorf("reason of more than a line: %s", res.Reason)
			}
		})
	}
}

func TestWhatAModuleCallsItsFunctionsIsNothingToTheNumberOfItsTrap(t *testing.T) {
	e := newExecutor(t, Config{})
	for _, name := range []string{recovered, "x\n" + recovered + "\nwasm stack trace:", "unreachable"} {
		for code, body := range map[int32][]byte{
			TrapUnreachable:  {asm.Unreachable},
			TrapDivideByZero: asm.Join(asm.Const(1), asm.Const(0), 0x6d, asm.Drop),
		} {
			names := asm.Join(1, 0, asm.U(uint64(len(name))), []byte(name)) // one function, the first
			section := asm.Join(4, []byte("name"), 1, asm.U(uint64(len(names))), names)
			module := asm.Join(asm.Program{Pages: 1, Code: body}.Module(), 0, asm.U(uint64(len(section))), section)
			res := run(t, e, request(module))
			if res.Kind != exec.Trapped || res.Code != code {
				t.Errorf("by the name %q: ended as %v %d (%s), want trap %d", name, res.Kind, res.Code, res.Reason, code)
			}
		}
	}
}

func TestOutputBeforeATrapIsKept(t *testing.T) {
	p := asm.Hello()
	p.Code = append(p.Code, asm.Unreachable)
	res := run(t, newExecutor(t, Config{}), request(p.Module(), "Ada"))
	if res.Kind != exec.Trapped || string(res.Stdout) != "Hello, Ada\n" {
		t.Errorf("%v, stdout %q", res.Kind, res.Stdout)
	}
}

func TestMemoryThatDoesNotFitAtTheStartIsALimit(t *testing.T) {
	e := newExecutor(t, Config{})
	req := request(asm.Program{Pages: 16}.Module())
	req.Memory = 16 * pageSize
	if res := run(t, e, req); res.Kind != exec.Exited {
		t.Errorf("exact: ended as %v (%s)", res.Kind, res.Reason)
	}
	req.Inputs = []exec.File{{Path: "x"}}
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("with an input: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	req.Inputs = []exec.File{{Path: "x", Data: make([]byte, req.Memory)}}
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("with an input that fits by no means: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	req.Inputs, req.Memory = nil, req.Memory-1
	if res := run(t, e, req); res.Kind != exec.Limited || res.Code != exec.LimitMemory {
		t.Errorf("a byte less: ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
}

// grow exits with 0 when memory.grow by so many pages gives what was there
// before, and with 1 when it is refused.
func grow(pages int32) []byte {
	exit := asm.Import{Module: wasi, Name: "proc_exit", Params: []byte{asm.I32}}
	return asm.Program{
		Imports: []asm.Import{exit}, Pages: 1,
		Code: asm.Join(asm.Const(pages), 0x40, 0, asm.Const(-1), 0x46, asm.Call(0)),
	}.Module()
}

func TestGrowingMemoryBeyondTheLimitIsRefusedToTheProgram(t *testing.T) {
	e := newExecutor(t, Config{})
	for pages, code := range map[int32]int32{9: 0, 10: 1, 65535: 1, -1: 1} {
		req := request(grow(pages))
		req.Memory = 10 * pageSize
		if res := run(t, e, req); res.Kind != exec.Exited || res.Code != code {
			t.Errorf("%d pages: ended as %v %d (%s), want exit %d", pages, res.Kind, res.Code, res.Reason, code)
		}
	}
}

func TestDescriptorsCannotBeMovedFarAway(t *testing.T) {
	exit := asm.Import{Module: wasi, Name: "proc_exit", Params: []byte{asm.I32}}
	p := asm.Program{
		Imports: []asm.Import{asm.WASI("fd_renumber", 2), exit}, Pages: 1,
		Code: asm.Join(asm.Const(1), asm.Const(1<<30), asm.Call(0), asm.Call(1)),
	}
	if res := run(t, newExecutor(t, Config{}), request(p.Module())); res.Kind != exec.Exited || res.Code != errnoNosys {
		t.Errorf("ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
}

// loop prints a greeting and never ends.
func loop() []byte {
	p := asm.Hello()
	p.Code = asm.Join(p.Code, 0x03, 0x40, 0x0c, 0, 0x0b)
	return p.Module()
}

// slow prints a greeting and ends when it has counted to 2^30, which takes far
// longer than killing it.
func slow() []byte {
	const counter = 0
	p := asm.Hello()
	p.Code = asm.Join(p.Code, asm.Const(0), asm.Set(counter), 0x03, 0x40,
		asm.Get(counter), asm.Const(1), asm.Add, 0x22, counter, // local.tee
		asm.Const(1<<30), 0x47, 0x0d, 0, 0x0b)
	return p.Module()
}

// writer hands each write to a function.
type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

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

func TestARequestThatCannotBeIsRefused(t *testing.T) {
	e := newExecutor(t, Config{})
	for name, change := range map[string]func(*exec.Request){
		"no memory":        func(r *exec.Request) { r.Memory = 0 },
		"too much memory":  func(r *exec.Request) { r.Memory = 1 << 40 },
		"input outside":    func(r *exec.Request) { r.Inputs = []exec.File{{Path: "../x"}} },
		"absolute input":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "/x"}} },
		"repeated input":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "x"}, {Path: "x"}} },
		"file in a file":   func(r *exec.Request) { r.Inputs = []exec.File{{Path: "x"}, {Path: "x/y"}} },
		"output outside":   func(r *exec.Request) { r.Outputs = []string{"../x"} },
		"unclean output":   func(r *exec.Request) { r.Outputs = []string{"a//b"} },
		"negative timeout": func(r *exec.Request) { r.Timeout = -1 },
	} {
		req := request(asm.Hello().Module())
		change(&req)
		if res := run(t, e, req); res.Kind != exec.Broken {
			t.Errorf("%s: ended as %v", name, res.Kind)
		}
	}
}
