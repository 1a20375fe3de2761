package jobs

import (
	"path"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
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
	Outputs   []string             `json:"outputs,omitempty" doc:"Files and folders collected from /out. Default: all. Standard output and error are always kept."`
	Resources RunResources         `json:"resources,omitzero" doc:"What one run takes, and may not exceed."`
	Timeout   Duration             `json:"timeout,omitempty" doc:"Longest run, such as 30s or 1m30s. Default: 60s."`
	Quorum    RunQuorum            `json:"quorum,omitzero" doc:"How many members run and check the job. Default: the network's."`
	Labels    map[string]string    `json:"labels,omitempty" doc:"Words to find the job by."`
}

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
}

// Ref is a part of a job that has no CID yet: a file or folder that the job
// names, or a builtin program.
type Ref struct {
	Key  string    // where it stands: "run.wasm" or "run.inputs.NAME"
	Text Reference // "file:./book.txt"
	At   string    // "job.yaml:7:19", or Key for a file that was not parsed
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

// Refs returns the file: and builtin: references, the module first, then the
// inputs by name.
func (f *File) Refs() []Ref {
	var refs []Ref
	add := func(key string, text Reference) {
		if scheme, _ := text.cut(); scheme != schemeCID {
			refs = append(refs, Ref{Key: key, Text: text, At: f.source.where(key)})
		}
	}
	add("run.wasm", f.Run.WASM)
	for _, name := range sortedKeys(f.Run.Inputs) {
		add("run.inputs."+name, f.Run.Inputs[name])
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
	resolved.Run.Inputs = make(map[string]Reference, len(f.Run.Inputs))
	for name, ref := range f.Run.Inputs {
		resolved.Run.Inputs[name] = ref
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
		if name, ok := strings.CutPrefix(ref.Key, "run.inputs."); ok {
			resolved.Run.Inputs[name] = text
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
			return cid.Undef, nil, f.source.wrong("run.inputs."+name, err)
		}
		inputs = append(inputs, Input{Name: name, CID: c})
	}
	return module, inputs, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
