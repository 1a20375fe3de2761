// Package jobs holds the words of work: task, spec, job, state, resources, and
// the job file that people write. It is pure: it validates and names, and does
// nothing (protocol, section 1).
package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Tags of what is sealed here.
const (
	TagTask = "muster/task/1"
	TagSpec = "muster/spec/1"
)

// Bounds of sealed tasks and specs, in bytes.
const (
	MaxTask = 48 << 10
	MaxSpec = 8 << 10
)

// maxDeadline keeps dates that are reckoned from a deadline far from overflow,
// in milliseconds.
const maxDeadline = 10 * 365 * 24 * 3_600_000

// Profile is the version of the engine semantics that tasks are run under: the
// clocks, the randomness, the file system (protocol, section 5).
const Profile = 1

// KindWASM is the kind of a task that is a WebAssembly module for WASI preview 1.
const KindWASM = "wasm"

// Task is what is computed, and nothing else. Its sealed bytes name it: the
// same task from two peers is the same bytes.
type Task struct {
	V       uint64            `cbor:"v"`
	Kind    string            `cbor:"kind"`
	Module  dagcbor.Link      `cbor:"module"`
	Args    []string          `cbor:"args"`             // args[0] included
	Env     []string          `cbor:"env"`              // "K=V", by ascending key
	Inputs  *dagcbor.Link     `cbor:"inputs,omitempty"` // a directory: its entries appear under /in
	Outputs []string          `cbor:"outputs"`          // collected from /out, ascending; none: everything
	Limits  TaskLimits        `cbor:"limits"`
	Profile uint64            `cbor:"profile"`
	Params  map[string]string `cbor:"params"`
	Array   *Array            `cbor:"array,omitempty"`
}

// TaskLimits are the limits that a program can run into, in bytes: they are part
// of what is computed.
type TaskLimits struct {
	_      struct{} `cbor:",toarray"`
	Memory uint64
	Disk   uint64
	Stream uint64
}

// Spec is how a task is to be run. Times are milliseconds. Of an array job,
// resources and timeout are those of one of its tasks.
type Spec struct {
	V         uint64            `cbor:"v"`
	Task      dagcbor.Link      `cbor:"task"`
	Name      string            `cbor:"name"`
	Labels    map[string]string `cbor:"labels"`
	Resources Resources         `cbor:"resources"`
	Timeout   int64             `cbor:"timeout"`
	Deadline  int64             `cbor:"deadline"` // from issue
	Quorum    Quorum            `cbor:"quorum"`
	Priority  uint64            `cbor:"priority"`

	// Where runs may differ: one member's is taken, or ends are compared, or one
	// member's is checked by others.
	Assurance consensus.Assurance `cbor:"assurance,omitempty"` // single, or none
	Compare   *Compare            `cbor:"compare,omitempty"`
	Check     *Check              `cbor:"check,omitempty"`

	Effects consensus.Effects `cbor:"effects,omitempty"` // of a task that acts on the world
}

// Resources are what one run takes: CPU in thousandths of a core, memory and
// disk in bytes.
type Resources struct {
	_      struct{} `cbor:",toarray"`
	CPU    uint64
	Memory uint64
	Disk   uint64
}

// Quorum is how many members a job asks for, and what faults it tolerates.
type Quorum struct {
	_     struct{} `cbor:",toarray"`
	Size  uint64
	Crash bool // crash-only faults
}

// Names of the quantities that resources map onto in adverts and charters.
const (
	QuantityCPU    = "cpu"
	QuantityMemory = "memory"
	QuantityDisk   = "disk"
)

// Quantities returns the resources as consensus knows them.
func (r Resources) Quantities() map[string]uint64 {
	return map[string]uint64{QuantityCPU: r.CPU, QuantityMemory: r.Memory, QuantityDisk: r.Disk}
}

// Seal validates the task and returns its bytes and the link that names it.
func (t *Task) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	if err := t.Validate(); err != nil {
		return nil, dagcbor.Link{}, err
	}
	return seal(TagTask, network, t, MaxTask)
}

// OpenTask decodes and validates a task.
func OpenTask(network admission.Network, data []byte) (*Task, error) {
	t := new(Task)
	if err := unseal(TagTask, network, data, t, MaxTask); err != nil {
		return nil, err
	}
	return t, t.Validate()
}

// Validate checks the task's form.
func (t *Task) Validate() error {
	switch {
	case t.V != 1:
		return fmt.Errorf("task: version %d is not known", t.V)
	case t.Kind != KindWASM:
		return fmt.Errorf("task: kind %q is not known", t.Kind)
	case t.Profile != Profile:
		return fmt.Errorf("task: profile %d is not known", t.Profile)
	case !t.Module.Defined():
		return errors.New("task: no module")
	case len(t.Args) == 0 || len(t.Args) > 1024:
		return errors.New("task: 1 to 1,024 arguments")
	case len(t.Env) > 256 || len(t.Outputs) > 256 || len(t.Params) > 0:
		return errors.New("task: at most 256 variables and outputs, and no params")
	case t.Limits.Memory == 0 || t.Limits.Memory > 1<<40 || t.Limits.Disk > 1<<40 || t.Limits.Stream > 1<<30:
		return errors.New("task: a limit is out of range")
	}
	for _, arg := range t.Args {
		if strings.ContainsRune(arg, 0) {
			return errors.New("task: an argument holds a zero byte")
		}
	}
	for i, e := range t.Env {
		key, _, ok := strings.Cut(e, "=")
		if !ok || key == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("task: variable %q is not KEY=value", e)
		}
		if i > 0 {
			if before, _, _ := strings.Cut(t.Env[i-1], "="); before >= key {
				return errors.New("task: variables are in order of their keys, none twice")
			}
		}
	}
	for i, o := range t.Outputs {
		if err := CheckPath(o); err != nil {
			return fmt.Errorf("task: output: %w", err)
		}
		if i > 0 && t.Outputs[i-1] >= o {
			return errors.New("task: outputs are in order, none twice")
		}
	}
	if t.Array == nil {
		return nil
	}
	if slices.ContainsFunc(t.Env, func(e string) bool { return strings.HasPrefix(e, envTask) }) {
		return fmt.Errorf("task: variables %s... are those of an array", envTask)
	}
	return t.Array.validate()
}

// CheckPath refuses paths that are not relative, clean and of ordinary length.
func CheckPath(p string) error {
	if p == "" || len(p) > 1024 || strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) {
		return fmt.Errorf("%q is not a relative path", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return fmt.Errorf("%q is not a clean path", p)
		}
	}
	return nil
}

// Seal validates the spec and returns its bytes and link.
func (s *Spec) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	if err := s.Validate(); err != nil {
		return nil, dagcbor.Link{}, err
	}
	return seal(TagSpec, network, s, MaxSpec)
}

// OpenSpec decodes and validates a spec.
func OpenSpec(network admission.Network, data []byte) (*Spec, error) {
	s := new(Spec)
	if err := unseal(TagSpec, network, data, s, MaxSpec); err != nil {
		return nil, err
	}
	return s, s.Validate()
}

// Validate checks the spec's form.
func (s *Spec) Validate() error {
	switch {
	case s.V != 1:
		return fmt.Errorf("spec: version %d is not known", s.V)
	case !s.Task.Defined():
		return errors.New("spec: no task")
	case s.Timeout <= 0 || s.Deadline < s.Timeout || s.Deadline > maxDeadline:
		return errors.New("spec: a timeout, and a deadline not before it and within ten years")
	case s.Resources.CPU == 0 || s.Resources.Memory == 0:
		return errors.New("spec: a run takes some CPU and some memory")
	case s.Priority > 100:
		return errors.New("spec: priority is 0 to 100")
	}
	if err := CheckName(s.Name, s.Labels); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	fault, f, err := s.Quorum.Faults()
	switch {
	case err != nil:
		return err
	case s.Assurance != "" && (s.Assurance != consensus.Single || f == 0 || s.Compare != nil || s.Check != nil):
		return errors.New("spec: assurance is single, of more than one member, and nothing is compared or checked")
	case s.Effects != "" && s.Effects != consensus.Once && s.Effects != consensus.AtLeastOnce:
		return fmt.Errorf("spec: effects %q are not known", s.Effects)
	case s.Effects != "" && (s.Assurance != "" || s.Compare != nil || s.Check != nil):
		return errors.New("spec: what acts on the world runs on one member at a time, and nothing is compared or checked")
	case s.Check != nil && (s.Compare != nil || f == 0 || fault != consensus.Byzantine):
		return errors.New("spec: ends are checked by others, where some may lie, and are not compared")
	case s.Check != nil && (!s.Check.Task.Defined() || s.Check.Timeout <= 0 || s.Check.Timeout > s.Deadline):
		return errors.New("spec: a check has a program, and a timeout within the deadline")
	case s.Compare == nil:
		return nil
	case f == 0 || fault != consensus.Byzantine:
		return errors.New("spec: ends are compared where more than one report counts")
	}
	return s.Compare.Validate()
}

// CheckName bounds a job's name and labels.
func CheckName(name string, labels map[string]string) error {
	if len(name) > 128 || len(labels) > 64 {
		return errors.New("a name of at most 128 bytes, at most 64 labels")
	}
	for _, k := range sortedKeys(labels) {
		if k == "" || len(k) > 64 || len(labels[k]) > 256 {
			return fmt.Errorf("label %q: a key of 1 to 64 bytes, a value of at most 256", k)
		}
	}
	return nil
}

func seal(tag string, network admission.Network, v any, limit int) ([]byte, dagcbor.Link, error) {
	data, err := dagcbor.Seal(tag, network[:], v)
	if err != nil {
		return nil, dagcbor.Link{}, err
	}
	if len(data) > limit {
		return nil, dagcbor.Link{}, fmt.Errorf("%s: %d bytes, at most %d", tag, len(data), limit)
	}
	return data, dagcbor.LinkTo(dagcbor.CID(data)), nil
}

func unseal(tag string, network admission.Network, data []byte, v any, limit int) error {
	if len(data) > limit {
		return fmt.Errorf("%s: %d bytes, at most %d", tag, len(data), limit)
	}
	return dagcbor.Unseal(tag, network[:], data, v)
}
