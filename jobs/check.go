package jobs

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/muster-network/muster/consensus"
)

// Bounds that keep a file's task and spec within MaxTask and MaxSpec, in bytes.
const (
	maxTaskText = 40 << 10
	maxSpecText = 6 << 10
)

// Validate judges what does not depend on a network; Parse has done so already.
// What it refuses is a Problem.
func (f *File) Validate() error {
	if f.Version != 1 {
		p := f.source.wrong("version", fmt.Errorf("version %d is not known", f.Version))
		if f.Version == 0 {
			p.What = f.source.where("") + ": no version"
		}
		p.Try = "version: 1"
		return p
	}
	if f.Run.WASM == "" {
		p := f.source.wrong("run", errors.New("no module to run"))
		p.Try = "run: {wasm: file:./program.wasm}"
		return p
	}
	if f.Priority != nil && *f.Priority > 100 {
		return f.source.wrong("priority", errors.New("priority is 0 to 100"))
	}
	if f.Deadline > 0 && f.Deadline < f.Run.Timeout {
		return f.source.wrong("deadline", errors.New("the deadline is before the timeout of the run"))
	}
	for _, check := range []func() error{f.checkReferences, f.checkProgram, f.checkEnv, f.checkFiles, f.checkArray, f.checkLabels, f.checkQuorum, f.validCheck, f.checkEffects} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) checkReferences() error {
	var parsed Reference
	if err := parsed.UnmarshalText([]byte(f.Run.WASM)); err != nil {
		return f.source.wrong("run.wasm", err)
	}
	for _, name := range sortedKeys(f.Run.Inputs) {
		if err := parsed.UnmarshalText([]byte(f.Run.Inputs[name])); err != nil {
			return f.source.wrong("run.inputs."+name, err)
		}
	}
	return nil
}

func (f *File) checkProgram() error {
	program := f.Program()
	if CheckPath(program) != nil || path.Base(program) != program {
		key := "run.wasm"
		if f.Run.Program != "" {
			key = "run.program"
		}
		return f.source.wrong(key, fmt.Errorf("%q is not the name of a program", program))
	}
	if len(f.Run.Args) >= 1024 {
		return f.source.wrong("run.args", fmt.Errorf("%d arguments, at most 1,023", len(f.Run.Args)))
	}
	total := len(program)
	for i, arg := range f.Run.Args {
		if strings.ContainsRune(arg, 0) {
			return f.source.wrong(fmt.Sprintf("run.args.%d", i), errors.New("an argument holds a zero byte"))
		}
		total += len(arg)
	}
	for name, value := range f.Run.Env {
		total += len(name) + len(value)
	}
	for _, output := range f.Run.Outputs {
		total += len(output)
	}
	if total > maxTaskText {
		p := f.source.wrong("run", fmt.Errorf("%d bytes of arguments, variables and outputs, at most %d", total, maxTaskText))
		p.Try = "hand large values over as inputs"
		return p
	}
	return nil
}

func (f *File) checkEnv() error {
	if len(f.Run.Env) > 256 {
		return f.source.wrong("run.env", fmt.Errorf("%d variables, at most 256", len(f.Run.Env)))
	}
	for _, name := range sortedKeys(f.Run.Env) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(f.Run.Env[name], 0) {
			return f.source.wrong("run.env."+name, fmt.Errorf("%q is not a variable: no '=' in its name, and no zero byte", name))
		}
	}
	return nil
}

func (f *File) checkFiles() error {
	if len(f.Run.Outputs) > 256 || len(f.Run.Inputs) > 256 {
		return f.source.wrong("run", errors.New("at most 256 inputs and 256 outputs"))
	}
	for i, output := range f.Run.Outputs {
		if err := CheckPath(output); err != nil {
			p := f.source.wrong(fmt.Sprintf("run.outputs.%d", i), err)
			p.Try = "a path below /out, such as counts.json"
			return p
		}
	}
	for _, name := range sortedKeys(f.Run.Inputs) {
		if !isName(name) {
			return f.source.wrong("run.inputs."+name, fmt.Errorf("%q is not the name of an entry under /in", name))
		}
		if scheme, _ := f.Run.Inputs[name].cut(); scheme == schemeBuiltin {
			p := f.source.wrong("run.inputs."+name, errors.New("a builtin is a program, not an input"))
			p.Try = "file:./PATH or cid:CID"
			return p
		}
	}
	return nil
}

// checkArray wants one way to tell tasks apart. How many files a pattern matches
// is found out where the files are.
func (f *File) checkArray() error {
	a := f.Run.Array
	if a == nil {
		return nil
	}
	ways := 0
	for _, given := range []bool{len(a.Inputs) > 0, len(a.Args) > 0, a.Count != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 || len(a.Inputs) > 1 {
		p := f.source.wrong("run.array", errors.New("an array has one of inputs, args and count, and one input"))
		p.Try = `array: {inputs: {text: "file:./pages/*"}}, array: {args: [a, b]} or array: {count: 100}`
		return p
	}
	if a.Count != nil && (*a.Count == 0 || *a.Count > consensus.MaxTasks) {
		return f.source.wrong("run.array.count", fmt.Errorf("%d tasks, 1 to 100,000", *a.Count))
	}
	for _, name := range sortedKeys(f.Run.Env) {
		if strings.HasPrefix(name, envTask) {
			return f.source.wrong("run.env."+name, fmt.Errorf("variables %s... are set for each task of an array", envTask))
		}
	}
	if err := f.checkArrayArgs(); err != nil {
		return err
	}
	for name, ref := range a.Inputs {
		return f.checkArrayInput(name, ref)
	}
	return nil
}

// maxArgItems bounds the arguments of all tasks of an array, so that they stay
// within MaxItems.
const maxArgItems = 1 << 20

func (f *File) checkArrayArgs() error {
	a, total := f.Run.Array, 0
	if len(a.Args) > consensus.MaxTasks {
		return f.source.wrong("run.array.args", fmt.Errorf("%d tasks, 1 to 100,000", len(a.Args)))
	}
	for i, words := range a.Args {
		if err := checkArgs(words, len(f.Run.Args)+1); err != nil {
			return f.source.wrong(fmt.Sprintf("run.array.args.%d", i), err)
		}
		for _, word := range words {
			total += len(word) + 5
		}
		total += 3
	}
	if total > maxArgItems {
		p := f.source.wrong("run.array.args", fmt.Errorf("%d bytes of arguments, at most %d", total, maxArgItems))
		p.Try = "hand large values over as inputs"
		return p
	}
	return nil
}

func (f *File) checkArrayInput(name string, ref Reference) error {
	var parsed Reference
	if err := parsed.UnmarshalText([]byte(ref)); err != nil {
		return f.source.wrong(keyEach+name, err)
	}
	if !isName(name) {
		return f.source.wrong(keyEach+name, fmt.Errorf("%q is not the name of an entry under /in", name))
	}
	if _, shared := f.Run.Inputs[name]; shared {
		return f.source.wrong(keyEach+name, fmt.Errorf("%q is an input of all tasks already", name))
	}
	if scheme, _ := ref.cut(); scheme == schemeBuiltin {
		p := f.source.wrong(keyEach+name, errors.New("a builtin is a program, not an input"))
		p.Try = "file:./PATTERN, or cid:CID of a folder"
		return p
	}
	return nil
}

func (f *File) checkLabels() error {
	if len(f.Name) > 128 {
		return f.source.wrong("name", fmt.Errorf("%d bytes, at most 128", len(f.Name)))
	}
	if strings.ContainsFunc(f.Name, unicode.IsControl) {
		return f.source.wrong("name", errors.New("a name holds no control characters"))
	}
	if len(f.Run.Labels) > 64 {
		return f.source.wrong("run.labels", fmt.Errorf("%d labels, at most 64", len(f.Run.Labels)))
	}
	total := 0
	for _, name := range sortedKeys(f.Run.Labels) {
		value := f.Run.Labels[name]
		if name == "" || len(name) > 64 || len(value) > 256 {
			return f.source.wrong("run.labels."+name, errors.New("a label has a key of 1 to 64 bytes and a value of at most 256"))
		}
		if strings.ContainsFunc(name+value, unicode.IsControl) {
			return f.source.wrong("run.labels."+name, errors.New("a label holds no control characters"))
		}
		total += len(name) + len(value)
	}
	if total > maxSpecText {
		return f.source.wrong("run.labels", fmt.Errorf("%d bytes of labels, at most %d", total, maxSpecText))
	}
	return nil
}

// checkQuorum judges a size by the fault model. The default model is the
// network's: without one in the file a size need fit either.
func (f *File) checkQuorum() error {
	if _, set := f.source.at["run.quorum.size"]; set && f.Run.Quorum.Size == 0 {
		return f.source.wrong("run.quorum.size", errors.New("a quorum has at least 1 member"))
	}
	if err := f.checkAssurance(); err != nil {
		return err
	}
	if f.Run.Quorum.Size == 0 {
		return nil
	}
	models := []bool{f.Run.Quorum.Faults == FaultsCrash}
	if f.Run.Quorum.Faults == "" {
		models = []bool{true, false}
	}
	var err error
	for _, crash := range models {
		if _, _, err = (Quorum{Size: f.Run.Quorum.Size, Crash: crash}).Faults(); err == nil {
			return nil
		}
	}
	return f.source.wrong("run.quorum.size", err)
}

// checkEffects refuses what cannot be where a run acts on the world.
func (f *File) checkEffects() error {
	if f.Run.Effects == "" {
		return nil
	}
	if _, set := f.Run.Env[EnvFence]; set {
		return f.source.wrong("run.env."+EnvFence, fmt.Errorf("variable %s is set for each run of a program that acts", EnvFence))
	}
	q := f.Run.Quorum
	var p *Problem
	switch {
	case f.Run.Array != nil:
		p = f.source.wrong("run.effects", errors.New("an array does not act on the world"))
		p.Why, p.Try = "its tasks run side by side, and a run that acts runs alone", "a job for each task"
	case q.Compare != nil:
		p = f.source.wrong("run.quorum.compare", errors.New("nothing is compared where a run acts on the world"))
	case q.Check != nil:
		p = f.source.wrong("run.quorum.check", errors.New("nothing is checked where a run acts on the world"))
	case q.Assurance != "" && q.Assurance != AssuranceSingle:
		p = f.source.wrong("run.quorum.assurance", fmt.Errorf("%s, of a run that acts on the world", q.Assurance))
	default:
		return nil
	}
	if p.Try == "" {
		p.Why, p.Try = "one member at a time runs it, so nobody else has a result", "leave effects out if runs may be repeated; else leave this out"
	}
	return p
}

// checkAssurance judges what ends are compared by.
func (f *File) checkAssurance() error {
	q := f.Run.Quorum
	equal := q.Assurance == AssuranceMajorityEqual
	switch {
	case q.Compare == nil && equal:
		p := f.source.wrong("run.quorum.assurance", errors.New("majority-equal, and nothing to compare by"))
		p.Try = "compare: {float: 1.0e-6}"
		return p
	case q.Compare == nil:
		return nil
	case q.Assurance != "" && !equal:
		p := f.source.wrong("run.quorum.compare", fmt.Errorf("results are compared, and the assurance is %s", q.Assurance))
		p.Try = "leave assurance out, or say majority-equal"
		return p
	case q.Compare.Float != "" && q.Compare.Float.check() != nil:
		return f.source.wrong("run.quorum.compare.float", q.Compare.Float.check())
	case len(q.Compare.Ignore) > maxIgnored:
		return f.source.wrong("run.quorum.compare.ignore", fmt.Errorf("%d pointers, at most %d", len(q.Compare.Ignore), maxIgnored))
	}
	for i, pointer := range q.Compare.Ignore {
		if err := checkPointer(pointer); err != nil {
			return f.source.wrong(fmt.Sprintf("run.quorum.compare.ignore.%d", i), err)
		}
	}
	return nil
}
