// Package exec is the contract between a member of a quorum and whatever runs
// programs for it. An Executor takes a program with everything it may see and
// returns what became of it; it knows nothing of jobs, peers or votes.
//
// The contract, which package exectest checks for every implementation:
//
//   - A program sees Request.Inputs read-only under /in, writes under /out, has
//     an empty standard input, and reaches nothing else: no network, no other
//     file, no clock or randomness that differs from machine to machine.
//   - Every fate of a program is a Result. Run returns an error only when its
//     context has ended or the executor is closed.
//   - For a deterministic Kind (see Kind.Deterministic) Kind, Code, Stdout,
//     Stderr and Out are the same bytes on every machine of the module's Class.
//     Use and Reason are this machine's own and are never compared.
//   - Inputs and outputs are bounded in number, and in the length of their
//     names, as well as in bytes (MaxNames and what follows it, MaxInputs).
//   - The kept streams are the first bytes the program wrote, without gaps. A
//     program that writes a byte more than Request.Stream is stopped there.
//   - Nothing of a run is left behind: no process, no file, no memory that
//     grows with the number of runs.
package exec

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrClosed is returned by Run on an executor that is closed or closing.
var ErrClosed = errors.New("exec: executor closed")

// File is a regular file of an input or output tree. Path is relative,
// slash-separated and clean; the folders above it are implied. Empty folders
// are not part of a tree.
type File struct {
	Path string
	Data []byte
}

// Request is one run of a program. Executors read it and keep nothing of it
// after Run returns; they do not write to its slices.
type Request struct {
	Task    [32]byte // digest of the task id; seeds the program's randomness
	Module  []byte   // the program itself
	Args    []string // args[0] included
	Env     []string // "KEY=value", sorted by key
	Inputs  []File   // the tree under /in, sorted by path
	Outputs []string // what is collected from /out: files, or folders with all below them; nil collects everything

	Memory  int64         // bytes of the program's memory, with inputs and outputs that are held in memory
	Disk    int64         // bytes that /out may hold
	Stream  int64         // bytes of stdout, and again of stderr
	Timeout time.Duration // wall time of the program; 0 is unlimited
	Once    bool          // the program is not begun a second time, whatever becomes of the first

	Stdout, Stderr io.Writer // live copies of the streams, written from Run's goroutine; nil for none. Their errors are ignored
}

// Task is one of many runs of one program: what it has of its own.
type Task struct {
	Seed      [32]byte // in the place of Request.Task
	Args, Env []string // in the place of Request.Args and Env
	Inputs    []File   // beside Request.Inputs, sorted by path; no path stands in both
}

// Bounds of the names that a program leaves under /out: what they allow fits a
// result tree, whose folders are blocks, and can be read where it is an input
// again, below a folder or two. A deeper or longer path, or a name that is not
// UTF-8 or holds a zero byte, is refused to the program; one that would go over
// another of them ends it with LimitDisk.
const (
	MaxNames  = 1 << 15 // files and folders
	MaxPaths  = 8 << 20 // bytes of their paths from /out, together
	MaxDepth  = 60      // names in a path from /out
	MaxPath   = 4000    // bytes of a path from /out
	MaxFolder = 2 << 20 // bytes of the names in one folder, FolderEntry more for each

	FolderEntry = 64
)

// MaxInputs and MaxInputPaths bound Request.Inputs, with a Task's: files, and
// bytes of their paths. They hold a result, the inputs that it was made from, and
// as much again.
const (
	MaxInputs     = 3 * MaxNames
	MaxInputPaths = 3 * MaxPaths
)

// Kind says how a run ended.
type Kind uint8

// How a run ends.
const (
	Exited   Kind = iota + 1 // the program ended itself; Code is its exit code, 0 for success
	Trapped                  // the program did what its engine forbids; Code is the engine's stable number
	Limited                  // the program went over a limit; Code is one of the Limit constants
	TimedOut                 // Request.Timeout passed
	Broken                   // the machine, not the program: engine or I/O
)

// Codes of Limited.
const (
	LimitMemory int32 = 1 // Request.Memory does not hold the module, its inputs and what it wrote
	LimitDisk   int32 = 2 // more under /out than Request.Disk, or more names than MaxNames, MaxPaths and MaxFolder allow
	LimitOutput int32 = 3 // more on stdout or stderr than Request.Stream
)

// String returns the kind's name in results, logs and errors.
func (k Kind) String() string {
	switch k {
	case Exited:
		return "exit"
	case Trapped:
		return "trap"
	case Limited:
		return "limit"
	case TimedOut:
		return "timeout"
	case Broken:
		return "host"
	default:
		return "unknown"
	}
}

// Deterministic reports whether two honest machines of one class end a run of
// one task in the same way (protocol, section 5).
func (k Kind) Deterministic() bool { return k == Exited || k == Trapped || k == Limited }

// Result is what became of a run.
type Result struct {
	Kind Kind
	Code int32 // by Kind; 0 for TimedOut and Broken

	// Stdout and Stderr are what the program wrote, at most Request.Stream
	// bytes each. For TimedOut and Broken they are what had arrived.
	Stdout, Stderr []byte
	// Out holds the collected files, sorted by path, as the program left them
	// when it ended, trapped or met a limit; nil for TimedOut and Broken. A
	// name in Request.Outputs that does not exist is left out.
	Out []File

	// Begun says of TimedOut and Broken that the program may have begun.
	Begun bool

	Use    Use
	Reason string // one line for people; may differ between machines
}

// Use is what a run cost on this machine.
type Use struct {
	CPU        time.Duration // of the program and the engine around it
	Wall       time.Duration
	MemoryPeak int64 // bytes, counted as Request.Memory is
	In, Out    int64 // bytes of inputs given and outputs collected, without the streams
}

// Class names the machines on which a module gives the same result.
type Class string

// Portable is the class of modules that give the same result everywhere.
const Portable Class = "portable"

// Arch returns the class of modules that give the same result on machines of
// one architecture, named as GOARCH.
func Arch(goarch string) Class { return Class("arch/" + goarch) }

// Executor runs programs of one form. All methods are safe for concurrent use.
type Executor interface {
	// Inspect returns the class of a module on this machine, or an error that
	// says to a person why it cannot run. It starts nothing and is cheap
	// enough to be asked for every job.
	Inspect(module []byte) (Class, error)

	// Run runs a program to its end and blocks until then. When ctx ends, the
	// program is stopped and the error is ctx's; on a closed executor it is
	// ErrClosed. Everything else is in the Result.
	Run(ctx context.Context, req Request) (Result, error)

	// RunEach runs a program for many tasks, one after the other, each as if by
	// Run: what one does is nothing to the next. It takes tasks from next, some
	// of them ahead, until that says false, and hands their results to done in
	// the order in which they were taken, in which neither is called while the
	// other runs. Live copies of the streams are not made. Callers that want
	// more than one run at a time call it more than once at a time. An error of
	// next or done ends it and is returned; else errors are those of Run.
	RunEach(ctx context.Context, req Request, next func() (Task, bool, error), done func(Result) error) error
}
