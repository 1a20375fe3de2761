package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Defaults fill what a job file leaves open. They and the bounds of what it may
// ask for follow from the network's policy, so every peer of a network derives
// the same task and spec from the same file.
type Defaults struct {
	Policy admission.Policy
}

// What a job file that does not say gets, unless the policy allows only less.
const (
	DefaultCPU      = 1000 // thousandths of a core
	DefaultMemory   = 128 << 20
	DefaultDisk     = 64 << 20
	DefaultTimeout  = 60 * time.Second
	DefaultPriority = 50
)

// Task returns what the file computes, fully determined. module and inputs are
// the links of the stored module and of the directory that holds the inputs,
// nil for a file without any; array is what ArrayOf returned, nil for a plain job.
// Asking for more than the policy allows is a Problem.
func (f *File) Task(module dagcbor.Link, inputs *dagcbor.Link, array *Array, d Defaults) (*Task, error) {
	if (inputs == nil) != (len(f.Run.Inputs) == 0) {
		return nil, f.source.wrong("run.inputs", fmt.Errorf("%d inputs, and the directory that holds them does not match", len(f.Run.Inputs)))
	}
	if (array == nil) != (f.Run.Array == nil) {
		return nil, f.source.wrong("run.array", errors.New("the array that was made for it does not match"))
	}
	resources, err := f.resources(d)
	if err != nil {
		return nil, err
	}
	env := make([]string, 0, len(f.Run.Env))
	for _, name := range sortedKeys(f.Run.Env) {
		env = append(env, name+"="+f.Run.Env[name])
	}
	outputs := slices.Clone(f.Run.Outputs)
	slices.Sort(outputs)
	t := &Task{
		V:       1,
		Kind:    KindWASM,
		Module:  module,
		Args:    append([]string{f.Program()}, f.Run.Args...),
		Env:     env,
		Inputs:  inputs,
		Outputs: slices.Compact(outputs),
		Limits:  TaskLimits{Memory: resources.Memory, Disk: resources.Disk, Stream: d.Policy.MaxStream},
		Profile: Profile,
		Array:   array,
	}
	return t, t.Validate()
}

// Spec returns how the file asks for its task to be run, fully determined. check
// names what Check returned, nil for a file without one.
func (f *File) Spec(task dagcbor.Link, check *dagcbor.Link, d Defaults) (*Spec, error) {
	resources, err := f.resources(d)
	if err != nil {
		return nil, err
	}
	quorum, err := f.quorum(d)
	if err != nil {
		return nil, err
	}
	timeout, deadline, err := f.times(d)
	if err != nil {
		return nil, err
	}
	s := &Spec{
		V:         1,
		Task:      task,
		Name:      f.Name,
		Labels:    f.Run.Labels,
		Resources: resources,
		Timeout:   timeout,
		Deadline:  deadline,
		Quorum:    quorum,
		Priority:  DefaultPriority,
	}
	if f.Run.Quorum.Compare != nil {
		s.Compare = f.Run.Quorum.Compare.determined()
	}
	if s.Check, err = f.checkOf(check, timeout, deadline, d); err != nil {
		return nil, err
	}
	s.Effects = consensus.Effects(f.Run.Effects)
	if f.Run.Quorum.Assurance == AssuranceSingle && quorum.Size > 1 && s.Effects == "" {
		s.Assurance = consensus.Single
	}
	if s.Name == "" {
		s.Name = strings.TrimSuffix(f.Program(), ".wasm")
		s.Name = strings.ToValidUTF8(s.Name[:min(len(s.Name), 128)], "") // not with half a character
	}
	if f.Priority != nil {
		s.Priority = *f.Priority
	}
	return s, s.Validate()
}

func (f *File) resources(d Defaults) (Resources, error) {
	asked := f.Run.Resources
	r := Resources{
		CPU:    orElse(uint64(asked.CPU), DefaultCPU),
		Memory: orElse(uint64(asked.Memory), min(DefaultMemory, d.Policy.MaxMemory)),
		Disk:   orElse(uint64(asked.Disk), min(DefaultDisk, d.Policy.MaxOutput)),
	}
	if r.Memory > d.Policy.MaxMemory {
		return r, f.beyond("run.resources.memory", "of memory", asked.Memory, Size(d.Policy.MaxMemory))
	}
	if r.Disk > d.Policy.MaxOutput {
		return r, f.beyond("run.resources.disk", "of disk", asked.Disk, Size(d.Policy.MaxOutput))
	}
	return r, nil
}

// quorum lowers nothing: a size that fits no number of faults is refused.
func (f *File) quorum(d Defaults) (Quorum, error) {
	q := Quorum{Size: orElse(f.Run.Quorum.Size, d.Policy.Size), Crash: d.Policy.Crash}
	if f.Run.Quorum.Faults != "" {
		q.Crash = f.Run.Quorum.Faults == FaultsCrash
	}
	if _, _, err := q.Faults(); err != nil {
		return q, f.source.wrong("run.quorum.size", err)
	}
	if err := f.checkCompared(q); err != nil {
		return q, err
	}
	return q, f.hasCheckers(q)
}

// checkCompared refuses to compare where there is nobody to be equal to.
func (f *File) checkCompared(q Quorum) error {
	if f.Run.Quorum.Compare == nil {
		return nil
	}
	if f.Run.Array != nil {
		return f.source.wrong("run.quorum.compare", errors.New("the results of an array are not compared"))
	}
	if q.Size > 1 && !q.Crash {
		return nil
	}
	p := f.source.wrong("run.quorum.compare", errors.New("nothing is compared where one report counts"))
	p.Why, p.Try = "members that cannot lie, or one alone, need no second run", "size 4 or more, faults: byzantine"
	return p
}

// times returns timeout and deadline in milliseconds.
func (f *File) times(d Defaults) (timeout, deadline int64, err error) {
	timeout = orElse(f.Run.Timeout.Milliseconds(), min(DefaultTimeout.Milliseconds(), d.Policy.MaxTimeout, d.Policy.Deadline))
	deadline = orElse(f.Deadline.Milliseconds(), d.Policy.Deadline)
	switch {
	case timeout > d.Policy.MaxTimeout:
		return 0, 0, f.beyond("run.timeout", "", f.Run.Timeout, milliseconds(d.Policy.MaxTimeout))
	case deadline > d.Policy.Deadline:
		return 0, 0, f.beyond("deadline", "", f.Deadline, milliseconds(d.Policy.Deadline))
	case timeout > deadline:
		return 0, 0, f.source.wrong("deadline", fmt.Errorf("a run of %v does not fit a deadline of %v", milliseconds(timeout), milliseconds(deadline)))
	}
	return timeout, deadline, nil
}

func (f *File) beyond(key, of string, asked, most fmt.Stringer) error {
	p := f.source.wrong(key, fmt.Errorf("%s is more than the network allows", strings.TrimSpace(asked.String()+" "+of)))
	p.Why = "its policy allows " + most.String()
	p.Try = "at most " + most.String()
	return p
}

func milliseconds(ms int64) Duration { return Duration(time.Duration(ms) * time.Millisecond) }

// orElse returns asked, or other where nothing was asked.
func orElse[T uint64 | int64](asked, other T) T {
	if asked == 0 {
		return other
	}
	return asked
}
