// Package wasm runs WebAssembly programs (WASI preview 1) for package exec.
//
// # Workers
//
// Programs run in worker processes: the node's own binary, started again with
// Command, which must lead it straight to WorkerMain. A worker runs one guest
// at a time, each in a fresh instance; it keeps the compiled modules it used
// last, is started on demand and ends when it was idle for a while. It has no
// environment, two pipes (InFD, OutFD), and limits on files, core dumps and
// data; it dies with the node. A guest that runs too long is stopped by killing
// its worker, which costs nothing, where asking the engine to check for it
// would slow every guest down. When a worker dies under a run that nobody
// stopped, the run is tried once more in a new one, then it is exec.Broken.
//
// Compiled code is kept on disk by module. Only a worker that compiles and runs
// no guest writes there; those that run guests cannot write files at all. One
// that compiles has a limit of data, too: a module that is not compiled within
// 2 GiB is exec.Broken. Two modules are compiled at a time, others wait their turn.
// Nothing is ever interpreted: New refuses where nothing can be compiled.
//
// # What a program sees
//
// A file system in memory with /in (read-only) and /out, sorted, without times,
// links or anything else; two clocks that move only when read or slept on;
// random bytes seeded by the task; its arguments and environment; an empty
// stdin (protocol, section 5, "profile"). fd_renumber and sockets are refused
// with the errors that WASI has for it.
//
// # Limits
//
// Request.Memory covers the linear memory and all files, with 512 bytes for
// every file, folder and open descriptor, and the path that one was opened by. When the linear memory would grow
// beyond it, memory.grow returns -1 and the program goes on; most then trap or
// exit by themselves. When a file would, or when the memory a module starts
// with does not fit, the run ends as exec.Limited. Request.Disk covers the
// bytes of files under /out, whose names have bounds of their own (package
// exec), Request.Stream each stream: the first byte too many ends the run as
// exec.Limited, and what fitted is kept.
//
// How deep a program may recurse depends on the machine's architecture, also
// for portable modules. A program that overflows its stack traps on all.
package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// Profile is the version of what a program sees: clocks, randomness, file
// system, limits and trap codes. Programs that may be certified together ran
// under the same one.
const Profile = "wasip1/1"

// Command starts a worker: a program and its arguments, without the name.
type Command struct {
	Path string
	Args []string
}

// Config says how an executor works. The zero value is usable but for Command.
type Config struct {
	Command Command       // how to start a worker; Path "" is this binary
	Workers int           // most worker processes that run guests at a time; 0 is twice the CPUs, at least 4
	Idle    time.Duration // how long an unused worker is kept; 0 is 30 s
	Compile time.Duration // wall time to compile a module; 0 is 60 s
	Cache   string        // folder of compiled code; "" is a temporary one, removed by Close

	// After calls f in its own goroutine after d, unless stop is called first;
	// stop reports whether it prevented the call. nil is time.AfterFunc.
	After func(d time.Duration, f func()) (stop func() bool)
}

// Executor runs WebAssembly programs. It implements exec.Executor.
type Executor struct {
	config Config
	own    bool // the cache folder is ours to remove

	compileData int64 // hello.Data

	slots     chan struct{} // one for each worker process that runs guests
	compiling chan struct{} // one for each that compiles
	closing   chan struct{}
	running   sync.WaitGroup // runs, and ends of idle workers

	mu       sync.Mutex
	closed   bool
	idle     []*process            // the one used last is at the end
	busy     map[*process]struct{} // to be killed by Close
	compiled map[hash]*compilation
	inspects map[hash]inspection
}

var _ exec.Executor = (*Executor)(nil)

// ErrNoCompiler says that programs cannot be compiled for, or on, this machine. They
// are not interpreted instead: how deep they may recurse would differ from what
// other machines of its class certify.
var ErrNoCompiler = errors.New("this machine cannot run compiled programs")

// New returns an executor, or an ErrNoCompiler. It starts no process; Close must be
// called to end those that runs will start.
func New(config Config) (*Executor, error) {
	if err := canCompile(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCompiler, err)
	}
	e := &Executor{
		config:      config,
		compileData: compileData,
		compiling:   make(chan struct{}, compilers),
		closing:     make(chan struct{}),
		busy:        map[*process]struct{}{},
		compiled:    map[hash]*compilation{},
		inspects:    map[hash]inspection{},
	}
	c := &e.config
	if c.Command.Path == "" {
		c.Command.Path = "/proc/self/exe"
	}
	if c.Workers == 0 {
		c.Workers = max(4, 2*runtime.NumCPU())
	}
	if c.Idle == 0 {
		c.Idle = 30 * time.Second
	}
	if c.Compile == 0 {
		c.Compile = time.Minute
	}
	if c.After == nil {
		c.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	e.slots = make(chan struct{}, c.Workers)
	if c.Cache == "" {
		dir, err := os.MkdirTemp("", "muster-wasm-")
		if err != nil {
			return nil, fmt.Errorf("make cache for compiled code: %w", err)
		}
		c.Cache, e.own = dir, true
		return e, nil
	}
	if err := os.MkdirAll(c.Cache, 0o700); err != nil {
		return nil, fmt.Errorf("make cache for compiled code: %w", err)
	}
	return e, nil
}

// Close kills all workers, waits for all runs to return and removes a temporary
// cache. It may be called more than once.
func (e *Executor) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	idle := e.idle
	e.idle = nil
	for p := range e.busy {
		p.kill()
	}
	e.mu.Unlock()
	if first {
		close(e.closing)
	}
	for _, p := range idle {
		p.idle()
		p.end()
	}
	e.running.Wait()
	if first && e.own {
		return os.RemoveAll(e.config.Cache)
	}
	return nil
}

// keptVerdicts bounds what is remembered of modules. They are few in practice;
// beyond it all is forgotten and found out again.
const keptVerdicts = 4096

type inspection struct {
	class exec.Class
	err   error
}

// Inspect implements exec.Executor: it decodes the module and every instruction
// in it. A module that passes may still fail the engine's type checks; its runs
// then end as exec.Trapped with TrapInvalidModule.
func (e *Executor) Inspect(code []byte) (exec.Class, error) {
	id := hash(sha256.Sum256(code))
	e.mu.Lock()
	seen, ok := e.inspects[id]
	e.mu.Unlock()
	if ok {
		return seen.class, seen.err
	}
	m, err := decode(code)
	if err != nil {
		seen.err = fmt.Errorf("cannot run this module: %w", err)
	} else {
		seen.class = m.class()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.inspects) >= keptVerdicts {
		clear(e.inspects)
	}
	e.inspects[id] = seen
	return seen.class, seen.err
}

// Run implements exec.Executor. Runs beyond Config.Workers wait their turn;
// neither that nor compiling counts towards Request.Timeout.
func (e *Executor) Run(ctx context.Context, req exec.Request) (exec.Result, error) {
	if err := e.begin(ctx); err != nil {
		return exec.Result{}, err
	}
	defer e.running.Done()
	if err := checkRequest(&req); err != nil {
		return broken(err), nil
	}
	if o := checkInputs(&req); o.kind != 0 {
		return exec.Result{Kind: o.kind, Code: o.code, Reason: o.reason, Use: exec.Use{MemoryPeak: o.peak}}, nil
	}
	res := e.attempt(ctx, &req, hash(sha256.Sum256(req.Module)))
	if res.Kind == exec.Broken {
		if err := e.ended(ctx); err != nil {
			return exec.Result{}, err
		}
	}
	measure(&res, &req)
	return res, nil
}

// measure fills in the bytes that went in and came out.
func measure(res *exec.Result, req *exec.Request) {
	for _, f := range req.Inputs {
		res.Use.In += int64(len(f.Data))
	}
	for _, f := range res.Out {
		res.Use.Out += int64(len(f.Data))
	}
}

// begin counts a run for Close, until running.Done.
func (e *Executor) begin(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return exec.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	e.running.Add(1)
	return nil
}

// enter waits for a worker's slot. The module is compiled by then, unless its code
// has gone since: who waits for that keeps no slot from others.
func (e *Executor) enter(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		if err := e.ended(ctx); err != nil {
			e.leave()
			return err
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closing:
		return exec.ErrClosed
	}
}

func (e *Executor) leave() { <-e.slots }

// ended returns why nobody waits for a result any more, or nil.
func (e *Executor) ended(ctx context.Context) error {
	select {
	case <-e.closing:
		return exec.ErrClosed
	default:
		return ctx.Err()
	}
}

// attempt compiles and runs, and when that fails through no fault of the
// program, does both once more from the start, unless the program may have begun
// and must not again. It ends as Broken, too, when nobody waits any more.
func (e *Executor) attempt(ctx context.Context, req *exec.Request, id hash) (res exec.Result) {
	stdout := &live{limit: req.Stream, copy: req.Stdout}
	stderr := &live{limit: req.Stream, copy: req.Stderr}
	for try := range 2 {
		stdout.again()
		stderr.again()
		res = e.attemptOnce(ctx, req, id, stdout, stderr, try > 0 || req.Once)
		if res.Kind != exec.Broken || e.ended(ctx) != nil {
			break
		}
		e.forget(id) // the code may be gone from the cache
		if req.Once && res.Begun {
			break
		}
	}
	res.Stdout, res.Stderr = stdout.kept, stderr.kept
	return res
}

func (e *Executor) attemptOnce(ctx context.Context, req *exec.Request, id hash, stdout, stderr *live, fresh bool) exec.Result {
	verdict, err := e.compile(ctx, id, req.Module)
	switch {
	case err != nil:
		return broken(err)
	case verdict.kind != exec.Exited:
		return exec.Result{Kind: verdict.kind, Code: verdict.code, Reason: verdict.reason}
	}
	if err := e.enter(ctx); err != nil {
		return broken(err)
	}
	defer e.leave()
	p, err := e.take(fresh)
	if err != nil {
		return broken(err)
	}
	return e.runOn(ctx, p, req, id, stdout, stderr)
}

// runOn gives the job to one worker and waits for what becomes of both.
func (e *Executor) runOn(ctx context.Context, p *process, req *exec.Request, id hash, stdout, stderr *live) exec.Result {
	begun := time.Now()
	var late atomic.Bool
	unwatch := context.AfterFunc(ctx, p.kill)
	unlimit := func() bool { return true }
	if req.Timeout > 0 {
		unlimit = e.config.After(req.Timeout, func() {
			late.Store(true)
			p.kill()
		})
	}
	res, given, err := p.run(req, id, stdout, stderr)
	wall := time.Since(begun)
	// A kill on its way makes the worker useless, but not what it said before.
	unkilled := unwatch()
	unkilled = unlimit() && unkilled
	if err == nil && res.Kind != exec.Broken && unkilled {
		e.give(p)
	} else if rest := e.discard(p); err != nil {
		res = broken(fmt.Errorf("worker: %w", err))
		if late.Load() {
			res = exec.Result{Kind: exec.TimedOut, Reason: fmt.Sprintf("did not end within %v", req.Timeout)}
		}
		res.Use.CPU = rest
		res.Begun = given // the worker is gone, and did not say how far it came
	}
	res.Use.Wall = wall
	return res
}
