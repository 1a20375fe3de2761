package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/sched"
	"github.com/muster-network/muster/store/tree"
)

// checked is a value whose check waits or runs.
type checked struct {
	value consensus.Value
	hash  consensus.Hash
}

// Check queues the job's check of a value that another member left, and whose
// blocks are here. It starts when all that a run takes is free. A check that this
// machine cannot run has no verdict: agreement asks again.
func (m *Member) Check(id consensus.JobID, v consensus.Value, hash consensus.Hash) {
	m.work.Add(func(context.Context) {
		j, ok := m.job(id)
		if !ok || !m.queueCheck(j, checked{v, hash}) {
			return
		}
		m.startRuns()
	})
}

// queueCheck reports whether a check came into the queue: one that is there, or
// runs, does not come again. There is always room left for the run of every job.
func (m *Member) queueCheck(j *job, c checked) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if _, runs := j.checks[c.hash]; runs || j.done || m.queue.Len() >= int(m.cfg.Policy.MaxJobs) {
		return false
	}
	err := m.push(place{j.id, c.hash}, j)
	if err == nil {
		m.waiting[place{j.id, c.hash}] = waiting{job: j, check: &c}
	} else if !errors.Is(err, sched.ErrQueued) {
		m.cfg.Log.Warn("check not queued", "job", j.id, "error", err)
	}
	return err == nil
}

// check runs the job's check once and tells agreement what it found.
func (m *Member) check(ctx context.Context, j *job, c checked) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		delete(j.checks, c.hash)
	}()
	m.mutex.Lock()
	if j.done {
		m.mutex.Unlock()
		return
	}
	j.checks[c.hash] = cancel
	m.mutex.Unlock()
	r, err := m.runCheck(ctx, j, c.value)
	if err == nil && r.Kind == exec.Broken {
		err = errors.New(r.Reason)
	}
	if err == nil {
		good := r.Kind == exec.Exited && r.Code == 0
		m.cfg.Events.Tell(Event{Type: "checked", Job: j.id, Data: map[string]any{"value": c.value.String(), "endorses": good, "reason": whyChecked(r)}})
		err = m.cfg.Agreement.Checked(ctx, j.id, c.hash, good)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, exec.ErrClosed) {
		m.cfg.Log.Error("check without a verdict", "job", j.id, "value", c.value, "error", err)
	}
}

// runCheck runs the check on a value: what it leaves besides its exit code and
// why, nobody looks at.
func (m *Member) runCheck(ctx context.Context, j *job, v consensus.Value) (exec.Result, error) {
	module, err := m.module(ctx, j.check.Module.Cid, j.charter.Submitter, int64(j.charter.Limits.Input))
	if err != nil {
		return exec.Result{}, err
	}
	hash := j.spec.Check.Task.Cid.Hash()
	r := exec.Request{
		Task: [32]byte(hash[len(hash)-32:]), Module: module.data, Args: j.check.Args, Env: jobs.CheckEnv(j.check.Env, v),
		Memory: int64(j.check.Limits.Memory), Disk: int64(j.check.Limits.Disk), Stream: int64(j.check.Limits.Stream),
		Timeout: time.Duration(j.spec.Check.Timeout) * time.Millisecond,
	}
	result, err := tree.Read(ctx, m.cfg.Store, v.Tree.Cid, readable(j.charter.Limits.Output))
	if err != nil {
		return exec.Result{}, err
	}
	r.Inputs = below(jobs.CheckResult, result)
	if j.task.Inputs != nil {
		inputs, err := tree.Read(ctx, m.cfg.Store, j.task.Inputs.Cid, readable(j.charter.Limits.Input))
		if err != nil {
			return exec.Result{}, err
		}
		r.Inputs = append(r.Inputs, below(jobs.CheckInputs, inputs)...)
	}
	slices.SortFunc(r.Inputs, func(a, b exec.File) int { return cmp.Compare(a.Path, b.Path) })
	return m.cfg.Executor.Run(ctx, r)
}

// below are files as they stand in a folder.
func below(folder string, files []tree.File) []exec.File {
	out := make([]exec.File, len(files))
	for i, f := range files {
		out[i] = exec.File{Path: folder + "/" + f.Path, Data: f.Data}
	}
	return out
}

// whyChecked says for people why a check found what it found: what it says itself,
// or how it ended.
func whyChecked(r exec.Result) string {
	lines := strings.Split(strings.TrimSpace(string(r.Stderr)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return strings.ToValidUTF8(last[:min(len(last), 200)], "")
	}
	if r.Kind == exec.Exited {
		return fmt.Sprintf("exit %d", r.Code)
	}
	return cmp.Or(r.Reason, r.Kind.String())
}

// loadCheck makes the job's check present, if it has one, and returns the class of
// its module: portable without one.
func (m *Member) loadCheck(ctx context.Context, j *job, from admission.Key) (consensus.Class, error) {
	if j.spec.Check == nil {
		return consensus.Portable, nil
	}
	data, err := m.block(ctx, j.spec.Check.Task.Cid, from, jobs.MaxTask)
	if err != nil {
		return "", refuse(RefuseMissing, "check: %w", err)
	}
	if j.check, err = jobs.OpenTask(m.cfg.Network, data); err != nil {
		return "", refuse(RefuseInvalid, "check: %w", err)
	}
	if err := j.spec.ValidateCheck(j.check); err != nil {
		return "", refuse(RefuseInvalid, "%w", err)
	}
	if j.check.Limits.Stream > m.cfg.Policy.MaxStream {
		return "", refuse(RefuseInvalid, "the check writes more than the policy allows")
	}
	module, err := m.module(ctx, j.check.Module.Cid, from, int64(j.charter.Limits.Input))
	return consensus.Class(module.class), err
}
