package wasm

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/muster-network/muster/jobs/exec"
)

func broken(err error) exec.Result {
	return exec.Result{Kind: exec.Broken, Reason: reasonOf(err)}
}

// maxReason bounds a reason, in bytes: the engine's errors quote what a module calls
// its functions, at any length.
const maxReason = 1000

// reasonOf is an error as one line for people.
func reasonOf(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > maxReason {
		line = line[:maxReason-len("...")] + "..."
	}
	return strings.ToValidUTF8(line, "")
}

// checkRequest refuses what no run can come of.
func checkRequest(req *exec.Request) error {
	if req.Memory <= 0 || req.Disk < 0 || req.Stream < 0 || req.Timeout < 0 {
		return errors.New("request without limits")
	}
	if req.Memory > maxMemory {
		return fmt.Errorf("memory of %d bytes, at most %d are given", req.Memory, int64(maxMemory))
	}
	if len(req.Inputs) > exec.MaxInputs {
		return fmt.Errorf("inputs: %d files, at most %d are taken", len(req.Inputs), exec.MaxInputs)
	}
	paths := 0
	for _, f := range req.Inputs {
		paths += len(f.Path)
	}
	if paths > exec.MaxInputPaths {
		return fmt.Errorf("inputs: paths of %d bytes, at most %d are taken", paths, exec.MaxInputPaths)
	}
	if err := checkFiles(req.Inputs); err != nil {
		return fmt.Errorf("inputs: %w", err)
	}
	for _, name := range req.Outputs {
		if !validPath(name) {
			return fmt.Errorf("output %q is not a clean relative path", name)
		}
	}
	text := 0
	for _, list := range [][]string{req.Args, req.Env, req.Outputs} {
		for _, s := range list {
			text += len(s) + stringBytes
		}
	}
	if text > maxText {
		return fmt.Errorf("arguments, variables and outputs of %d bytes, at most %d are taken", text, maxText)
	}
	return nil
}

// maxText bounds Request.Args, Env and Outputs together, in bytes, stringBytes more
// for each of them. It holds the largest task there is: an array's items, of which
// one may have all the 2 MiB, and what its tasks have in common.
const (
	maxText     = 3 << 20
	stringBytes = 5
)

// checkInputs finds inputs that the memory limit does not hold, before anybody
// is troubled with them.
func checkInputs(req *exec.Request) outcome {
	a := &account{memory: req.Memory}
	for _, f := range req.Inputs {
		if !a.input(int64(len(f.Data))) {
			return limited(a, exec.LimitMemory)
		}
	}
	return outcome{}
}

// maxMemory bounds Request.Memory, in bytes: the linear memory is 32-bit, and
// files need no more than another such.
const maxMemory = 8 << 30

// checkFiles checks paths, and that they are in order.
func checkFiles(files []exec.File) error {
	for i, f := range files {
		if !validPath(f.Path) {
			return fmt.Errorf("%q is not a clean relative path", f.Path)
		}
		if i > 0 && files[i-1].Path >= f.Path {
			return fmt.Errorf("%q is not in order", f.Path)
		}
	}
	return nil
}

func validPath(p string) bool {
	return fs.ValidPath(p) && p != "." && path.Clean(p) == p && len(p) <= maxPath &&
		!slices.ContainsFunc(strings.Split(p, "/"), func(name string) bool { return len(name) > maxName })
}
