package wasm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// How far RunEach goes ahead: the tasks that a worker is given at a time take it
// about aheadTime, so that it need not wait for the next while they are short,
// and holds none back from other workers while they are long.
const (
	aheadTime  = 5 * time.Millisecond
	aheadTasks = 64
	aheadBytes = 1 << 20 // of their inputs
)

// RunEach implements exec.Executor. All tasks run in one worker, until one of
// them has to be killed or breaks it; the next goes on in another. None is taken
// before there is room for a worker: who runs beside this one may have to wait for
// the result of the first.
func (e *Executor) RunEach(ctx context.Context, req exec.Request, next func() (exec.Task, bool, error), done func(exec.Result) error) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.running.Done()
	l := &lane{e: e, shared: req, id: hash(sha256.Sum256(req.Module)), next: next, done: done, ahead: 1}
	_, _ = e.compile(ctx, l.id, req.Module) // asked again with a task, which it is held against
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	defer l.leave(ctx)
	return l.run(ctx)
}

// lane is one RunEach.
type lane struct {
	e      *Executor
	shared exec.Request
	id     hash
	next   func() (exec.Task, bool, error)
	done   func(exec.Result) error

	worker *process       // nil: none yet, or the last is gone
	fresh  bool           // the worker may not hold the module
	tasks  []exec.Request // taken, and without result
	last   bool           // there are no more to take
	failed bool           // the first of tasks broke a worker once
	ahead  int            // how many a worker is given at a time
}

// leave gives the worker back, unless it may have been killed.
func (l *lane) leave(ctx context.Context) {
	if ctx.Err() != nil {
		l.drop()
	}
	if l.worker != nil {
		l.e.give(l.worker)
	}
}

func (l *lane) run(ctx context.Context) error {
	for {
		if err := l.e.ended(ctx); err != nil {
			return err
		}
		if err := l.take(); err != nil {
			return err
		}
		if len(l.tasks) == 0 {
			return nil
		}
		if err := l.runTaken(ctx); err != nil {
			return err
		}
	}
}

// take asks for as many tasks as a worker is given at a time.
func (l *lane) take() error {
	size := 0
	for !l.last && len(l.tasks) < l.ahead && size < aheadBytes {
		t, ok, err := l.next()
		if err != nil {
			return err
		}
		if !ok {
			l.last = true
			return nil
		}
		req := l.shared
		req.Task, req.Args, req.Env, req.Stdout, req.Stderr = t.Seed, t.Args, t.Env, nil, nil
		req.Inputs = merge(l.shared.Inputs, t.Inputs)
		for _, f := range req.Inputs {
			size += len(f.Data)
		}
		l.tasks = append(l.tasks, req)
	}
	return nil
}

func merge(a, b []exec.File) []exec.File {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y exec.File) int { return cmp.Compare(x.Path, y.Path) })
	return all
}

// runTaken brings at least one of the tasks that were taken on.
func (l *lane) runTaken(ctx context.Context) error {
	first := &l.tasks[0]
	if err := checkRequest(first); err != nil {
		return l.end(broken(err))
	}
	if o := checkInputs(first); o.kind != 0 {
		return l.end(exec.Result{Kind: o.kind, Code: o.code, Reason: o.reason, Use: exec.Use{MemoryPeak: o.peak}})
	}
	if l.worker == nil {
		verdict, err := l.e.compile(ctx, l.id, first.Module)
		if err != nil {
			return l.broke(ctx, err)
		}
		if verdict.kind != exec.Exited {
			return l.end(exec.Result{Kind: verdict.kind, Code: verdict.code, Reason: verdict.reason})
		}
		if l.worker, err = l.e.take(l.failed); err != nil {
			return l.broke(ctx, err)
		}
		l.fresh = true
	}
	return l.runOnWorker(ctx)
}

// end hands on the result of the first task.
func (l *lane) end(res exec.Result) error {
	measure(&res, &l.tasks[0])
	l.tasks, l.failed = l.tasks[1:], false
	return l.done(res)
}

// broke is what becomes of the first task when this machine could not run it:
// once it is tried again, in a new worker.
func (l *lane) broke(ctx context.Context, err error) error {
	if ended := l.e.ended(ctx); ended != nil {
		return ended
	}
	if l.failed {
		return l.end(broken(err))
	}
	l.failed = true
	l.e.forget(l.id) // the code may be gone from the cache
	return nil
}

// runOnWorker gives the worker as many tasks as can be judged to be runnable,
// and waits for what becomes of them. One that may not hold the module yet gets
// one: it asks for the module before it reads on.
func (l *lane) runOnWorker(ctx context.Context) error {
	batch := 1
	for !l.fresh && batch < len(l.tasks) && checkRequest(&l.tasks[batch]) == nil && checkInputs(&l.tasks[batch]).kind == 0 {
		batch++
	}
	p, begun := l.worker, time.Now()
	defer context.AfterFunc(ctx, p.kill)()
	sent := make(chan error, 1)
	if batch == 1 {
		if err := p.sendJobs(l.tasks[:1], l.id); err != nil {
			l.drop()
			return l.broke(ctx, fmt.Errorf("worker: %w", err))
		}
		sent <- nil
	} else {
		tasks := slices.Clone(l.tasks[:batch])
		go func() { // a worker may write a result before it has read all
			err := p.sendJobs(tasks, l.id)
			if err != nil {
				p.kill() // it would wait for the rest, and this for its results
			}
			sent <- err
		}()
	}
	for range batch {
		if gone, err := l.await(ctx, p); err != nil || gone {
			if err != nil {
				l.drop()
			}
			<-sent
			return err
		}
	}
	if err := <-sent; err != nil {
		l.drop()
		return l.e.ended(ctx)
	}
	l.fresh = false
	each := time.Since(begun) / time.Duration(batch)
	l.ahead = int(min(max(aheadTime/max(each, 1), 1), aheadTasks))
	return nil
}

// await waits for the result of the first task, and hands it on. It reports
// whether the worker is gone.
func (l *lane) await(ctx context.Context, p *process) (gone bool, err error) {
	req, begun := &l.tasks[0], time.Now()
	var late atomic.Bool
	unlimit := func() bool { return true }
	if req.Timeout > 0 {
		unlimit = l.e.config.After(req.Timeout, func() {
			late.Store(true)
			p.kill()
		})
	}
	stdout, stderr := &live{limit: req.Stream}, &live{limit: req.Stream}
	res, err := p.result(req, l.id, stdout, stderr)
	unkilled := unlimit()
	res.Use.Wall = time.Since(begun)
	if err == nil && res.Kind != exec.Broken {
		res.Stdout, res.Stderr = stdout.kept, stderr.kept
		if !unkilled { // too late for this task, and the worker is of no more use
			l.drop()
		}
		return !unkilled, l.end(res)
	}
	rest := l.drop()
	if ended := l.e.ended(ctx); ended != nil {
		return true, ended
	}
	if late.Load() {
		return true, l.end(exec.Result{Kind: exec.TimedOut, Reason: fmt.Sprintf("did not end within %v", req.Timeout),
			Stdout: stdout.kept, Stderr: stderr.kept, Use: exec.Use{CPU: rest, Wall: res.Use.Wall}})
	}
	if err == nil {
		err = errors.New(res.Reason)
	}
	return true, l.broke(ctx, fmt.Errorf("worker: %w", err))
}

// drop ends the worker and returns the CPU time that it had not told of.
func (l *lane) drop() time.Duration {
	if l.worker == nil {
		return 0
	}
	p := l.worker
	l.worker = nil
	return l.e.discard(p)
}
