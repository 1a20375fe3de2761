package main

import (
	"bytes"
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
	return file, dir, p.change(file)
}

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
	if bytes.HasPrefix(data, []byte("\x00asm")) {
		if name == "-" {
			return nil, "", usage("standard input holds a module, not a job file", "save it, and name it by path")
		}
		return jobs.FileFor(name, args), "", nil
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
		return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: "cannot read " + name, Why: plainPath(err)}
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
	if p.size != 0 {
		file.Run.Quorum.Size = p.size
	}
	if p.faults != "" {
		if err := file.Run.Quorum.Faults.UnmarshalText([]byte(p.faults)); err != nil {
			return flagProblem("--faults", err)
		}
	}
	if p.timeout != 0 {
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

// flagProblem says which flag a value that cannot be stands at.
func flagProblem(flag string, err error) error {
	p := new(jobs.Problem)
	if !errors.As(err, &p) {
		return usage(flag+": "+err.Error(), "")
	}
	return usage(flag+": "+p.What, p.Try)
}
