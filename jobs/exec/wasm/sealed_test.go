package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

// sealedArg, with a folder for compiled code, makes the test binary say what becomes
// of programs where no memory can be made executable.
const sealedArg = "wasm-sealed"

func TestWhereNothingCanBeMadeExecutableNothingRunsAndNothingIsSaidOfTheModule(t *testing.T) {
	out, err := osexec.Command(os.Args[0], sealedArg, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const want = `executor: this machine cannot run compiled programs: its system does not let a process make code executable: operation not permitted (no compiler: true)
engine: map compiled code: operation not permitted
held engine: map compiled code: operation not permitted
compile: host map compiled code: operation not permitted
invalid module: trap invalid function[0] export["_start"]: cannot pop the 1st operand for i32.add: i32 missing
`
	if string(out) != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
}

// sealed is the life of that process.
func sealed(cache string) int {
	ctx := context.Background()
	module := asm.Hello().Module()
	id := hash(sha256.Sum256(module))
	held, err := newEngine(ctx, "")
	if err == nil {
		err = sealMemory()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, err = New(Config{})
	fmt.Printf("executor: %v (no compiler: %v)\n", err, errors.Is(err, ErrNoCompiler))
	_, err = newEngine(ctx, "")
	fmt.Println("engine:", err)
	fmt.Println("held engine:", held.load(ctx, id, module))
	o := compileInto(ctx, cache, id, module)
	fmt.Println("compile:", o.kind, o.reason)
	wrong := asm.Program{Code: []byte{asm.Add}}.Module()
	o = compileInto(ctx, cache, hash(sha256.Sum256(wrong)), wrong)
	fmt.Println("invalid module:", o.kind, o.reason)
	return 0
}

// sealMemory has the kernel refuse this process, for the rest of its life, what
// systemd's MemoryDenyWriteExecute= refuses: to make memory executable.
func sealMemory() error {
	const number, protection = 0, 16 + 2*8 // offsets in struct seccomp_data: of the call, and of its third argument
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_MPROTECT},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: protection},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.PROT_EXEC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the two calls are of one thread
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}
