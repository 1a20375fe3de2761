package jobs

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// File is a job file as people write it, and the body of a submission to the
// API. YAML and JSON are the same to Parse; encoding/json writes a File in the
// form that Parse reads.
type File struct {
	Version  int      `json:"version" doc:"Version of this format." enum:"1"`
	Name     string   `json:"name,omitempty" doc:"What people call the job, at most 128 bytes. Default: the program's name without .wasm."`
	Priority *uint64  `json:"priority,omitempty" doc:"0 to 100; higher starts first. Default: 50." min:"0" max:"100"`
	Deadline Duration `json:"deadline,omitempty" doc:"Longest life of the job, waiting included. Default: the network's."`
	Run      Run      `json:"run" doc:"What is run, and how."`

	source source // where values stand, of a file that was parsed
}

// Run is the one step of a job.
type Run struct {
	WASM      Reference            `json:"wasm" doc:"The WebAssembly module (WASI preview 1): file:PATH from the job file's folder, cid:CID, or builtin:NAME."`
	Program   string               `json:"program,omitempty" doc:"What the program sees as its own name, args[0]. It is part of what is computed. Default: the module's file name; NAME.wasm for a builtin; module.wasm for a cid."`
	Args      []string             `json:"args,omitempty" doc:"Arguments after the program's name."`
	Env       map[string]string    `json:"env,omitempty" doc:"The program's environment; it sees no other variable."`
	Inputs    map[string]Reference `json:"inputs,omitempty" doc:"Files and folders, each read-only at /in/NAME: file:PATH or cid:CID."`
	Array     *RunArray            `json:"array,omitempty" doc:"Runs the program once for each of many tasks, which are agreed on together. Of inputs, args and count there is one."`
	Outputs   []string             `json:"outputs,omitempty" doc:"Files and folders collected from /out. Default: all. Standard output and error are always kept."`
	Resources RunResources         `json:"resources,omitzero" doc:"What one run takes, and may not exceed; in an array, the run of one task."`
	Effects   EffectsWord          `json:"effects,omitempty" doc:"For a program that acts on the world: one member at a time runs it, and it finds its token in the variable MUSTER_FENCE. once: a run that was cut off, also by its timeout, is followed by none: the job stands until it is cancelled or its deadline comes. at-least-once: it is followed by another. The assurance is single." enum:"once,at-least-once"`
	Timeout   Duration             `json:"timeout,omitempty" doc:"Longest run, such as 30s or 1m30s; in an array, of one task. Default: 60s."`
	Quorum    RunQuorum            `json:"quorum,omitzero" doc:"How many members run and check the job. Default: the network's."`
	Labels    map[string]string    `json:"labels,omitempty" doc:"Words to find the job by."`
}

// RunArray says what the tasks of an array job differ by.
type RunArray struct {
	Inputs map[string]Reference `json:"inputs,omitempty" doc:"One task for each file or folder that is named, in the order of their names; each sees its own at /in/NAME, NAME being the one key: file:./pages/* or file:./pages for what is in a folder, cid:CID of a folder."`
	Args   []Words              `json:"args,omitempty" doc:"One task for each entry: a word, or a list of words, that its arguments end with."`
	Count  *uint64              `json:"count,omitempty" doc:"So many tasks, which find their number, from 0, in the variable MUSTER_TASK_INDEX." min:"1" max:"100000"`
}

// Words are the arguments of one task of an array. In a job file, one word
// stands for a list of one.
type Words []string

// RunResources are what one run takes. A value that is not set has a default.
type RunResources struct {
	CPU    CPU  `json:"cpu,omitempty" doc:"Cores: 0.1, 2, or 500m for half of one. Default: 1."`
	Memory Size `json:"memory,omitempty" doc:"Memory of the program, with inputs and outputs that are held in memory. Default: 128Mi."`
	Disk   Size `json:"disk,omitempty" doc:"What the program may write under /out. Default: 64Mi."`
}

// RunQuorum is how a job file asks for a quorum. A value that is not set is the
// network's.
type RunQuorum struct {
	Size   uint64     `json:"size,omitempty" doc:"Members: 1, 4, 7, 10... for byzantine faults, 1, 3, 5... for crash. 1: nobody checks." min:"1" max:"31"`
	Faults FaultModel `json:"faults,omitempty" doc:"byzantine: members may lie; crash: they only stop." enum:"byzantine,crash"`

	Assurance AssuranceWord `json:"assurance,omitempty" doc:"For a program whose runs differ: single takes what one member reports, and nobody checks it. replicated, the default: members run it, and their results match. majority-equal: they are equal by compare, and need not be written. endorsed: one member runs it, and others check, and need not be written." enum:"replicated,single,majority-equal,endorsed"`
	Compare   *Compare      `json:"compare,omitempty" doc:"For a program whose runs differ a little: when two results are equal."`
	Check     *RunCheck     `json:"check,omitempty" doc:"For a program whose runs differ, and whose result is easy to check: one member runs it, and others run this on what it left."`
}

// RunCheck is a program that finds out whether a result is good. It finds the
// result in /in/result (out, stdout, stderr, exit), the inputs of the run in
// /in/inputs, and how the run ended in MUSTER_END: result, exit, trap or limit.
// Exit code 0 says that it is good; whatever else becomes of it, that it is not.
type RunCheck struct {
	WASM    Reference `json:"wasm" doc:"The WebAssembly module (WASI preview 1) that checks: exit code 0 says that the result is good. It finds it in /in/result (out, stdout, stderr, exit), and the inputs of the run in /in/inputs. It has the resources of a run."`
	Args    []string  `json:"args,omitempty" doc:"Its arguments after its own name."`
	Timeout Duration  `json:"timeout,omitempty" doc:"Longest check. Default: that of the run."`
}

// Ref is a part of a job that has no CID yet: a file or folder that the job
// names, or a builtin program.
type Ref struct {
	Key  string    // where it stands: "run.wasm", "run.inputs.NAME", "run.array.inputs.NAME" or "run.quorum.check.wasm"
	Text Reference // "file:./book.txt"
	At   string    // "job.yaml:7:19", or Key for a file that was not parsed
	Each bool      // it names many: what a pattern matches, or a folder's entries
}

// Input is one entry under /in.
type Input struct {
	Name string
	CID  cid.Cid
}

// FileFor returns the job file for a program that is named on a command line: a
// reference, or the path of a module.
func FileFor(program string, args []string) *File {
	ref := Reference(program)
	if scheme, _ := ref.cut(); scheme == "" {
		ref = Reference(schemeFile + ":" + program)
	}
	return &File{Version: 1, Run: Run{WASM: ref, Args: slices.Clone(args)}}
}

// Keys of what references stand under.
const (
	keyInputs = "run.inputs."
	keyEach   = "run.array.inputs."
	keyCheck  = "run.quorum.check.wasm"
)

// Refs returns the file: and builtin: references, the module first, then the
// inputs by name, then that of an array, then the check.
func (f *File) Refs() []Ref {
	var refs []Ref
	add := func(key string, text Reference, each bool) {
		if scheme, _ := text.cut(); scheme != schemeCID {
			refs = append(refs, Ref{Key: key, Text: text, At: f.source.where(key), Each: each})
		}
	}
	add("run.wasm", f.Run.WASM, false)
	for _, name := range sortedKeys(f.Run.Inputs) {
		add(keyInputs+name, f.Run.Inputs[name], false)
	}
	if f.Run.Array != nil {
		for _, name := range sortedKeys(f.Run.Array.Inputs) {
			add(keyEach+name, f.Run.Array.Inputs[name], true)
		}
	}
	if f.Run.Quorum.Check != nil {
		add(keyCheck, f.Run.Quorum.Check.WASM, false)
	}
	return refs
}

// Resolve returns a copy of the file in which every reference is a cid:, asking
// put for the CIDs in the order of Refs. Where put returns cid.Undef the
// reference stays; its first error ends it. The copy carries the program's name,
// so that the task stays the same: a task has one id, whether its module was
// named by path or by CID.
func (f *File) Resolve(put func(Ref) (cid.Cid, error)) (*File, error) {
	resolved := *f
	resolved.Run.Program = f.Program()
	resolved.Run.Inputs = maps.Clone(f.Run.Inputs)
	if f.Run.Array != nil {
		array := *f.Run.Array
		array.Inputs = maps.Clone(array.Inputs)
		resolved.Run.Array = &array
	}
	if f.Run.Quorum.Check != nil {
		check := *f.Run.Quorum.Check
		resolved.Run.Quorum.Check = &check
	}
	for _, ref := range f.Refs() {
		c, err := put(ref)
		if err != nil {
			return nil, err
		}
		if !c.Defined() {
			continue
		}
		text := Reference(schemeCID + ":" + c.String())
		if name, ok := strings.CutPrefix(ref.Key, keyInputs); ok {
			resolved.Run.Inputs[name] = text
		} else if name, ok := strings.CutPrefix(ref.Key, keyEach); ok {
			resolved.Run.Array.Inputs[name] = text
		} else if ref.Key == keyCheck {
			resolved.Run.Quorum.Check.WASM = text
		} else {
			resolved.Run.WASM = text
		}
	}
	return &resolved, nil
}

// Program returns args[0] of the task: the module's name without its folder.
func (f *File) Program() string {
	if f.Run.Program != "" {
		return f.Run.Program
	}
	switch scheme, rest := f.Run.WASM.cut(); scheme {
	case schemeFile:
		return path.Base(rest)
	case schemeBuiltin:
		return rest + ".wasm"
	default:
		return "module.wasm"
	}
}

// Sources returns the module and the inputs, by name, of a file whose
// references are all CIDs: that of a submission. Another reference is a Problem.
func (f *File) Sources() (module cid.Cid, inputs []Input, err error) {
	for _, ref := range f.Refs() {
		return cid.Undef, nil, &Problem{
			Code: CodeSpecValue,
			What: ref.At + ": " + string(ref.Text) + " means nothing to another machine",
			Try:  "store it first, and name it by cid:",
		}
	}
	if module, err = f.Run.WASM.CID(); err != nil {
		return cid.Undef, nil, f.source.wrong("run.wasm", err)
	}
	for _, name := range sortedKeys(f.Run.Inputs) {
		c, err := f.Run.Inputs[name].CID()
		if err != nil {
			return cid.Undef, nil, f.source.wrong(keyInputs+name, err)
		}
		inputs = append(inputs, Input{Name: name, CID: c})
	}
	return module, inputs, nil
}

// Checker returns the module that results are checked by, of a file whose
// references are all CIDs; undefined for a file without a check.
func (f *File) Checker() (cid.Cid, error) {
	if f.Run.Quorum.Check == nil {
		return cid.Undef, nil
	}
	module, err := f.Run.Quorum.Check.WASM.CID()
	if err != nil {
		return cid.Undef, f.source.wrong(keyCheck, err)
	}
	return module, nil
}

// Each returns the folder whose entries are the tasks of an array, and under
// which name each task sees its own, of a file whose references are all CIDs. It
// is undefined for any other file.
func (f *File) Each() (name string, folder cid.Cid, err error) {
	if f.Run.Array == nil || len(f.Run.Array.Inputs) == 0 {
		return "", cid.Undef, nil
	}
	name = sortedKeys(f.Run.Array.Inputs)[0]
	if folder, err = f.Run.Array.Inputs[name].CID(); err != nil {
		return "", cid.Undef, f.source.wrong(keyEach+name, err)
	}
	return name, folder, nil
}

// Items returns what the tasks of an array differ by, where the file says it
// itself: their arguments; nil where it does not.
func (f *File) Items() *Items {
	if f.Run.Array == nil || len(f.Run.Array.Args) == 0 {
		return nil
	}
	items := &Items{}
	for _, words := range f.Run.Array.Args {
		items.Args = append(items.Args, slices.Clone(words))
	}
	return items
}

// ArrayOf returns the array that the file asks for, nil for a plain job. items
// is the link of its sealed items and count how many inputs they have, if tasks
// differ by inputs.
func (f *File) ArrayOf(items *dagcbor.Link, count int) (*Array, error) {
	a := f.Run.Array
	if a == nil {
		return nil, nil
	}
	made := &Array{Count: uint64(count), Items: items}
	switch {
	case a.Count != nil:
		made.Count = *a.Count
	case len(a.Args) > 0:
		made.Count = uint64(len(a.Args))
	default:
		made.Input = sortedKeys(a.Inputs)[0]
		if count == 0 || count > consensus.MaxTasks {
			return nil, f.source.wrong(keyEach+made.Input, fmt.Errorf("%d inputs, and an array has 1 to 100,000 tasks", count))
		}
	}
	return made, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
