package wasm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// take returns a worker: the idle one used last, or a new one. The caller holds
// a slot, and gives it back or discards it.
func (e *Executor) take(fresh bool) (*process, error) {
	e.mu.Lock()
	if last := len(e.idle) - 1; last >= 0 && !fresh {
		p := e.idle[last]
		e.idle = e.idle[:last]
		p.idle() // should it be too late, expire will not find p
		e.busy[p] = struct{}{}
		e.mu.Unlock()
		return p, nil
	}
	e.mu.Unlock()
	p, err := e.start(false)
	if err != nil {
		return nil, err
	}
	if err := p.greeted(); err != nil {
		e.discard(p)
		return nil, fmt.Errorf("start worker: %w", err)
	}
	return p, nil
}

// start starts a worker that Close can kill.
func (e *Executor) start(compile bool) (*process, error) {
	p, err := start(e.config.Command, hello{Version: wireVersion, Compile: compile, Data: e.compileData, Cache: e.config.Cache})
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	e.mu.Lock()
	e.busy[p] = struct{}{}
	closed := e.closed
	e.mu.Unlock()
	if closed {
		e.discard(p)
		return nil, exec.ErrClosed
	}
	return p, nil
}

// give keeps a healthy worker for the next run, and for Config.Idle at most.
func (e *Executor) give(p *process) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.discard(p)
		return
	}
	defer e.mu.Unlock()
	delete(e.busy, p)
	p.idle = e.config.After(e.config.Idle, func() { e.expire(p) })
	e.idle = append(e.idle, p)
}

// expire ends a worker that is still idle.
func (e *Executor) expire(p *process) {
	e.mu.Lock()
	i := slices.Index(e.idle, p)
	if i < 0 { // taken, or closed, at the same moment
		e.mu.Unlock()
		return
	}
	e.idle = slices.Delete(e.idle, i, i+1)
	e.running.Add(1)
	e.mu.Unlock()
	p.end()
	e.running.Done()
}

// discard ends a worker and returns the CPU time it had not told of.
func (e *Executor) discard(p *process) time.Duration {
	rest := p.end()
	e.mu.Lock()
	delete(e.busy, p)
	e.mu.Unlock()
	return rest
}

// compilers is how many modules are compiled at a time: each may take compileData,
// and all CPUs. One that takes long does not hold up all others.
const compilers = 2

// compilation is one module's way into the cache. Those who want the same
// module wait for done.
type compilation struct {
	done    chan struct{}
	verdict outcome // Exited: in the cache; Trapped: the engine refuses it
	err     error   // no verdict
	left    bool    // whoever began lost patience: that says nothing of the module
}

// compile makes sure that a module is in the cache, once for all runs. An error
// is this machine's and is not remembered.
func (e *Executor) compile(ctx context.Context, id hash, module []byte) (outcome, error) {
	for {
		c, first := e.claim(id)
		if first {
			c.verdict, c.err = e.compileNow(ctx, id, module)
			c.left = c.err != nil && ctx.Err() != nil
			e.settle(id, c)
			return c.verdict, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return outcome{}, ctx.Err()
		}
		if !c.left || e.ended(ctx) != nil {
			return c.verdict, c.err
		}
	}
}

// claim returns what becomes of a module, and whether it is the caller who has to
// see to that.
func (e *Executor) claim(id hash) (c *compilation, first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.compiled[id]; ok {
		return c, false
	}
	if len(e.compiled) >= keptVerdicts {
		clear(e.compiled)
	}
	c = &compilation{done: make(chan struct{})}
	e.compiled[id] = c
	return c, true
}

// settle tells those who wait. What is no verdict is forgotten before that, for one
// of them may be the next to try.
func (e *Executor) settle(id hash, c *compilation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if (c.err != nil || c.verdict.kind == exec.Broken) && e.compiled[id] == c {
		delete(e.compiled, id)
	}
	close(c.done)
}

// forget makes the next run compile a module again, unless that is under way.
func (e *Executor) forget(id hash) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.compiled[id]; ok {
		select {
		case <-c.done:
			delete(e.compiled, id)
		default:
		}
	}
}

// compileNow compiles a module in a worker of its own, when it is its turn.
func (e *Executor) compileNow(ctx context.Context, id hash, module []byte) (outcome, error) {
	select {
	case e.compiling <- struct{}{}:
		defer func() { <-e.compiling }() // when the worker is gone
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	case <-e.closing:
		return outcome{}, exec.ErrClosed
	}
	p, err := e.start(true)
	if err != nil {
		return outcome{}, err
	}
	defer e.discard(p)
	defer context.AfterFunc(ctx, p.kill)()
	defer e.config.After(e.config.Compile, p.kill)()
	done, err := p.compile(id, module)
	if err != nil {
		return outcome{}, fmt.Errorf("compile: %w", err)
	}
	return outcome{kind: exec.Kind(done.Kind), code: done.Code, reason: done.Reason}, nil
}
