package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// WorkerMain is the whole life of a worker process: it reads jobs from
// descriptor 3 (InFD), runs them one after the other, writes what became of them
// to descriptor 4 (OutFD), and returns the process's exit code when the jobs end.
// The binary must call this before any other set-up when it is started with the
// executor's Command.
func WorkerMain() int {
	in, err := openPipe(InFD, "jobs")
	if err != nil {
		return 4
	}
	out, err := openPipe(OutFD, "results")
	if err != nil {
		return 4
	}
	return work(in, out)
}

// openPipe takes over a pipe that the process was started with. Whoever waits
// on it parks: in a read that blocks its thread it would look busy to the Go
// runtime, whose monitor then wakes every 20 us for a while after each job.
func openPipe(fd int, name string) (*os.File, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("open pipe of %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func work(in, out *os.File) int {
	w := &worker{wire: newWire(in, out)}
	var h hello
	if err := w.wire.expect(frameHello, &h); err != nil || h.Version != wireVersion {
		return 2
	}
	if err := confine(h.Compile, h.Data); err != nil {
		return 3
	}
	// The process has no caller to take a context from: it lives until in
	// ends or it is killed.
	ctx := context.Background()
	run := w.serve
	if h.Compile {
		run = w.compile
	}
	if err := run(ctx, h.Cache); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// worker is the state of a worker process.
type worker struct {
	engine *engine
	base   int64 // bytes of data the process had before its first guest

	mu      sync.Mutex // guards what follows against the late flush, while a job runs
	wire    *wire
	frame   byte   // kind of the stream that pending is of
	pending []byte // what the guest wrote and no frame holds yet
	flushed time.Time
}

// serve runs jobs until there are no more.
func (w *worker) serve(ctx context.Context, cache string) error {
	engine, err := newEngine(ctx, cache)
	if err != nil {
		return err
	}
	w.engine = engine
	w.base = dataSize()
	if err := w.greet(); err != nil {
		return err
	}
	for {
		var f jobFrame
		if err := w.wire.expect(frameJob, &f); err != nil {
			return err
		}
		if err := w.job(ctx, &f); err != nil {
			return err
		}
	}
}

// greet says that the worker is up, and what that cost.
func (w *worker) greet() error {
	h := hello{Version: wireVersion, CPU: int64(cpuTime())}
	return errors.Join(w.wire.send(frameHello, h), w.wire.flush())
}

// job runs one job. An error ends the worker.
func (w *worker) job(ctx context.Context, f *jobFrame) error {
	id, task := hash(f.Module), [32]byte(f.Task)
	held := w.engine.has(id)
	if !held {
		if err := errors.Join(w.wire.send(frameWant, struct{}{}), w.wire.flush()); err != nil {
			return err
		}
	}
	inputs, err := w.wire.readFiles(f.Inputs, bounds{files: exec.MaxInputs, paths: exec.MaxInputPaths, data: f.Memory})
	if err != nil {
		return err
	}
	if !held {
		if err := w.fetch(ctx, id); err != nil {
			return w.done(outcome{kind: exec.Broken, reason: reasonOf(err)})
		}
	}
	if err := limitData(w.base, f.Memory); err != nil {
		return err
	}
	a := &account{memory: f.Memory, disk: f.Disk}
	late := time.AfterFunc(time.Hour, w.flush)
	late.Stop()
	w.flushed = time.Time{} // the first output leaves at once
	o := w.engine.run(ctx, &job{
		task: task, module: id, args: f.Args, env: f.Env,
		inputs: inputs, outputs: f.Outputs, everything: f.Everything,
		stdout: &stream{worker: w, account: a, frame: frameStdout, left: f.Stream, late: late},
		stderr: &stream{worker: w, account: a, frame: frameStderr, left: f.Stream, late: late},
	}, a)
	late.Stop()
	return w.done(o)
}

// fetch reads a module from the executor and loads it. Its code is in the cache
// already; a worker that finds it missing cannot write there, and says so.
func (w *worker) fetch(ctx context.Context, id hash) error {
	var c codeFrame
	if err := w.wire.expect(frameCode, &c); err != nil {
		return err
	}
	if hash(c.Module) != id || c.Size > maxModule {
		return errors.New("not the module asked for")
	}
	code, err := w.wire.readData(c.Size)
	if err != nil {
		return err
	}
	return w.engine.load(ctx, id, code)
}

// done reports an outcome.
func (w *worker) done(o outcome) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(
		w.sendPending(),
		w.wire.send(frameDone, doneFrame{
			Kind: int(o.kind), Code: o.code, Reason: o.reason, Begun: o.begun,
			CPU: int64(cpuTime()), Peak: o.peak, Out: len(o.out),
		}),
		w.wire.sendFiles(o.out),
		w.wire.flush(),
	)
}

func (w *worker) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The next write of the job meets the same error.
	_ = errors.Join(w.sendPending(), w.wire.flush())
}

// lateFlush is how long a piece of a stream may wait for company.
const lateFlush = 20 * time.Millisecond

// maxPending is how many bytes of a stream wait for a frame at most.
const maxPending = 32 << 10

// stream takes what a guest writes to stdout or stderr. What fits the limit
// leaves at once after a pause, and else within lateFlush unless the guest
// computes without a pause; the byte that does not fit ends the guest.
type stream struct {
	worker  *worker
	account *account
	frame   byte
	left    int64 // bytes that may still come
	late    *time.Timer
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	fits := p[:min(int64(len(p)), s.left)]
	if err := s.send(fits); err != nil {
		s.account.fail(fmt.Errorf("send output: %w", err))
	}
	s.left -= int64(len(fits))
	if len(fits) < len(p) {
		s.account.stop(exec.LimitOutput)
	}
	return len(p), nil
}

// send queues a piece of a stream. Pieces are joined while they come fast, but
// the two streams stay in the order in which they were written.
func (s *stream) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	w := s.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	first := len(w.pending) == 0
	if w.frame != s.frame {
		if err := w.sendPending(); err != nil {
			return err
		}
	}
	w.frame = s.frame
	for {
		n := min(len(p), maxPending-len(w.pending))
		w.pending = append(w.pending, p[:n]...)
		if p = p[n:]; len(p) == 0 {
			break
		}
		if err := errors.Join(w.sendPending(), w.wire.flush()); err != nil {
			return err
		}
	}
	// The guest's own goroutine flushes what comes after a pause: a guest that
	// computes from here on can hold up all others, and with them the timer.
	if now := time.Now(); now.Sub(w.flushed) >= lateFlush {
		w.flushed = now
		return errors.Join(w.sendPending(), w.wire.flush())
	}
	if first {
		s.late.Reset(lateFlush)
	}
	return nil
}

// sendPending puts the pieces that wait into a frame. The caller holds mu.
func (w *worker) sendPending() error {
	if len(w.pending) == 0 {
		return nil
	}
	err := w.wire.send(w.frame, w.pending)
	w.pending = w.pending[:0]
	return err
}
