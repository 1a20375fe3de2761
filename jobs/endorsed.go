package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// Check is how the spec asks for the results of its task to be checked: which
// program is run on them, and for how long at most, in milliseconds. The program
// is a task of its own, without inputs: it finds a result, and the inputs that it
// was made from, where CheckResult and CheckInputs say (decision 018).
type Check struct {
	Task    dagcbor.Link `cbor:"task"`
	Timeout int64        `cbor:"timeout"`
}

// Where below /in a check finds what it judges: out/, stdout, stderr and exit as
// a result has them; and the inputs of the task. EnvEnd says how the run ended:
// result, exit, trap or limit.
const (
	CheckResult = "result"
	CheckInputs = "inputs"
	EnvEnd      = "MUSTER_END"
)

// checkProgram is what a check sees as its own name, whatever its file is called.
const checkProgram = "check.wasm"

// CheckEnv returns the environment of a check of what a run left that ended in v.
func CheckEnv(env []string, v consensus.Value) []string {
	end := "result"
	if v.Kind == consensus.Failed {
		end = v.Class.String()
	}
	return withEnv(env, EnvEnd, end)
}

// Check returns the program that results are checked by, fully determined; nil
// for a file without one. module is the link of the stored module. It runs within
// the resources of a run.
func (f *File) Check(module *dagcbor.Link, d Defaults) (*Task, error) {
	if (module == nil) != (f.Run.Quorum.Check == nil) {
		return nil, f.source.wrong(keyCheck, errors.New("the module that was stored for it does not match"))
	}
	if module == nil {
		return nil, nil
	}
	resources, err := f.resources(d)
	if err != nil {
		return nil, err
	}
	t := &Task{
		V:       1,
		Kind:    KindWASM,
		Module:  *module,
		Args:    append([]string{checkProgram}, f.Run.Quorum.Check.Args...),
		Limits:  TaskLimits{Memory: resources.Memory, Disk: resources.Disk, Stream: d.Policy.MaxStream},
		Profile: Profile,
	}
	return t, t.Validate()
}

// checkOf returns how the spec asks for the check that check names.
func (f *File) checkOf(check *dagcbor.Link, timeout, deadline int64, d Defaults) (*Check, error) {
	if (check == nil) != (f.Run.Quorum.Check == nil) {
		return nil, f.source.wrong("run.quorum.check", errors.New("the program that was made for it does not match"))
	}
	if check == nil {
		return nil, nil
	}
	asked := f.Run.Quorum.Check.Timeout
	if asked.Milliseconds() > d.Policy.MaxTimeout {
		return nil, f.beyond("run.quorum.check.timeout", "", asked, milliseconds(d.Policy.MaxTimeout))
	}
	if asked.Milliseconds() > deadline {
		return nil, f.source.wrong("run.quorum.check.timeout", fmt.Errorf("a check of %v does not fit a deadline of %v", asked, milliseconds(deadline)))
	}
	return &Check{Task: *check, Timeout: orElse(asked.Milliseconds(), timeout)}, nil
}

// validCheck judges how results are to be checked.
func (f *File) validCheck() error {
	q := f.Run.Quorum
	c, endorsed := q.Check, q.Assurance == AssuranceEndorsed
	switch {
	case c == nil && endorsed:
		p := f.source.wrong("run.quorum.assurance", errors.New("endorsed, and nothing to check by"))
		p.Try = "check: {wasm: file:./check.wasm}"
		return p
	case c == nil:
		return nil
	case q.Compare != nil:
		p := f.source.wrong("run.quorum.check", errors.New("results are compared, or they are checked"))
		p.Try = "leave compare or check out"
		return p
	case q.Assurance != "" && !endorsed:
		p := f.source.wrong("run.quorum.check", fmt.Errorf("results are checked, and the assurance is %s", q.Assurance))
		p.Try = "leave assurance out, or say endorsed"
		return p
	case c.WASM == "":
		p := f.source.wrong("run.quorum.check", errors.New("no module to check by"))
		p.Try = "check: {wasm: file:./check.wasm}"
		return p
	}
	var parsed Reference
	if err := parsed.UnmarshalText([]byte(c.WASM)); err != nil {
		return f.source.wrong(keyCheck, err)
	}
	total := 0
	for i, arg := range c.Args {
		if strings.ContainsRune(arg, 0) {
			return f.source.wrong(fmt.Sprintf("run.quorum.check.args.%d", i), errors.New("an argument holds a zero byte"))
		}
		total += len(arg)
	}
	if len(c.Args) >= 1024 || total > maxTaskText {
		return f.source.wrong("run.quorum.check.args", fmt.Errorf("%d arguments of %d bytes, at most 1,023 of %d", len(c.Args), total, maxTaskText))
	}
	return nil
}

// hasCheckers refuses a check where there is nobody to run it, or nothing that it
// is needed for.
func (f *File) hasCheckers(q Quorum) error {
	switch {
	case f.Run.Quorum.Check == nil:
		return nil
	case f.Run.Array != nil:
		p := f.source.wrong("run.quorum.check", errors.New("the results of an array are not checked"))
		p.Try = "a job for each task"
		return p
	case q.Crash:
		p := f.source.wrong("run.quorum.check", errors.New("nothing is checked where members cannot lie"))
		p.Why, p.Try = "a program can check its own result before it ends", "faults: byzantine, or leave check out"
		return p
	case q.Size == 1:
		p := f.source.wrong("run.quorum.check", errors.New("a quorum of one has nobody who checks"))
		p.Why, p.Try = "f+1 members beside the one that ran it run the check", "size 4 or more"
		return p
	}
	return nil
}

// ValidateCheck verifies that a task is what the spec may name as its check: a
// program without inputs of its own, within the resources of a run.
func (s *Spec) ValidateCheck(check *Task) error {
	if check.Array != nil || check.Inputs != nil || len(check.Outputs) > 0 {
		return errors.New("a check has no inputs, outputs or tasks of its own")
	}
	if check.Limits.Memory > s.Resources.Memory || check.Limits.Disk > s.Resources.Disk {
		return errors.New("the limits of the check are above the resources of a run")
	}
	if slices.ContainsFunc(check.Env, func(e string) bool { return strings.HasPrefix(e, EnvEnd+"=") }) {
		return errors.New("the check sets the variable that tells how the run ended")
	}
	return nil
}

// Stricter returns the class of machines on which modules of both classes run
// alike, as they do on this machine.
func Stricter(a, b consensus.Class) consensus.Class {
	if a == consensus.Portable {
		return b
	}
	return a
}
