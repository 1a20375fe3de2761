package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/sched"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// Execute queues a run. It starts when all its resources are free.
func (m *Member) Execute(id consensus.JobID, run uint64) {
	token := m.token(id, run)
	m.work.Add(func(ctx context.Context) {
		j, ok := m.job(id)
		if !ok {
			return
		}
		if err := m.enqueue(j, run, token); err != nil {
			m.report(ctx, j, run, ended{value: consensus.Value{Kind: consensus.Failed, Class: consensus.FailedHost}, reason: err.Error()})
			return
		}
		m.startRuns()
		if m.isWaiting(j, run) {
			m.state(ctx, j, RunState{Run: run})
		}
	})
}

// place is where a run stands in the queue: a job's own, or the check of a value.
type place struct {
	job   consensus.JobID
	check consensus.Hash
}

// waiting is a run in the queue, or a check.
type waiting struct {
	job   *job
	run   uint64
	token string
	check *checked
}

// token is the fencing token of a run that acts on the world, by the height at
// which it was granted: the present one, since agreement tells in order.
func (m *Member) token(id consensus.JobID, run uint64) string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	if !ok || j.charter.Effects == "" {
		return ""
	}
	return jobs.Fence(id, j.at.Number, run)
}

func (m *Member) enqueue(j *job, run uint64, token string) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	err := m.push(place{job: j.id}, j)
	if err == nil {
		m.waiting[place{job: j.id}] = waiting{job: j, run: run, token: token}
	}
	return err
}

// push puts a run or a check into the queue, but for one that could never start: all
// others would come to wait for it. The caller holds the mutex.
func (m *Member) push(at place, j *job) error {
	if err := m.holds(j.spec.Resources); err != nil {
		return err
	}
	return m.queue.Push(sched.Item{ID: at.job, Check: at.check, Need: j.spec.Resources, Priority: j.spec.Priority, Since: m.cfg.Clock()})
}

// holds returns an error for a run that takes more than this node has in all.
func (m *Member) holds(need jobs.Resources) error {
	total := m.pool.Total()
	switch {
	case m.pool.Holds(need):
		return nil
	case need.CPU > total.CPU:
		return fmt.Errorf("a run takes %s of CPU, this node has %s in all", jobs.CPU(need.CPU), jobs.CPU(total.CPU))
	case need.Memory > total.Memory:
		return fmt.Errorf("a run takes %s of memory, this node has %s in all", jobs.Size(need.Memory), jobs.Size(total.Memory))
	}
	return fmt.Errorf("a run takes %s of disk, this node has %s in all", jobs.Size(need.Disk), jobs.Size(total.Disk))
}

func (m *Member) isWaiting(j *job, run uint64) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	w, ok := m.waiting[place{job: j.id}]
	return ok && w.run == run
}

// startRuns starts every run that resources allow.
func (m *Member) startRuns() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for {
		item, ok := m.queue.Next(m.cfg.Clock(), m.pool.Free())
		if !ok {
			return
		}
		at := place{item.ID, item.Check}
		w := m.waiting[at]
		delete(m.waiting, at)
		if w.check != nil {
			w.job.checks[w.check.hash] = func() {} // it is on its way: see check
		}
		if !m.pool.Reserve(item.Need) {
			panic("sched: a run was handed out that does not fit") // its contract
		}
		m.running++
		m.tasks.Add(func(ctx context.Context) {
			defer m.release(item.Need)
			if w.check != nil {
				m.check(ctx, w.job, *w.check)
				return
			}
			m.run(ctx, w.job, w.run, w.token)
		})
	}
}

func (m *Member) release(need jobs.Resources) {
	m.mutex.Lock()
	m.running--
	m.mutex.Unlock()
	m.giveBack(need)
}

// giveBack frees what was reserved, for the runs that wait for it.
func (m *Member) giveBack(need jobs.Resources) {
	m.mutex.Lock()
	m.pool.Release(need)
	m.mutex.Unlock()
	m.startRuns()
}

// stopRuns ends for good what a job still runs, queues or judges here that has its
// outcome, or in which this node has lost its seat: nobody is seated twice.
func (m *Member) stopRuns(j *job) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j.done = true
	for _, item := range m.queue.Remove(j.id) {
		delete(m.waiting, place{item.ID, item.Check})
	}
	for _, cancel := range j.cancel {
		cancel()
	}
	for _, cancel := range j.checks {
		cancel()
	}
	for _, cancel := range j.judging {
		cancel()
	}
}

// run runs a job once and tells agreement what became of it.
func (m *Member) run(ctx context.Context, j *job, run uint64, token string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mutex.Lock()
	if j.done {
		m.mutex.Unlock()
		return
	}
	j.cancel[run] = cancel
	m.mutex.Unlock()
	defer func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		delete(j.cancel, run)
	}()
	if j.task.Array == nil { // an array says how far it is, too
		m.state(ctx, j, RunState{Run: run, Running: true})
	}
	m.cfg.Events.Tell(Event{Type: "running", Job: j.id, Data: map[string]any{"run": run}})
	request, err := m.request(ctx, j)
	if err != nil {
		if ctx.Err() == nil { // as below
			m.report(ctx, j, run, ended{value: consensus.Value{Kind: consensus.Failed, Class: consensus.FailedHost}, reason: err.Error()})
		}
		return
	}
	if token != "" {
		request.Env = jobs.Fenced(request.Env, token)
	}
	request.Once = j.charter.Effects == consensus.Once
	e, err := m.runToEnd(ctx, j, run, request)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, exec.ErrClosed) {
			return // the job has its outcome, or the node goes down: a restart runs it again
		}
		m.cfg.Log.Error("run without a result", "job", j.id, "error", err)
		e.value, e.normal, e.begun, e.reason = consensus.Value{Kind: consensus.Failed, Class: consensus.FailedHost}, nil, true, err.Error()
	}
	m.report(ctx, j, run, e)
}

// ended is what came of a run.
type ended struct {
	value  consensus.Value
	normal *consensus.Hash // what the value comes to, where ends are compared by that
	begun  bool            // of what came to nothing: the program may have begun
	use    exec.Use
	reason string // for people
}

// runToEnd runs a job and makes durable what it left.
func (m *Member) runToEnd(ctx context.Context, j *job, run uint64, request exec.Request) (e ended, err error) {
	if j.task.Array != nil {
		if e.value, e.use, err = m.runArray(ctx, j, run, request); err != nil {
			return e, err
		}
		return e, m.cfg.Store.Sync(ctx)
	}
	result, err := m.cfg.Executor.Run(ctx, request)
	e.begun, e.use, e.reason = result.Begun, result.Use, result.Reason
	if err != nil {
		return e, err
	}
	if e.value, err = m.keep(ctx, j, result); err != nil {
		return e, err
	}
	e.normal, err = m.normal(j, e.value, result)
	return e, err
}

func (m *Member) request(ctx context.Context, j *job) (exec.Request, error) {
	module, err := m.module(ctx, j.task.Module.Cid, j.charter.Submitter, int64(j.charter.Limits.Input))
	if err != nil {
		return exec.Request{}, err
	}
	r := exec.Request{
		Module: module.data, Args: j.task.Args, Env: j.task.Env, Outputs: j.task.Outputs,
		Memory: int64(j.task.Limits.Memory), Disk: int64(j.task.Limits.Disk), Stream: int64(j.task.Limits.Stream),
		Timeout: time.Duration(j.spec.Timeout) * time.Millisecond,
		Stdout:  j.logs.writer(0), Stderr: j.logs.writer(1),
	}
	r.Task = taskDigest(j)
	if len(r.Outputs) == 0 {
		r.Outputs = nil
	}
	if j.task.Inputs != nil {
		files, err := tree.Read(ctx, m.cfg.Store, j.task.Inputs.Cid, readable(j.charter.Limits.Input))
		if err != nil {
			return r, err
		}
		for _, f := range files {
			r.Inputs = append(r.Inputs, exec.File{Path: f.Path, Data: f.Data})
		}
	}
	return r, nil
}

// taskDigest is the digest in the task id: what seeds a program's randomness.
func taskDigest(j *job) [32]byte {
	hash := j.charter.Task.Cid.Hash()
	return [32]byte(hash[len(hash)-32:])
}

// valueOf is the value that a result stands for, without its tree.
func valueOf(r exec.Result) consensus.Value {
	v := consensus.Value{Kind: consensus.Failed}
	switch r.Kind {
	case exec.TimedOut:
		v.Class = consensus.FailedTimeout
	case exec.Broken:
		v.Class = consensus.FailedHost
	case exec.Trapped:
		v.Class, v.Code = consensus.FailedTrap, uint64(uint32(r.Code))
	case exec.Limited:
		v.Class, v.Code = consensus.FailedLimit, uint64(uint32(r.Code))
	case exec.Exited:
		v.Class, v.Code = consensus.FailedExit, uint64(uint32(r.Code))
		if r.Code == 0 {
			v = consensus.Value{Kind: consensus.Result}
		}
	}
	return v
}

func resultOf(r exec.Result) tree.Result {
	files := make([]tree.File, len(r.Out))
	for i, f := range r.Out {
		files[i] = tree.File{Path: f.Path, Data: f.Data}
	}
	return tree.Result{Out: files, Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}
}

// keep turns a result into the value that is reported, its tree durable.
func (m *Member) keep(ctx context.Context, j *job, r exec.Result) (consensus.Value, error) {
	v := valueOf(r)
	if !r.Kind.Deterministic() {
		return v, nil
	}
	t, err := tree.WriteResult(ctx, m.cfg.Store, resultOf(r))
	if err != nil {
		return v, err
	}
	if !isReadable(t, j.charter.Limits.Output) {
		return v, errOutput // nobody would take it: see checkTree
	}
	link := dagcbor.LinkTo(t.Root)
	v.Tree = &link
	return v, m.cfg.Store.Sync(ctx)
}

// report tells agreement how a run ended, and what it took.
func (m *Member) report(ctx context.Context, j *job, run uint64, e ended) {
	use := e.use
	quantities := map[string]uint64{
		"cpu_ns": uint64(max(use.CPU, 0)), "wall_ns": uint64(max(use.Wall, 0)), "mem_peak": uint64(max(use.MemoryPeak, 0)),
		"in_bytes": uint64(max(use.In, 0)), "out_bytes": uint64(max(use.Out, 0)),
	}
	m.cfg.Events.Tell(Event{Type: "reported", Job: j.id, Data: map[string]any{"run": run, "value": e.value.String(), "reason": e.reason}})
	if err := m.cfg.Agreement.Ran(ctx, j.id, Ran{Run: run, Value: e.value, Normal: e.normal, Begun: e.begun, Use: quantities}); err != nil && ctx.Err() == nil {
		m.cfg.Log.Error("agreement not told", "job", j.id, "error", err)
	}
}

func (m *Member) state(ctx context.Context, j *job, s RunState) {
	if err := m.cfg.Agreement.State(ctx, j.id, s); err != nil && ctx.Err() == nil {
		m.cfg.Log.Error("agreement not told", "job", j.id, "error", err)
	}
}

// Load is what this member's resources and queue look like.
type Load struct {
	Total, Free           jobs.Resources
	Open, Queued, Running int
	OldestWait            int64 // milliseconds
}

// Load returns the member's load for adverts and people.
func (m *Member) Load() Load {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	l := Load{Total: m.pool.Total(), Free: m.pool.Free(), Open: m.places(), Queued: m.queue.Len(), Running: m.running}
	if since, ok := m.queue.Oldest(); ok {
		l.OldestWait = max(m.cfg.Clock()-since, 0)
	}
	return l
}
