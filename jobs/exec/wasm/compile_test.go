package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

func TestAWorkerThatCompilesHasALimitOfData(t *testing.T) {
	e := newExecutor(t, Config{})
	p, err := e.start(true)
	if err != nil {
		t.Fatal(err)
	}
	defer e.discard(p)
	if err := p.greeted(); err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(limits), "Max data size")
	var soft int64
	if _, err := fmt.Sscan(line, &soft); err != nil || soft < compileData || soft > 2*compileData {
		t.Errorf("limit of data %d (%v) in\n%s", soft, err, limits)
	}
}

func TestAModuleThatTakesTooMuchToCompileIsThisMachinesFaultAndOnlyItsOwn(t *testing.T) {
	e := newExecutor(t, Config{})
	e.compileData = 64 << 20
	p := asm.Hello()
	p.Code = asm.Join(p.Code, bytes.Repeat(asm.Join(asm.Const(1), asm.Drop), 1_000_000))
	if res := run(t, e, request(p.Module())); res.Kind != exec.Broken {
		t.Errorf("ended as %v %d (%s)", res.Kind, res.Code, res.Reason)
	}
	if res := run(t, e, request(asm.Hello().Module())); res.Kind != exec.Exited {
		t.Errorf("afterwards: ended as %v (%s)", res.Kind, res.Reason)
	}
}

// compiles holds every worker that is about to compile until it is let go.
type compiles struct {
	sync.Mutex
	now, most, all int
	begun          chan struct{}
	hold           chan struct{}
}

func holdCompiles() *compiles {
	return &compiles{begun: make(chan struct{}, 100), hold: make(chan struct{})}
}

func (c *compiles) config() Config {
	return Config{Workers: 8, Compile: time.Hour, After: func(d time.Duration, f func()) func() bool {
		if d != time.Hour {
			return time.AfterFunc(d, f).Stop
		}
		c.Lock()
		c.all, c.now = c.all+1, c.now+1
		c.most = max(c.most, c.now)
		c.Unlock()
		c.begun <- struct{}{}
		<-c.hold
		return func() bool {
			c.Lock()
			defer c.Unlock()
			c.now--
			return true
		}
	}}
}

func (c *compiles) running() int {
	c.Lock()
	defer c.Unlock()
	return c.now
}

// waitFor waits until so many modules are in the cache, on their way or waiting.
func (e *Executor) waitFor(modules int) {
	for {
		e.mu.Lock()
		n := len(e.compiled)
		e.mu.Unlock()
		if n >= modules {
			return
		}
		runtime.Gosched()
	}
}

// startOne takes the time that it takes to start a worker: by then others have, who
// could.
func (e *Executor) startOne(t *testing.T) {
	t.Helper()
	p, err := e.start(false)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.greeted(); err != nil {
		t.Error(err)
	}
	e.discard(p)
}

// numbered is one of many modules that do nothing.
func numbered(i int) []byte {
	return asm.Program{Pages: 1, Code: asm.Join(asm.Const(int32(i)), asm.Drop)}.Module()
}

func ends(t *testing.T, e *Executor, module []byte) {
	if res, err := e.Run(t.Context(), request(module)); err != nil || res.Kind != exec.Exited {
		t.Errorf("ended as %v (%s), %v", res.Kind, res.Reason, err)
	}
}

func TestTwoModulesAreCompiledAtATimeAndWhoeverWaitsCanLeave(t *testing.T) {
	c := holdCompiles()
	e := newExecutor(t, c.config())
	var runs sync.WaitGroup
	for i := range 5 {
		runs.Go(func() { ends(t, e, numbered(i)) })
	}
	<-c.begun
	<-c.begun
	e.waitFor(5)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, request(numbered(5)))
		left <- err
	}()
	e.waitFor(6)
	e.startOne(t)
	cancel()
	if c.running() == compilers {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
	}
	close(c.hold)
	runs.Wait()
	if c.most != compilers || c.all != 5 {
		t.Errorf("%d modules compiled, %d at a time", c.all, c.most)
	}
}

func TestModulesThatAreHardToCompileHoldUpNoRunOfOneThatIsCompiled(t *testing.T) {
	c := holdCompiles()
	config := c.config()
	config.Workers = compilers + 2 // as many as are to wait
	e := newExecutor(t, config)
	go func() { c.hold <- struct{}{} }()
	ends(t, e, numbered(0))
	var runs sync.WaitGroup
	for i := range compilers + 1 {
		runs.Go(func() { ends(t, e, numbered(1+i)) })
	}
	runs.Go(func() { // an array's
		tasks := 1
		next := func() (exec.Task, bool, error) { tasks--; return exec.Task{}, tasks >= 0, nil }
		if err := e.RunEach(t.Context(), request(numbered(9)), next, func(exec.Result) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	e.waitFor(1 + compilers + 2)
	if taken := len(e.slots); taken > 0 {
		t.Errorf("%d of %d workers are kept for modules that are not compiled", taken, config.Workers)
	} else {
		ends(t, e, numbered(0))
	}
	close(c.hold)
	runs.Wait()
}

// Whoever waits for a worker holds no task: those who have workers may be handed the
// later tasks only, whose results wait for that one's.
func TestNoTaskIsTakenBeforeThereIsAWorkerForIt(t *testing.T) {
	e := newExecutor(t, Config{Workers: 1})
	taken := make(chan struct{})
	var second sync.WaitGroup
	const most = 500
	ran := 0
	err := e.RunEach(t.Context(), request(numbered(0)), func() (exec.Task, bool, error) {
		select {
		case <-taken:
			t.Errorf("a task was taken for the only worker after %d tasks of its owner", ran)
		default:
			if ran < most {
				return exec.Task{}, true, nil
			}
		}
		return exec.Task{}, false, nil
	}, func(exec.Result) error {
		if ran++; ran > 1 {
			return nil
		}
		second.Go(func() {
			err := e.RunEach(t.Context(), request(numbered(0)), func() (exec.Task, bool, error) {
				close(taken)
				return exec.Task{}, false, nil
			}, nil)
			if err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	second.Wait()
}

func TestOneOfThoseWhoWaitGoesOnWhenWhoeverCompiledHasLeft(t *testing.T) {
	c := holdCompiles()
	e := newExecutor(t, c.config())
	ctx, cancel := context.WithCancel(t.Context())
	module := numbered(0)
	left := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, request(module))
		left <- err
	}()
	<-c.begun
	var waiting, runs sync.WaitGroup
	for range 4 {
		waiting.Add(1)
		runs.Go(func() {
			waiting.Done()
			o, err := e.compile(t.Context(), hash(sha256.Sum256(module)), module)
			if err != nil || o.kind != exec.Exited {
				t.Errorf("ended as %v (%s), %v", o.kind, o.reason, err)
			}
		})
	}
	waiting.Wait()
	e.startOne(t)
	cancel()
	close(c.hold)
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	runs.Wait()
	if c.all != 2 {
		t.Errorf("compiled %d times, want twice", c.all)
	}
}
