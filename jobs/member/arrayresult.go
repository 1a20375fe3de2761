package member

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// errOutput says that a result is larger than others take over.
var errOutput = fmt.Errorf("the result is larger than the charter allows, or of more than %d blocks", maxBlocks)

// arrayWriter makes an array result from the results of tasks, in order: the
// same results make the same blocks.
type arrayWriter struct {
	network  admission.Network
	blocks   store.Blocks
	limit    int64 // bytes
	size     int64 // of what is neither packs nor large trees
	parts    int   // the blocks of that
	packer   *tree.Packer
	page     []consensus.ArrayTask
	result   consensus.ArrayResult
	outcomes []consensus.TaskOutcome
}

func newArrayWriter(network admission.Network, b store.Blocks, limit int64) *arrayWriter {
	return &arrayWriter{network: network, blocks: b, limit: limit, packer: tree.NewPacker(b)}
}

// add takes up the result of the next task.
func (w *arrayWriter) add(ctx context.Context, name string, r exec.Result) error {
	t := consensus.TaskOutcome{Index: uint64(len(w.outcomes)), Name: name, Outcome: valueOf(r)}
	if r.Kind.Deterministic() {
		left, err := w.packer.Result(ctx, name, resultOf(r))
		if err != nil {
			return err
		}
		if !isReadable(left, uint64(w.limit)) {
			return errOutput // nobody would take it: see checkTasks
		}
		link := dagcbor.LinkTo(left.Root)
		t.Outcome.Tree = &link
	} else {
		w.packer.Skip()
	}
	if t.Failed() {
		w.result.Failed++
	}
	w.outcomes = append(w.outcomes, t)
	w.page = append(w.page, consensus.PageTask(t))
	if !w.fits() {
		return errOutput
	}
	if len(w.page) == consensus.PageTasks {
		return w.endPage(ctx)
	}
	return nil
}

func (w *arrayWriter) endPage(ctx context.Context) error {
	packs, large, err := w.packer.Take(ctx)
	if err != nil {
		return err
	}
	page := consensus.ArrayPage{Tasks: w.page}
	for _, p := range packs {
		page.Packs = append(page.Packs, consensus.ArrayPack{Tasks: uint64(p.Entries), File: dagcbor.LinkTo(p.File)})
	}
	for _, c := range large {
		page.Large = append(page.Large, dagcbor.LinkTo(c))
	}
	data, link, err := page.Seal(w.network)
	if err != nil {
		return err
	}
	w.result.Pages = append(w.result.Pages, link)
	w.page = nil
	return w.put(ctx, link, data)
}

func (w *arrayWriter) put(ctx context.Context, link dagcbor.Link, data []byte) error {
	block, err := blocks.NewBlockWithCid(data, link.Cid)
	if err != nil {
		return err
	}
	w.size += int64(len(data))
	w.parts++
	return w.blocks.Put(ctx, block)
}

// finish stores what is left and returns the value that names all of it.
func (w *arrayWriter) finish(ctx context.Context) (consensus.Value, error) {
	if len(w.page) > 0 {
		if err := w.endPage(ctx); err != nil {
			return consensus.Value{}, err
		}
	}
	leaves, err := consensus.NewArrayTree(w.network, w.outcomes)
	if err != nil {
		return consensus.Value{}, err
	}
	w.result.Count, w.result.Root = uint64(len(w.outcomes)), leaves.Root()
	data, link, err := w.result.Seal(w.network)
	if err != nil {
		return consensus.Value{}, err
	}
	if err := w.put(ctx, link, data); err != nil {
		return consensus.Value{}, err
	}
	if !w.fits() {
		return consensus.Value{}, errOutput
	}
	return w.result.Value(link), nil
}

// fits reports whether others can fetch what is stored so far.
func (w *arrayWriter) fits() bool {
	limit := readable(uint64(w.limit))
	return w.packer.Bytes()+w.size <= limit.Bytes && w.packer.Blocks()+w.parts <= limit.Blocks
}

// checkArray verifies that the blocks of an array result fit together, are those of
// as many tasks as the job has, and hold of each task what a run leaves.
func (m *Member) checkArray(ctx context.Context, src tree.Sized, j *job, v consensus.Value) error {
	data, err := src.Get(ctx, v.Tree.Cid)
	if err != nil {
		return err
	}
	a, err := consensus.OpenArray(m.cfg.Network, data, v)
	if err != nil {
		return err
	}
	if a.Count != uint64(j.task.Tasks()) {
		return fmt.Errorf("an array result of %d tasks, the job has %d", a.Count, j.task.Tasks())
	}
	pages := make([]consensus.ArrayPage, len(a.Pages))
	for i, link := range a.Pages {
		if data, err = src.Get(ctx, link.Cid); err != nil {
			return err
		}
		if pages[i], err = a.OpenPage(m.cfg.Network, i, data); err != nil {
			return err
		}
	}
	if _, err = a.Outcomes(m.cfg.Network, pages); err != nil {
		return err
	}
	return checkTasks(ctx, src, pages, j.charter.Limits.Output)
}

// checkTasks checks the result of each task. Tasks may name as often as they like what
// is there once: a pack is opened once, and a block read once, whoever names it.
func checkTasks(ctx context.Context, src tree.Sized, pages []consensus.ArrayPage, most uint64) error {
	found := placed{}
	for _, page := range pages {
		if err := found.add(page); err != nil {
			return err
		}
	}
	for file, lefts := range found {
		s := tree.NewSurveyor(src, readable(most))
		if file.Defined() {
			pack, err := tree.OpenPack(ctx, src, file)
			if err != nil {
				return err
			}
			s = tree.NewSurveyor(pack, readable(most))
		}
		for _, l := range lefts {
			if err := checkResult(ctx, s, l.root, l.task.Code); err != nil {
				return fmt.Errorf("task %s: %w", l.task.Name, err)
			}
		}
	}
	return nil
}

// placed is what tasks left, by the file of the pack that it is in. What stands by
// itself is in none.
type placed map[cid.Cid][]left

type left struct {
	root cid.Cid
	task *consensus.ArrayTask
}

func (p placed) add(page consensus.ArrayPage) error {
	large := map[cid.Cid]bool{}
	for _, l := range page.Large {
		large[l.Cid] = true
	}
	tasks := page.Tasks
	for _, pack := range page.Packs {
		if err := p.addTasks(pack.File.Cid, tasks[:pack.Tasks], large); err != nil {
			return err
		}
		tasks = tasks[pack.Tasks:]
	}
	return p.addTasks(cid.Undef, tasks, large)
}

func (p placed) addTasks(pack cid.Cid, tasks []consensus.ArrayTask, large map[cid.Cid]bool) error {
	if p[pack] == nil {
		p[pack] = []left{} // it is looked at, whatever is in it
	}
	for i := range tasks {
		t := &tasks[i]
		if len(t.Tree) == 0 {
			continue
		}
		root, err := cid.Cast(t.Tree)
		if err != nil {
			return err
		}
		at := pack
		if large[root] {
			at = cid.Undef
		} else if !pack.Defined() {
			return fmt.Errorf("task %s: %w", t.Name, store.ErrNotFound)
		}
		p[at] = append(p[at], left{root, t})
	}
	return nil
}

// items reads what the tasks of an array differ by, which is durable here.
func (m *Member) items(ctx context.Context, t *jobs.Task) (*jobs.Items, error) {
	data, err := m.cfg.Store.Get(ctx, t.Array.Items.Cid)
	if err != nil {
		return nil, err
	}
	return t.OpenItems(m.cfg.Network, data)
}

// itemReader reads the inputs of an array's tasks.
type itemReader struct {
	blocks store.Blocks
	name   string // under /in
	items  *jobs.Items
	limit  int64
	large  map[cid.Cid]bool

	mutex sync.Mutex
	held  map[int]tree.Heap // packs in memory: tasks are taken in order, so the last few will do
}

const heldPacks = 4

func newItemReader(b store.Blocks, name string, items *jobs.Items, limit int64) *itemReader {
	r := &itemReader{blocks: b, name: name, items: items, limit: limit, large: map[cid.Cid]bool{}, held: map[int]tree.Heap{}}
	for _, l := range items.Large {
		r.large[l.Cid] = true
	}
	return r
}

// read returns the input of one task as files.
func (r *itemReader) read(ctx context.Context, at int, root cid.Cid) ([]exec.File, error) {
	var src tree.Source = r.blocks
	if !r.large[root] {
		pack, err := r.pack(ctx, at)
		if err != nil {
			return nil, err
		}
		src = pack
	}
	node, err := tree.Lookup(ctx, src, root, "")
	if err != nil {
		return nil, err
	}
	if !node.Dir {
		data, err := tree.ReadFile(ctx, src, root, readable(uint64(r.limit)))
		return []exec.File{{Path: r.name, Data: data}}, err
	}
	files, err := tree.Read(ctx, src, root, readable(uint64(r.limit)))
	out := make([]exec.File, len(files))
	for i, f := range files {
		out[i] = exec.File{Path: r.name + "/" + f.Path, Data: f.Data}
	}
	slices.SortFunc(out, func(a, b exec.File) int { return cmp.Compare(a.Path, b.Path) })
	return out, err
}

// pack returns the pack that holds the small input of a task.
func (r *itemReader) pack(ctx context.Context, at int) (tree.Heap, error) {
	end := 0
	for i, p := range r.items.Packs {
		if end += int(p.Tasks); at >= end {
			continue
		}
		r.mutex.Lock()
		defer r.mutex.Unlock()
		if held, ok := r.held[i]; ok {
			return held, nil
		}
		opened, err := tree.OpenPack(ctx, r.blocks, p.File.Cid)
		if err != nil {
			return nil, err
		}
		r.held[i] = opened
		delete(r.held, i-heldPacks)
		return opened, nil
	}
	return nil, fmt.Errorf("task %d: %w", at, store.ErrNotFound)
}
