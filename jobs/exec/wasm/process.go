package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"sync"
	"time"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
)

// InFD and OutFD are the descriptors that a worker process finds its pipes on.
const (
	InFD  = 3
	OutFD = 4
)

// process is the executor's side of one worker process. One run has it at a
// time; only kill may be called beside that.
type process struct {
	cmd     *osexec.Cmd
	in, out *os.File // to and from the worker
	wire    *wire
	cpu     time.Duration // the worker's, as it last said
	idle    func() bool   // stops the timer that ends an idle process
	reap    sync.Once
}

// start starts a worker. It has no environment and no descriptor but its two.
func start(command Command, h hello) (*process, error) {
	if err := sealDescriptors(); err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer theirOut.Close()

	cmd := osexec.Command(command.Path, command.Args...)
	cmd.Env = []string{}
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // from descriptor 3: InFD, OutFD
	cmd.SysProcAttr = processAttributes()
	p := &process{cmd: cmd, in: in, out: out, wire: newWire(out, in)}
	if err := cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	if err := errors.Join(p.wire.send(frameHello, h), p.wire.flush()); err != nil {
		p.end()
		return nil, fmt.Errorf("greet worker: %w", err)
	}
	return p, nil
}

// greeted reads the worker's hello. It blocks until the worker is up.
func (p *process) greeted() error {
	var h hello
	if err := p.wire.expect(frameHello, &h); err != nil {
		return err
	}
	if h.Version != wireVersion {
		return fmt.Errorf("worker speaks version %d, not %d", h.Version, wireVersion)
	}
	p.cpu = time.Duration(h.CPU)
	return nil
}

// kill stops the worker at once. Whoever reads from it sees the end of its
// output and calls end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it has ended already
}

// end kills the worker, if need be, and waits until it is gone. It returns the
// CPU time the worker used beyond what it has told.
func (p *process) end() time.Duration {
	p.reap.Do(func() {
		p.kill()
		p.in.Close()
		p.out.Close()
		_ = p.cmd.Wait() // killed: the error says no more than that
	})
	state := p.cmd.ProcessState
	return max(0, state.UserTime()+state.SystemTime()-p.cpu)
}

// compile has the worker compile a module into the cache.
func (p *process) compile(id hash, module []byte) (doneFrame, error) {
	var done doneFrame
	err := p.greeted()
	if err == nil {
		err = p.sendCode(id, module)
	}
	if err == nil {
		err = p.wire.expect(frameDone, &done)
	}
	return done, err
}

func (p *process) sendCode(id hash, module []byte) error {
	return errors.Join(
		p.wire.send(frameCode, codeFrame{Module: id[:], Size: int64(len(module))}),
		p.wire.sendData(module),
		p.wire.flush(),
	)
}

// run has the worker run one job, feeding the streams as they come, and fills
// in what became of it. An error means that the worker is of no more use; given says
// whether it had the job by then.
func (p *process) run(req *exec.Request, id hash, stdout, stderr *live) (res exec.Result, given bool, err error) {
	if err := errors.Join(p.sendJob(req, id), p.wire.flush()); err != nil {
		return exec.Result{}, false, err
	}
	res, err = p.result(req, id, stdout, stderr)
	return res, true, err
}

func (p *process) sendJob(req *exec.Request, id hash) error {
	f := jobFrame{
		Task: req.Task[:], Module: id[:], Args: req.Args, Env: req.Env,
		Inputs: len(req.Inputs), Outputs: req.Outputs, Everything: req.Outputs == nil,
		Memory: req.Memory, Disk: req.Disk, Stream: req.Stream,
	}
	return errors.Join(p.wire.send(frameJob, f), p.wire.sendFiles(req.Inputs))
}

// sendJobs sends jobs of one module, one after the other.
func (p *process) sendJobs(reqs []exec.Request, id hash) error {
	for i := range reqs {
		if err := p.sendJob(&reqs[i], id); err != nil {
			return err
		}
	}
	return p.wire.flush()
}

// result waits for what becomes of a job that was sent.
func (p *process) result(req *exec.Request, id hash, stdout, stderr *live) (exec.Result, error) {
	for {
		kind, body, err := p.wire.next()
		if err != nil {
			return exec.Result{}, err
		}
		switch kind {
		case frameWant:
			err = p.sendCode(id, req.Module)
		case frameStdout:
			err = stdout.receive(body)
		case frameStderr:
			err = stderr.receive(body)
		case frameDone:
			return p.finish(req, body)
		default:
			err = fmt.Errorf("frame of kind %d", kind)
		}
		if err != nil {
			return exec.Result{}, err
		}
	}
}

// finish reads the last frame of a run, and the outputs after it.
func (p *process) finish(req *exec.Request, body []byte) (exec.Result, error) {
	var done doneFrame
	if err := dagcbor.Unmarshal(body, &done); err != nil {
		return exec.Result{}, err
	}
	out, err := p.wire.readFiles(done.Out, bounds{files: exec.MaxNames, paths: exec.MaxPaths, data: req.Disk})
	if err != nil {
		return exec.Result{}, err
	}
	if err := checkFiles(out); err != nil {
		return exec.Result{}, fmt.Errorf("outputs: %w", err)
	}
	res := exec.Result{Kind: exec.Kind(done.Kind), Code: done.Code, Reason: done.Reason, Out: out}
	res.Begun = done.Begun && !res.Kind.Deterministic()
	res.Use.CPU = time.Duration(done.CPU) - p.cpu
	res.Use.MemoryPeak = done.Peak
	p.cpu = time.Duration(done.CPU)
	return res, nil
}

// live collects one stream of a run and passes it on as it comes. A second
// attempt at the run writes the same bytes again; they are passed on once.
type live struct {
	kept   []byte
	limit  int64
	copy   io.Writer // or nil
	passed int       // bytes of kept that copy has had
}

func (l *live) receive(body []byte) error {
	var p []byte
	if err := dagcbor.Unmarshal(body, &p); err != nil {
		return err
	}
	if int64(len(l.kept)+len(p)) > l.limit {
		return errors.New("more output than the limit")
	}
	l.kept = append(l.kept, p...)
	if l.copy != nil && len(l.kept) > l.passed {
		_, _ = l.copy.Write(bytes.Clone(l.kept[l.passed:])) // a reader that is gone does not stop the run
		l.passed = len(l.kept)
	}
	return nil
}

// again forgets what a failed attempt wrote, but not that it was passed on.
func (l *live) again() { l.kept = l.kept[:0] }
