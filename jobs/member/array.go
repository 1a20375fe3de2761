package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
)

// arrayRun is one run of an array job: its tasks are handed out to lanes, which
// run beside each other, and their results are taken up in the tasks' order,
// since equal results must be equal blocks.
type arrayRun struct {
	m      *Member
	job    *job
	run    uint64
	seed   [32]byte // the task id's
	items  *jobs.Items
	inputs *itemReader
	keeper *keeper

	mutex   sync.Mutex
	taken   int                 // tasks handed out
	results map[int]exec.Result // of those, what has come and is not written yet
	bytes   int                 // in results
	written int
	writer  *arrayWriter
	use     exec.Use
	told    int64         // when agreement was last told how far it is
	room    chan struct{} // closed when something was written
}

// A lane waits when the results that came before their turn are so many, or so
// long.
const (
	maxEarly      = 4_096
	maxEarlyBytes = 64 << 20
)

// errHost says that this machine could not run a task: no task's fault, so it
// fails the run.
var errHost = errors.New("this machine could not run a task")

// runArray runs all tasks of an array job, and returns the value of its array
// result, which is not synced yet. An error is the end of the run's context, or
// this machine's.
func (m *Member) runArray(ctx context.Context, j *job, run uint64, request exec.Request) (consensus.Value, exec.Use, error) {
	begun := time.Now()
	r := &arrayRun{m: m, job: j, run: run, seed: request.Task, results: map[int]exec.Result{}, room: make(chan struct{}), told: m.cfg.Clock(),
		keeper: &keeper{m: m, job: j}, writer: newArrayWriter(m.cfg.Network, m.cfg.Store, int64(j.charter.Limits.Output))}
	if j.task.Array.Items != nil {
		var err error
		if r.items, err = m.items(ctx, j.task); err != nil {
			return consensus.Value{}, r.use, err
		}
		r.inputs = newItemReader(m.cfg.Store, j.task.Array.Input, r.items, int64(j.charter.Limits.Input))
	}
	if err := r.resume(ctx); err != nil {
		return consensus.Value{}, r.use, err
	}
	m.state(ctx, j, RunState{Run: run, Running: true, Done: uint64(r.written)})
	request.Stdout, request.Stderr = nil, nil
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return r.lane(running, request, func() bool { return true }) })
	for range m.spare(j.spec.Resources) {
		group.Go(func() error {
			defer m.giveBack(j.spec.Resources)
			return r.lane(running, request, m.nobodyWaits)
		})
	}
	if err := group.Wait(); err != nil {
		return consensus.Value{}, r.use, err
	}
	value, err := r.writer.finish(ctx)
	r.use.Wall = time.Since(begun)
	return value, r.use, err
}

// resume takes up what earlier runs of the job left. What is missing or damaged
// runs again, and so does what would have to wait for too much of that.
func (r *arrayRun) resume(ctx context.Context) error {
	for _, c := range r.job.checkpoints.list() {
		ends, err := r.m.openCheckpoint(ctx, r.job, c)
		if err != nil {
			r.m.cfg.Log.Warn("tasks run again", "job", r.job.id, "reason", err)
		}
		for _, end := range ends {
			if len(r.results) >= maxEarly || r.bytes >= maxEarlyBytes {
				return nil
			}
			if err := r.takeUp(ctx, end); err != nil {
				return err
			}
		}
	}
	if r.written > 0 {
		r.m.cfg.Log.Info("array goes on", "job", r.job.id, "tasks kept", r.written)
	}
	return ctx.Err()
}

func (r *arrayRun) takeUp(ctx context.Context, end taskEnd) error {
	at := int(end.Index)
	if _, early := r.results[at]; early || at < r.written {
		return nil
	}
	res, err := r.m.keptResult(ctx, r.job, end)
	if err != nil {
		r.m.cfg.Log.Warn("a task runs again", "job", r.job.id, "task", at, "reason", err)
		return ctx.Err()
	}
	_, err = r.write(ctx, at, res)
	return err
}

// spare reserves what is idle for more lanes of an array, at most one for each
// core, and returns how many times need that is.
func (m *Member) spare(need jobs.Resources) int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	lanes := 0
	for m.queue.Len() == 0 && lanes+1 < int(m.pool.Total().CPU/1000) && m.pool.Reserve(need) {
		lanes++
	}
	return lanes
}

// nobodyWaits reports whether what is reserved beside a run's own may be kept.
func (m *Member) nobodyWaits() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.queue.Len() == 0
}

// lane runs tasks one after the other until there are no more, or what it runs
// on is wanted elsewhere.
func (r *arrayRun) lane(ctx context.Context, request exec.Request, keep func() bool) error {
	for {
		var mine []int // taken by this lane, in order, without result
		err := r.m.cfg.Executor.RunEach(ctx, request, func() (exec.Task, bool, error) {
			if !keep() {
				return exec.Task{}, false, nil
			}
			at, ok := r.next()
			if !ok {
				return exec.Task{}, false, nil
			}
			mine = append(mine, at)
			t, err := r.task(ctx, at)
			return t, true, err
		}, func(res exec.Result) error {
			at := mine[0]
			mine = mine[1:]
			return r.ended(ctx, at, res)
		})
		if err != nil {
			return err
		}
		if more, err := r.wait(ctx); err != nil || !more || !keep() {
			return err
		}
	}
}

// next hands out a task, unless there are none, or too many results wait for an
// earlier one.
func (r *arrayRun) next() (int, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.mayTake() {
		return 0, false
	}
	r.taken++
	return r.taken - 1, true
}

// mayTake is asked before a task is taken: it passes over those that an earlier
// run left results of.
func (r *arrayRun) mayTake() bool {
	for r.taken = max(r.taken, r.written); ; r.taken++ {
		if _, ended := r.results[r.taken]; !ended {
			break
		}
	}
	early := r.taken == r.written || r.taken-r.written < maxEarly && r.bytes < maxEarlyBytes
	return r.taken < r.job.task.Tasks() && early
}

// wait returns when a task can be taken, or false when there are no more. A
// lane that waits has none without result: whoever has the earliest goes on.
func (r *arrayRun) wait(ctx context.Context) (bool, error) {
	for {
		r.mutex.Lock()
		now, room := r.mayTake(), r.room
		more := r.taken < r.job.task.Tasks()
		r.mutex.Unlock()
		if !more || now {
			return more, nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// task is one task as an executor wants it.
func (r *arrayRun) task(ctx context.Context, at int) (exec.Task, error) {
	one := r.job.task.Task(r.items, uint64(at))
	t := exec.Task{Seed: jobs.TaskSeed(r.seed, uint64(at)), Args: one.Args, Env: one.Env}
	if !one.Input.Defined() {
		return t, nil
	}
	var err error
	if t.Inputs, err = r.inputs.read(ctx, at, one.Input); err != nil {
		return t, fmt.Errorf("input of task %s: %w", one.Name, err)
	}
	return t, nil
}

// ended takes up the result of a task, and writes those whose turn it is.
func (r *arrayRun) ended(ctx context.Context, at int, res exec.Result) error {
	if res.Kind == exec.Broken {
		return fmt.Errorf("%w: %s", errHost, res.Reason)
	}
	done, err := r.write(ctx, at, res)
	if err != nil {
		return err
	}
	if done > 0 {
		if err := r.m.cfg.Agreement.State(ctx, r.job.id, RunState{Run: r.run, Running: true, Done: uint64(done)}); err != nil {
			return err
		}
	}
	return r.keeper.add(ctx, at, res)
}

// write returns how many tasks are written, if agreement is to be told.
func (r *arrayRun) write(ctx context.Context, at int, res exec.Result) (int, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.results[at] = res
	r.bytes += sizeOf(res)
	r.count(res.Use)
	before := r.written
	for {
		next, ok := r.results[r.written]
		if !ok {
			break
		}
		if err := r.writer.add(ctx, r.job.task.NameOf(r.items, uint64(r.written)), next); err != nil {
			return 0, err
		}
		_, _ = r.job.logs.writer(0).Write(next.Stdout) // never fails
		_, _ = r.job.logs.writer(1).Write(next.Stderr)
		delete(r.results, r.written)
		r.bytes -= sizeOf(next)
		r.written++
	}
	if r.written == before {
		return 0, nil
	}
	close(r.room)
	r.room = make(chan struct{})
	if now := r.m.cfg.Clock(); now-r.told >= r.m.cfg.Policy.Beat/2 {
		r.told = now
		return r.written, nil
	}
	return 0, nil
}

func (r *arrayRun) count(use exec.Use) {
	r.use.CPU += use.CPU
	r.use.In += use.In
	r.use.Out += use.Out
	r.use.MemoryPeak = max(r.use.MemoryPeak, use.MemoryPeak)
}

func sizeOf(r exec.Result) int {
	n := len(r.Stdout) + len(r.Stderr)
	for _, f := range r.Out {
		n += len(f.Data)
	}
	return n
}
