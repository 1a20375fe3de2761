package wasm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// What a worker process may hold beside the run's own limits.
const (
	workerFiles = 64      // descriptors
	workerSlack = 1 << 30 // bytes of data: engine, compiled code, deep stacks, collector
	compileData = 2 << 30 // bytes of data to compile a module in
)

// canCompile returns why the engine's compiler is of no use here, or nil. What a
// system refuses to this process it refuses to its workers.
func canCompile() error {
	if runtime.GOARCH != "arm64" && (runtime.GOARCH != "amd64" || !cpu.X86.HasSSE41) {
		return errors.New("there is no compiler for its processor, only for arm64, and for amd64 with SSE4.1")
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = errors.Join(unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC), unix.Munmap(page))
	}
	if err != nil {
		return fmt.Errorf("its system does not let a process make code executable: %w", err)
	}
	return nil
}

// processAttributes makes a worker die with the thread that started it, and
// keeps the terminal's signals from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// firstInherited is the first descriptor that is not a standard stream: those a
// worker is given anew.
const firstInherited = 3

// sealDescriptors sees to it that no descriptor of this process reaches one that
// it starts. Go opens all of its own that way; what it was itself started with
// it would hand on. What a child is to have is given to it after the fork.
func sealDescriptors() error {
	err := unix.CloseRange(firstInherited, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil { // Linux before 5.11, or a sandbox that does not know the call
		err = sealListed()
	}
	if err != nil {
		return fmt.Errorf("keep descriptors from workers: %w", err)
	}
	return nil
}

// sealListed does the same one by one.
func sealListed() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		if fd >= firstInherited {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// confine gives up, for the rest of the process's life, what a worker does not
// need. Only one that compiles may write files; it may hold data bytes more than
// it holds now, where one that runs guests is given a limit for each run.
func confine(compiles bool, data int64) error {
	none := &syscall.Rlimit{}
	files := &syscall.Rlimit{Cur: workerFiles, Max: workerFiles}
	err := errors.Join(
		syscall.Setrlimit(syscall.RLIMIT_CORE, none),
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, files),
	)
	if compiles {
		err = errors.Join(err, limitDataTo(dataSize()+data))
		debug.SetMemoryLimit(data - data/4) // collect before that limit ends it
	} else {
		// The Go runtime ignores SIGXFSZ, so a write fails with EFBIG.
		err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_FSIZE, none))
		// Small rather than fast: one guest has one thread, and leaves little.
		runtime.GOMAXPROCS(2)
		debug.SetGCPercent(50)
	}
	return err
}

// limitData stops the worker, not the machine, should a run make it hold far
// more than the run may. base is what it held before.
func limitData(base, memory int64) error {
	// Twice: a file under /out may be held twice while it grows.
	return limitDataTo(base + 2*memory + workerSlack)
}

// limitDataTo lets the process hold so many bytes of data.
func limitDataTo(most int64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_DATA, &now); err != nil {
		return err
	}
	now.Cur = min(uint64(most), now.Max)
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &now)
}

// dataSize returns how many bytes of data the process holds, as RLIMIT_DATA
// counts them.
func dataSize() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	var skip, pages int64
	if err == nil {
		_, err = fmt.Sscan(string(statm), &skip, &skip, &skip, &skip, &skip, &pages)
	}
	if err != nil {
		return 1 << 40 // unknown: limitData then limits nothing
	}
	return pages * int64(os.Getpagesize())
}

// cpuTime returns what the process has used since it started.
func cpuTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
