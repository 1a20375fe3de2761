package consensus

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Tags of an array result and its parts.
const (
	TagArray     = "muster/array/1"
	TagArrayPage = "muster/arraypage/1"
	TagArrayTask = "muster/arraytask/1"
)

// Bounds of an array job.
const (
	// MaxTasks bounds the tasks of one array job.
	MaxTasks = 100_000
	// PageTasks is how many tasks a page of an array result lists; the last
	// page of one has the rest.
	PageTasks = 4_096
	// MaxTaskName bounds a task's name, in bytes.
	MaxTaskName = 255

	maxArray     = 4 << 10 // bytes of a sealed array result
	maxArrayPage = 2 << 20 // bytes of a sealed page
)

// ArrayResult is what an array job's value names: how many tasks there were,
// how many of them failed, the root of the Merkle tree over their outcomes, and
// the pages that list those. It is small, so that the proof of one task can
// carry it whole (protocol, section 14; decision 012).
type ArrayResult struct {
	_      struct{} `cbor:",toarray"`
	Count  uint64
	Failed uint64
	Root   Hash
	Pages  []dagcbor.Link
}

// ArrayPage lists the outcomes of up to PageTasks tasks in order, and says where
// their result trees are. A small tree is in a pack: a CAR file of a directory
// that holds the trees of consecutive tasks under their names. A large one
// stands by itself.
type ArrayPage struct {
	_     struct{} `cbor:",toarray"`
	Tasks []ArrayTask
	Packs []ArrayPack
	Large []dagcbor.Link // trees that are in no pack, in the order of their tasks
}

// ArrayTask is one line of a page. Its tree is no link: whoever walks the DAG
// finds the blocks of a small tree in a pack, and not by themselves.
type ArrayTask struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Kind  Ending
	Class Failure
	Code  uint64
	Tree  []byte // the CID; empty without a tree
}

// ArrayPack holds the small trees among the next Tasks tasks of its page.
type ArrayPack struct {
	_     struct{} `cbor:",toarray"`
	Tasks uint64
	File  dagcbor.Link
}

// TaskOutcome is how one task of an array ended: what a leaf of the Merkle tree
// says.
type TaskOutcome struct {
	_       struct{} `cbor:",toarray"`
	Index   uint64
	Name    string
	Outcome Value
}

// CheckTaskName refuses what cannot be the name of a task: it stands in
// directories, paths and terminals.
func CheckTaskName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > MaxTaskName ||
		strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == utf8.RuneError || !admission.Printable(r) }) {
		return fmt.Errorf("%q is not the name of a task: 1 to %d bytes that print, without /", name, MaxTaskName)
	}
	return nil
}

// Equal reports whether two outcomes are the same, to the last byte of the trees.
func (t TaskOutcome) Equal(o TaskOutcome) bool {
	v, w := t.Outcome, o.Outcome
	if t.Index != o.Index || t.Name != o.Name || v.Kind != w.Kind || v.Class != w.Class || v.Code != w.Code || (v.Tree == nil) != (w.Tree == nil) {
		return false
	}
	return v.Tree == nil || v.Tree.Cid == w.Tree.Cid
}

// Failed reports whether the task did not succeed.
func (t TaskOutcome) Failed() bool { return t.Outcome.Kind != Result }

// Validate checks the outcome's form. A task ends as a run does, except that a
// fault of the machine is not one task's: it fails the executor's whole report.
func (t TaskOutcome) Validate() error {
	if err := CheckTaskName(t.Name); err != nil {
		return err
	}
	v := t.Outcome
	if v.Kind != Result && (v.Kind != Failed || v.Class > FailedTimeout) || v.IsArray() {
		return fmt.Errorf("array: %s is nothing a task ends in", v)
	}
	return v.Validate()
}

func (t TaskOutcome) leaf(network admission.Network) (Hash, error) {
	data, err := dagcbor.Seal(TagArrayTask, network[:], t)
	return leafHash(data), err
}

// IsArray reports whether the value names an array result rather than a result
// tree: the one is dag-cbor, the other a directory.
func (v Value) IsArray() bool { return v.Tree != nil && v.Tree.Type() == cid.DagCBOR }

// Seal checks the array result and returns its bytes and the link that names it.
func (a ArrayResult) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	if err := a.validate(); err != nil {
		return nil, dagcbor.Link{}, err
	}
	data, err := dagcbor.Seal(TagArray, network[:], a)
	return data, dagcbor.LinkTo(dagcbor.CID(data)), err
}

// Value is what an executor reports, and a quorum decides, of an array result
// under its link: a result if no task failed.
func (a ArrayResult) Value(link dagcbor.Link) Value {
	if a.Failed == 0 {
		return Value{Kind: Result, Tree: &link}
	}
	return Value{Kind: Failed, Class: FailedTasks, Code: a.Failed, Tree: &link}
}

// DecodeArray decodes an array result. It checks form only: see OpenArray.
func DecodeArray(network admission.Network, data []byte) (ArrayResult, error) {
	if len(data) > maxArray {
		return ArrayResult{}, fmt.Errorf("array: %d bytes, at most %d", len(data), maxArray)
	}
	var a ArrayResult
	if err := dagcbor.Unseal(TagArray, network[:], data, &a); err != nil {
		return ArrayResult{}, fmt.Errorf("array: %w", err)
	}
	return a, a.validate()
}

// OpenArray decodes the array result that a value names. It returns an error
// for other bytes, and for a value that says something else than they do.
func OpenArray(network admission.Network, data []byte, v Value) (ArrayResult, error) {
	a, err := DecodeArray(network, data)
	if err != nil {
		return a, err
	}
	link := dagcbor.LinkTo(dagcbor.CID(data))
	if want := a.Value(link); v.Tree == nil || v.Tree.Cid != link.Cid || v.Kind != want.Kind || v.Class != want.Class || v.Code != want.Code {
		return ArrayResult{}, fmt.Errorf("array: it is not what %s names", v)
	}
	return a, nil
}

func (a ArrayResult) validate() error {
	switch {
	case a.Count == 0 || a.Count > MaxTasks:
		return fmt.Errorf("array: %d tasks, 1 to %d", a.Count, MaxTasks)
	case a.Failed > a.Count:
		return errors.New("array: more failures than tasks")
	case uint64(len(a.Pages)) != (a.Count+PageTasks-1)/PageTasks:
		return fmt.Errorf("array: %d pages for %d tasks", len(a.Pages), a.Count)
	}
	return checkBlocks(a.Pages)
}

func checkBlocks(links []dagcbor.Link) error {
	for _, l := range links {
		if !namedBySHA256(l) {
			return errors.New("array: a link that is not by SHA-256")
		}
	}
	return nil
}

// PageOf returns the page that lists a task, and the task's place in it.
func PageOf(index uint64) (page, place int) { return int(index / PageTasks), int(index % PageTasks) }

// Seal returns the page's bytes and the link that names it.
func (p ArrayPage) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	data, err := dagcbor.Seal(TagArrayPage, network[:], p)
	if err == nil && len(data) > maxArrayPage {
		err = fmt.Errorf("array: a page of %d bytes, at most %d", len(data), maxArrayPage)
	}
	return data, dagcbor.LinkTo(dagcbor.CID(data)), err
}

// OpenPage decodes page number at of an array result and checks its form; that
// the outcomes in it are those under the root is for Check to say.
func (a ArrayResult) OpenPage(network admission.Network, at int, data []byte) (ArrayPage, error) {
	if len(data) > maxArrayPage {
		return ArrayPage{}, fmt.Errorf("array: a page of %d bytes, at most %d", len(data), maxArrayPage)
	}
	if at < 0 || at >= len(a.Pages) || a.Pages[at].Cid != dagcbor.CID(data) {
		return ArrayPage{}, errors.New("array: not the page asked for")
	}
	var p ArrayPage
	if err := dagcbor.Unseal(TagArrayPage, network[:], data, &p); err != nil {
		return ArrayPage{}, fmt.Errorf("array: page: %w", err)
	}
	if want := min(PageTasks, int(a.Count)-at*PageTasks); len(p.Tasks) != want {
		return ArrayPage{}, fmt.Errorf("array: a page of %d tasks, want %d", len(p.Tasks), want)
	}
	packed := uint64(0)
	for _, pack := range p.Packs {
		if pack.Tasks == 0 || pack.Tasks > uint64(len(p.Tasks))-packed || !namedBySHA256(pack.File) {
			return ArrayPage{}, errors.New("array: packs that do not fit their page")
		}
		packed += pack.Tasks
	}
	if len(p.Large) > len(p.Tasks) {
		return ArrayPage{}, errors.New("array: more trees than tasks")
	}
	return p, checkBlocks(p.Large)
}

// ArrayLinks returns what a block of an array result links to, in order: the
// pages, or of a page the packs and the large trees.
func ArrayLinks(network admission.Network, data []byte) ([]cid.Cid, error) {
	var links []dagcbor.Link
	if a, err := DecodeArray(network, data); err == nil {
		links = a.Pages
	} else {
		var p ArrayPage
		if err := dagcbor.Unseal(TagArrayPage, network[:], data, &p); err != nil {
			return nil, fmt.Errorf("array: neither a result nor a page: %w", err)
		}
		for _, pack := range p.Packs {
			links = append(links, pack.File)
		}
		links = append(links, p.Large...)
	}
	cids := make([]cid.Cid, len(links))
	for i, l := range links {
		cids[i] = l.Cid
	}
	return cids, checkBlocks(links)
}

// PageTask is one line of a page for an outcome.
func PageTask(t TaskOutcome) ArrayTask {
	line := ArrayTask{Name: t.Name, Kind: t.Outcome.Kind, Class: t.Outcome.Class, Code: t.Outcome.Code}
	if t.Outcome.Tree != nil {
		line.Tree = t.Outcome.Tree.Bytes()
	}
	return line
}

// Outcome is what line says of the task with an index.
func (line ArrayTask) Outcome(index uint64) (TaskOutcome, error) {
	t := TaskOutcome{Index: index, Name: line.Name, Outcome: Value{Kind: line.Kind, Class: line.Class, Code: line.Code}}
	if len(line.Tree) > 0 {
		tree, err := cid.Cast(line.Tree)
		if err != nil {
			return TaskOutcome{}, fmt.Errorf("array: task %d: %w", index, err)
		}
		link := dagcbor.LinkTo(tree)
		t.Outcome.Tree = &link
	}
	return t, t.Validate()
}

// Outcomes returns what the pages of an array result say of all tasks. It
// returns an error unless they are exactly what Root and Failed stand for.
func (a ArrayResult) Outcomes(network admission.Network, pages []ArrayPage) ([]TaskOutcome, error) {
	if len(pages) != len(a.Pages) {
		return nil, fmt.Errorf("array: %d pages, want %d", len(pages), len(a.Pages))
	}
	all := make([]TaskOutcome, 0, a.Count)
	failed := uint64(0)
	for _, p := range pages {
		for _, line := range p.Tasks {
			t, err := line.Outcome(uint64(len(all)))
			if err != nil {
				return nil, err
			}
			if t.Failed() {
				failed++
			}
			all = append(all, t)
		}
	}
	if uint64(len(all)) != a.Count || failed != a.Failed {
		return nil, fmt.Errorf("array: %d tasks, %d failed; it says %d and %d", len(all), failed, a.Count, a.Failed)
	}
	tree, err := NewArrayTree(network, all)
	if err != nil {
		return nil, err
	}
	if tree.Root() != a.Root {
		return nil, errors.New("array: its pages are not what its root stands for")
	}
	return all, nil
}

// ArrayTree is the Merkle tree over the outcomes of an array.
type ArrayTree struct{ tree merkle }

// NewArrayTree hashes the outcomes of 1 to MaxTasks tasks, in order.
func NewArrayTree(network admission.Network, outcomes []TaskOutcome) (ArrayTree, error) {
	if len(outcomes) == 0 || len(outcomes) > MaxTasks {
		return ArrayTree{}, fmt.Errorf("array: %d tasks, 1 to %d", len(outcomes), MaxTasks)
	}
	level := make([]Hash, len(outcomes))
	for i, t := range outcomes {
		if t.Index != uint64(i) {
			return ArrayTree{}, fmt.Errorf("array: task %d in the place of %d", t.Index, i)
		}
		var err error
		if level[i], err = t.leaf(network); err != nil {
			return ArrayTree{}, err
		}
	}
	return ArrayTree{newMerkle(level)}, nil
}

// Root returns the root.
func (t ArrayTree) Root() Hash { return t.tree.root() }

// Path returns the siblings of a task's leaf from the bottom up.
func (t ArrayTree) Path(index uint64) []Hash { return t.tree.path(int(index)) }
