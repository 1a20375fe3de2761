package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"

	"github.com/muster-network/muster/jobs/exec"
)

// heldModules is how many compiled modules an engine keeps ready.
const heldModules = 8

// hash is the SHA-256 of a module.
type hash [32]byte

// engine compiles modules and runs one guest at a time. It is not safe for
// concurrent use.
type engine struct {
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	held    map[hash]*loaded
	clock   uint64 // counts uses, to find the one longest unused
}

type loaded struct {
	code  wazero.CompiledModule
	pages uint32
	used  uint64
}

// newEngine returns an engine that keeps compiled code in the folder cacheDir,
// or, when that is empty, in memory only.
func newEngine(ctx context.Context, cacheDir string) (e *engine, err error) {
	defer unmapped(&err)
	cache := wazero.NewCompilationCache()
	if cacheDir != "" {
		if cache, err = wazero.NewCompilationCacheWithDir(cacheDir); err != nil {
			return nil, err
		}
	}
	// Never the interpreter, which the library would fall back to without a word:
	// its stack is of another depth, and so programs would end otherwise.
	config := configure(wazero.NewRuntimeConfigCompiler()).WithCompilationCache(cache)
	e = &engine{runtime: wazero.NewRuntimeWithConfig(ctx, config), cache: cache, held: map[hash]*loaded{}}
	if err := offerWASI(ctx, e.runtime); err != nil {
		_ = e.close(ctx)
		return nil, fmt.Errorf("offer WASI: %w", err)
	}
	return e, nil
}

// configure says what a module may be. The limit here is what a 32-bit memory can
// have; the run's own is kept by its account, which knows the files as well.
func configure(config wazero.RuntimeConfig) wazero.RuntimeConfig {
	return config.WithMemoryLimitPages(1 << 16).
		WithMemoryCapacityFromMax(true).
		WithDebugInfoEnabled(false)
}

// validate returns what there is against a module on every machine. It compiles
// nothing: nothing in it depends on the processor, or on what the system allows.
func validate(ctx context.Context, code []byte) error {
	if _, err := decode(code); err != nil {
		return err
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, configure(wazero.NewRuntimeConfigInterpreter()))
	_, err := runtime.CompileModule(ctx, code)
	return errors.Join(err, runtime.Close(ctx))
}

// unmapped turns the engine's panic over compiled code that the system does not
// map for it into an error.
func unmapped(err *error) {
	switch r := recover().(type) {
	case nil:
	case syscall.Errno:
		*err = fmt.Errorf("map compiled code: %w", r)
	default:
		panic(r)
	}
}

func (e *engine) close(ctx context.Context) error {
	return errors.Join(e.runtime.Close(ctx), e.cache.Close(ctx))
}

// has reports whether a module is compiled and held, and counts that as a use.
func (e *engine) has(id hash) bool {
	m := e.held[id]
	if m == nil {
		return false
	}
	e.clock++
	m.used = e.clock
	return true
}

// load compiles a module, or takes its code from the cache, and holds it in
// place of the one longest unused. An error is this machine's where validate has
// none.
func (e *engine) load(ctx context.Context, id hash, code []byte) (err error) {
	defer unmapped(&err)
	if e.has(id) {
		return nil
	}
	m, err := decode(code)
	if err != nil {
		return err
	}
	compiled, err := e.runtime.CompileModule(ctx, code)
	if err != nil {
		return err
	}
	if len(e.held) >= heldModules {
		var oldest hash
		least := ^uint64(0)
		for id, m := range e.held {
			if m.used < least {
				oldest, least = id, m.used
			}
		}
		_ = e.held[oldest].code.Close(ctx) // never returns an error
		delete(e.held, oldest)
	}
	e.clock++
	e.held[id] = &loaded{code: compiled, pages: m.pages, used: e.clock}
	return nil
}

// job is one run for an engine.
type job struct {
	task           [32]byte
	module         hash
	args, env      []string
	inputs         []exec.File
	outputs        []string
	everything     bool
	stdout, stderr io.Writer // called before a byte counts; panic to end the run
}

// outcome is what the engine says of a run.
type outcome struct {
	kind   exec.Kind
	code   int32
	reason string
	begun  bool // the program was entered
	out    []exec.File
	peak   int64
}

// run runs a held module in a fresh instance.
func (e *engine) run(ctx context.Context, j *job, a *account) outcome {
	t := newTree(a)
	for _, f := range j.inputs {
		if !a.input(int64(len(f.Data))) {
			return limited(a, exec.LimitMemory)
		}
		if !t.addInput(f.Path, f.Data) {
			return outcome{kind: exec.Broken, reason: reasonOf(fmt.Errorf("inputs: %q is both a file and a folder", f.Path))}
		}
	}
	m := e.held[j.module]
	if int64(m.pages)*pageSize > a.memory-a.inputs {
		return limited(a, exec.LimitMemory)
	}
	o := e.instantiate(ctx, m, j, a, t)
	o.begun, o.peak = true, a.peak
	if o.kind.Deterministic() {
		o.out = t.collect(j.everything, j.outputs)
	}
	return o
}

// instantiate runs a guest from its first instruction to its end.
func (e *engine) instantiate(ctx context.Context, m *loaded, j *job, a *account, t *tree) outcome {
	memory := &linear{account: a}
	defer memory.Free()
	err := e.call(experimental.WithMemoryAllocator(ctx, memory), m, j.config(t))
	switch {
	case a.broken != nil:
		return outcome{kind: exec.Broken, reason: reasonOf(a.broken)}
	case a.over != 0:
		return limited(a, a.over)
	}
	return judge(err)
}

// call instantiates a module, which runs it. A panic out of a host function
// comes back as an error, also where the engine lets it pass: while the memory
// is first allocated.
func (e *engine) call(ctx context.Context, m *loaded, config wazero.ModuleConfig) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v%s", r, recovered)
		}
	}()
	instance, err := e.runtime.InstantiateModule(ctx, m.code, config)
	if instance != nil {
		_ = instance.Close(ctx) // its files and memory are ours: nothing to report
	}
	return err
}

// config says all that a guest sees of the world.
func (j *job) config(t *tree) wazero.ModuleConfig {
	time := newClocks()
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions("_start").
		WithArgs(j.args...).
		WithStdout(j.stdout).
		WithStderr(j.stderr).
		WithWalltime(time.walltime, sys.ClockResolution(tick)).
		WithNanotime(time.nanotime, sys.ClockResolution(tick)).
		WithNanosleep(time.sleep).
		WithRandSource(newRandom(j.task)).
		WithFSConfig(wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(t, "/"))
	for _, kv := range j.env {
		key, value, _ := strings.Cut(kv, "=")
		config = config.WithEnv(key, value)
	}
	return config
}

func limited(a *account, code int32) outcome {
	o := outcome{kind: exec.Limited, code: code, peak: a.peak}
	switch code {
	case exec.LimitMemory:
		o.reason = fmt.Sprintf("needs more memory than the limit of %d bytes, inputs and outputs included", a.memory)
	case exec.LimitDisk:
		o.reason = fmt.Sprintf("wrote more under /out than the limit of %d bytes", a.disk)
		if a.crowded {
			o.reason = fmt.Sprintf("made more names under /out than are kept: %d, in paths of %d bytes together, %d of them in one folder",
				exec.MaxNames, exec.MaxPaths, exec.MaxFolder)
		}
	case exec.LimitOutput:
		o.reason = "wrote more on stdout or stderr than the limit"
	}
	return o
}

// Codes of exec.Trapped. They are part of a certified value and never change;
// 0 is a trap that this version has no number for.
const (
	TrapUnreachable       int32 = 1
	TrapDivideByZero      int32 = 2
	TrapIntegerOverflow   int32 = 3
	TrapInvalidConversion int32 = 4
	TrapMemoryAccess      int32 = 5
	TrapTableAccess       int32 = 6
	TrapSignature         int32 = 7
	TrapStackOverflow     int32 = 8
	TrapHostCall          int32 = 9  // a host function was called with nonsense
	TrapInvalidModule     int32 = 10 // the module does not pass the engine's checks
)

// judge says what the engine's error means. Without one, or with an ExitError,
// the program ended itself.
func judge(err error) outcome {
	if err == nil {
		return outcome{kind: exec.Exited}
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return outcome{kind: exec.Exited, code: int32(exit.ExitCode())}
	}
	return outcome{kind: exec.Trapped, code: trapCode(err), reason: reasonOf(err)}
}

// recovered is what the engine adds to the text of what a host function panicked
// with.
const recovered = " (recovered by wazero)"

// trapCode goes by the error at the bottom alone, or by what it was recovered with:
// the texts around that, and after their first line, hold names that the module
// gives to its functions.
func trapCode(err error) int32 {
	for {
		text, inner := err.Error(), errors.Unwrap(err)
		if inner == nil {
			return bottomCode(text)
		}
		if strings.HasPrefix(text, inner.Error()+recovered) {
			return TrapHostCall
		}
		err = inner
	}
}

func bottomCode(text string) int32 {
	switch text {
	case "unreachable":
		return TrapUnreachable
	case "integer divide by zero":
		return TrapDivideByZero
	case "integer overflow":
		return TrapIntegerOverflow
	case "invalid conversion to integer":
		return TrapInvalidConversion
	case "out of bounds memory access":
		return TrapMemoryAccess
	case "invalid table access":
		return TrapTableAccess
	case "indirect call type mismatch":
		return TrapSignature
	case "stack overflow":
		return TrapStackOverflow
	}
	if line, _, _ := strings.Cut(text, "\n"); strings.HasSuffix(line, recovered) { // of what was no error
		return TrapHostCall
	}
	return 0
}
