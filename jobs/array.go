package jobs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// TagItems is the tag of what the tasks of an array differ by.
const TagItems = "muster/items/1"

// MaxItems bounds sealed items, in bytes: they are one block.
const MaxItems = 2 << 20

// Variables that every task of an array job sees beside those of the job file.
// A job file may not set variables of this prefix.
const (
	envTask      = "MUSTER_TASK_"
	envTaskCount = envTask + "COUNT" // how many tasks there are
	envTaskIndex = envTask + "INDEX" // from 0
	envTaskName  = envTask + "NAME"
)

// Array makes a task many: Count runs of one module, which differ by their
// index and by their item (protocol, section 14; decision 012).
type Array struct {
	Count uint64        `cbor:"count"`
	Input string        `cbor:"input,omitempty"` // where under /in each task finds its own input
	Items *dagcbor.Link `cbor:"items,omitempty"` // none: tasks differ by their index alone
}

// Items is what the tasks of an array differ by: arguments, or inputs. Small
// inputs are in packs, as the result trees of an array are.
type Items struct {
	_      struct{} `cbor:",toarray"`
	Args   [][]string
	Inputs []ItemInput
	Packs  []consensus.ArrayPack
	Large  []dagcbor.Link
}

// ItemInput is the input of one task. It is no link: see consensus.ArrayTask.
type ItemInput struct {
	_    struct{} `cbor:",toarray"`
	Name string
	CID  []byte
}

// ArrayTask is one task of an array.
type ArrayTask struct {
	Index uint64
	Name  string
	Args  []string // all of them, the program's name first
	Env   []string // all of it, by ascending key
	Input cid.Cid  // a file or folder for Array.Input; undefined without one
}

// Tasks returns how many tasks an array job has, and 0 for a plain one.
func (t *Task) Tasks() int {
	if t.Array == nil {
		return 0
	}
	return int(t.Array.Count)
}

func (a *Array) validate() error {
	switch {
	case a.Count == 0 || a.Count > consensus.MaxTasks:
		return fmt.Errorf("task: an array of %d tasks, 1 to %d", a.Count, consensus.MaxTasks)
	case a.Input != "" && (a.Items == nil || !isName(a.Input)):
		return fmt.Errorf("task: %q is not where each task of an array finds its input", a.Input)
	case a.Items != nil && !a.Items.Defined():
		return errors.New("task: an array without items")
	}
	return nil
}

// isName reports whether s can be the name of an entry under /in.
func isName(s string) bool { return CheckPath(s) == nil && !strings.Contains(s, "/") }

// Seal returns the items' bytes and the link that names them.
func (i *Items) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	return seal(TagItems, network, i, MaxItems)
}

// OpenItems decodes the items of an array and checks that they are for every
// one of its tasks, and nothing else.
func (t *Task) OpenItems(network admission.Network, data []byte) (*Items, error) {
	i := new(Items)
	if err := unseal(TagItems, network, data, i, MaxItems); err != nil {
		return nil, err
	}
	count := t.Tasks()
	if t.Array.Input == "" {
		if len(i.Args) != count || len(i.Inputs)+len(i.Packs)+len(i.Large) > 0 {
			return nil, fmt.Errorf("items: %d lists of arguments for %d tasks", len(i.Args), count)
		}
		for _, args := range i.Args {
			if err := checkArgs(args, len(t.Args)); err != nil {
				return nil, err
			}
		}
		return i, nil
	}
	if len(i.Inputs) != count || len(i.Args) > 0 || len(i.Large) > count {
		return nil, fmt.Errorf("items: %d inputs for %d tasks", len(i.Inputs), count)
	}
	return i, i.checkInputs()
}

func checkArgs(args []string, before int) error {
	if len(args)+before > 1024 {
		return errors.New("items: a task of more than 1,024 arguments")
	}
	if slices.ContainsFunc(args, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return errors.New("items: an argument holds a zero byte")
	}
	return nil
}

func (i *Items) checkInputs() error {
	for n, in := range i.Inputs {
		if err := consensus.CheckTaskName(in.Name); err != nil {
			return err
		}
		if n > 0 && i.Inputs[n-1].Name >= in.Name {
			return fmt.Errorf("items: %q is not in order, or stands twice", in.Name)
		}
		if _, err := cid.Cast(in.CID); err != nil {
			return fmt.Errorf("items: %q: %w", in.Name, err)
		}
	}
	packed := uint64(0)
	for _, p := range i.Packs {
		if p.Tasks == 0 || p.Tasks > uint64(len(i.Inputs))-packed {
			return errors.New("items: packs that do not fit the inputs")
		}
		packed += p.Tasks
	}
	return nil
}

// Task returns one task of an array, of which i are the items; nil for an array
// without any.
func (t *Task) Task(i *Items, index uint64) ArrayTask {
	one := ArrayTask{Index: index, Name: t.NameOf(i, index), Args: t.Args}
	switch {
	case t.Array.Items == nil:
	case t.Array.Input == "":
		one.Args = slices.Concat(t.Args, i.Args[index])
	default:
		one.Input, _ = cid.Cast(i.Inputs[index].CID) // checked when they were opened
	}
	own := []string{
		fmt.Sprintf("%s=%d", envTaskCount, t.Array.Count),
		fmt.Sprintf("%s=%d", envTaskIndex, index),
		envTaskName + "=" + one.Name,
	}
	at := slices.IndexFunc(t.Env, func(e string) bool { return e > envTask })
	if at < 0 {
		at = len(t.Env)
	}
	one.Env = slices.Concat(t.Env[:at], own, t.Env[at:])
	return one
}

// NameOf returns the name of one task of an array.
func (t *Task) NameOf(i *Items, index uint64) string {
	if t.Array.Input != "" {
		return i.Inputs[index].Name
	}
	return TaskName(index, t.Array.Count)
}

// TaskName names a task by its index, with zeros in front: names sort as their
// tasks do.
func TaskName(index, count uint64) string {
	return fmt.Sprintf("%0*d", len(fmt.Sprint(count-1)), index)
}

// TaskSeed is the digest that stands for one task of an array where the task
// id's stands for a plain one: it seeds the program's randomness (protocol,
// section 5, "profile"; decision 012).
func TaskSeed(task [32]byte, index uint64) [32]byte {
	data := append([]byte("muster/arrayseed/1"), task[:]...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(data, index))
}
