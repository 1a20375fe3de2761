package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/muster-network/muster/jobs"
)

// program is what run and submit are given: a job file or a module, and what
// the flags change in it.
type program struct {
	name    string
	size    uint64
	faults  string
	timeout time.Duration
	inputs  []string
	labels  []string
	key     string

	given *pflag.FlagSet
}

func (p *program) flags(f *pflag.FlagSet) {
	f.StringVar(&p.name, "name", "", "name of the job")
	f.Uint64Var(&p.size, "quorum", 0, "members: 1 (nobody checks), 4, 7, 10...")
	f.StringVar(&p.faults, "faults", "", "byzantine (members may lie) or crash (they only stop)")
	f.DurationVar(&p.timeout, "timeout", 0, "longest run")
	f.StringArrayVarP(&p.inputs, "input", "i", nil, "NAME=PATH: a file or folder, mounted read-only at /in/NAME")
	f.StringArrayVarP(&p.labels, "label", "l", nil, "KEY=VALUE")
	f.StringVar(&p.key, "key", "", "idempotency key: submitting again finds the job that lives")
}

// read returns the job file that the arguments mean, and the folder in which
// its paths start.
func (p *program) read(a *app, command *cobra.Command, args []string) (*jobs.File, string, error) {
	if len(args) == 0 {
		return nil, "", usage("nothing to run", command.CommandPath()+" builtin:hello -- Ada")
	}
	dash := command.ArgsLenAtDash()
	if dash == 0 || dash > 1 {
		return nil, "", usage("one program or job file, then -- and its arguments", command.CommandPath()+" prog.wasm -- ARGS")
	}
	file, dir, err := open(a.in, args[0], args[1:])
	if err != nil {
		return nil, "", err
	}
	p.given = command.Flags()
	if err := p.change(file); err != nil {
		return nil, "", err
	}
	return file, dir, p.check(file)
}

// magic begins every WebAssembly module.
const magic = "\x00asm"

// open reads a job file, or makes one for a module.
func open(stdin io.Reader, name string, args []string) (*jobs.File, string, error) {
	for _, scheme := range []string{"builtin:", "cid:", "file:"} {
		if strings.HasPrefix(name, scheme) {
			return jobs.FileFor(name, args), "", nil
		}
	}
	data, err := readFile(stdin, name)
	if err != nil {
		return nil, "", err
	}
	if bytes.HasPrefix(data, []byte(magic)) {
		if name == "-" {
			return nil, "", usage("standard input holds a module, not a job file", "save it, and name it by path")
		}
		return jobs.FileFor(name, args), "", nil
	}
	if filepath.Ext(name) == ".wasm" {
		return nil, "", &jobs.Problem{Code: jobs.CodeModule, What: name + " is not a WebAssembly module",
			Why: "it does not begin as one does", Try: "build it for WASI preview 1: GOOS=wasip1 GOARCH=wasm go build"}
	}
	if len(args) > 0 {
		return nil, "", usage("a job file holds its arguments itself", "write them under run: args:")
	}
	if name == "-" {
		file, err := jobs.Parse("stdin", data)
		return file, "", err
	}
	file, err := jobs.Parse(name, data)
	return file, filepath.Dir(name), err
}

// readFile reads a job file, or as much of a module as tells that it is one.
func readFile(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, jobs.MaxFile+1))
	}
	f, err := os.Open(name)
	if err != nil {
		p := &jobs.Problem{Code: jobs.CodeSpecFile, What: name + " is not there", Try: "a job file, a .wasm file, or builtin:hello"}
		if !errors.Is(err, fs.ErrNotExist) {
			p.What, p.Why = "cannot read "+name, plainPath(err)
		}
		return nil, p
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, jobs.MaxFile+1))
	if err != nil {
		return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: "cannot read " + name, Why: plainPath(err), Try: "a job file, a .wasm file, or builtin:hello"}
	}
	return data, nil
}

// plainPath drops the operation and the path, which were said before.
func plainPath(err error) string {
	if p := new(fs.PathError); errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// change applies the flags.
func (p *program) change(file *jobs.File) error {
	if p.name != "" {
		file.Name = p.name
	}
	if p.given.Changed("quorum") {
		if file.Run.Quorum.Size = p.size; p.size == 0 {
			return usage("--quorum: a quorum has at least 1 member", "--quorum 4")
		}
	}
	if p.faults != "" {
		if err := file.Run.Quorum.Faults.UnmarshalText([]byte(p.faults)); err != nil {
			return flagProblem("--faults", err)
		}
	}
	if p.given.Changed("timeout") {
		if err := file.Run.Timeout.UnmarshalText([]byte(p.timeout.String())); err != nil {
			return flagProblem("--timeout", err)
		}
	}
	for _, in := range p.inputs {
		name, path, ok := strings.Cut(in, "=")
		if !ok || name == "" || path == "" {
			return usage(fmt.Sprintf("--input %q is not NAME=PATH", in), "--input text=book.txt")
		}
		if file.Run.Inputs == nil {
			file.Run.Inputs = map[string]jobs.Reference{}
		}
		if !strings.HasPrefix(path, "cid:") {
			absolute, err := filepath.Abs(strings.TrimPrefix(path, "file:"))
			if err != nil {
				return err
			}
			path = "file:" + absolute // a flag's path starts here, not at the job file
		}
		file.Run.Inputs[name] = jobs.Reference(path)
	}
	for _, label := range p.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return usage(fmt.Sprintf("--label %q is not KEY=VALUE", label), "--label team=wiki")
		}
		if file.Run.Labels == nil {
			file.Run.Labels = map[string]string{}
		}
		file.Run.Labels[key] = value
	}
	return nil
}

// check judges the file as the flags left it. It was good before, so what is wrong
// stands at a flag or an argument.
func (p *program) check(file *jobs.File) error {
	data, err := json.Marshal(file)
	if err != nil {
		return err
	}
	bare := new(jobs.File) // without positions: problems say which key is wrong
	if err := json.Unmarshal(data, bare); err != nil {
		return err
	}
	return p.atFlag(bare.Validate())
}

// atFlag names the flag that set what a problem is about, where one did.
func (p *program) atFlag(err error) error {
	problem := new(jobs.Problem)
	if !errors.As(err, &problem) {
		return err
	}
	key, rest, _ := strings.Cut(problem.What, ": ")
	for _, f := range []struct{ key, flag string }{{"name", "name"}, {"run.timeout", "timeout"}, {"run.quorum.size", "quorum"},
		{"run.quorum.faults", "faults"}, {"run.inputs.", "input"}, {"run.labels.", "label"}} {
		if p.given.Changed(f.flag) && (key == f.key || strings.HasSuffix(f.key, ".") && strings.HasPrefix(key, f.key)) {
			named := *problem
			named.What = "--" + f.flag + ": " + rest
			return &named
		}
	}
	return err
}

// refused says where what a node refuses stands: at a flag, or in the file.
func (p *program) refused(file *jobs.File, err error) error {
	if err = p.atFlag(err); err == nil {
		return nil
	}
	problem := new(jobs.Problem)
	if !errors.As(err, &problem) || !strings.HasPrefix(problem.Code, specCodes) {
		return err
	}
	if key, rest, ok := strings.Cut(problem.What, ": "); ok && !strings.ContainsAny(key, " :") {
		placed := *problem
		placed.What = file.Where(key) + ": " + rest
		return &placed
	}
	return err
}

// flagProblem says which flag a value that cannot be stands at.
func flagProblem(flag string, err error) error {
	p := new(jobs.Problem)
	if !errors.As(err, &p) {
		return usage(flag+": "+err.Error(), "")
	}
	return usage(flag+": "+p.What, p.Try)
}
