package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// array makes what the tasks of an array job differ by, and stores it. It refuses
// what no member would fetch.
func (n *Node) array(ctx context.Context, file *jobs.File) (*jobs.Array, error) {
	items := file.Items()
	_, folder, err := file.Each()
	if err != nil {
		return nil, err
	}
	if items == nil && !folder.Defined() {
		return file.ArrayOf(nil, 0)
	}
	most, err := n.mostItems(ctx, file)
	if err != nil {
		return nil, err
	}
	link, count, err := n.storeItems(ctx, items, folder, most)
	if err != nil {
		return nil, err
	}
	return file.ArrayOf(&link, count)
}

// storeItems stores what the tasks differ by, items or else the entries of a folder,
// and returns how many inputs that are. With all that it names it is within most.
func (n *Node) storeItems(ctx context.Context, items *jobs.Items, folder cid.Cid, most tree.Limits) (link dagcbor.Link, count int, err error) {
	var packed tree.Limits
	if items == nil {
		if items, packed, err = n.packInputs(ctx, folder, most); err != nil {
			return link, 0, err
		}
	}
	data, link, err := items.Seal(n.home.network)
	if err != nil {
		return link, 0, &jobs.Problem{Code: jobs.CodeSpecValue, What: "the array has too many inputs or arguments", Why: err.Error(),
			Try: "several jobs"}
	}
	if packed.Bytes+int64(len(data)) > most.Bytes || packed.Blocks+1 > most.Blocks {
		return link, 0, tooManyItems(most)
	}
	block, err := blocks.NewBlockWithCid(data, link.Cid)
	if err != nil {
		return link, 0, err
	}
	return link, len(items.Inputs), n.blocks.Put(ctx, block)
}

// mostItems is what members fetch at most of an array's items and all that these
// name, in one fetch: what the policy gives inputs, without the module.
func (n *Node) mostItems(ctx context.Context, file *jobs.File) (tree.Limits, error) {
	most := tree.Limits{Bytes: int64(n.home.founded.Policy.MaxInput), Blocks: maxFetched}
	root, _, err := file.Sources()
	if err != nil {
		return most, err
	}
	module, err := tree.Lookup(ctx, n.blocks, root, "")
	most.Bytes -= module.Size
	return most, err
}

func tooManyItems(most tree.Limits) error {
	return &jobs.Problem{Code: jobs.CodeSpecFile, What: "the array's inputs are too large, or of too many files",
		Why: fmt.Sprintf("members fetch at most %d bytes beside the module, in %d blocks", most.Bytes, most.Blocks),
		Try: "fewer or smaller inputs, or several jobs"}
}

// packInputs lays the entries of a folder out for members to fetch, and returns
// what they take.
func (n *Node) packInputs(ctx context.Context, folder cid.Cid, most tree.Limits) (*jobs.Items, tree.Limits, error) {
	var packed tree.Limits
	entries, err := tree.List(ctx, n.blocks, folder)
	if err != nil {
		return nil, packed, &jobs.Problem{Code: jobs.CodeSpecFile, What: "the folder with an array's inputs is not stored here", Why: err.Error(),
			Try: "upload it first: POST /v1/blobs, as a folder"}
	}
	items, packer := &jobs.Items{}, tree.NewPacker(n.blocks)
	for _, e := range entries {
		if err := consensus.CheckTaskName(e.Name); err != nil {
			return nil, packed, &jobs.Problem{Code: jobs.CodeSpecFile, What: "an input's name cannot be that of a task", Why: err.Error()}
		}
		left := tree.Limits{Bytes: most.Bytes - packer.Bytes(), Blocks: most.Blocks} // small ones take fewer in a pack
		err := packer.Tree(ctx, e.Name, n.blocks, e.CID, left)
		if errors.Is(err, tree.ErrLimit) || err == nil && packer.Blocks() > most.Blocks {
			return nil, packed, tooManyItems(most)
		}
		if err != nil {
			return nil, packed, err
		}
		items.Inputs = append(items.Inputs, jobs.ItemInput{Name: e.Name, CID: e.CID.Bytes()})
	}
	packs, large, err := packer.Take(ctx)
	for _, p := range packs {
		items.Packs = append(items.Packs, consensus.ArrayPack{Tasks: uint64(p.Entries), File: dagcbor.LinkTo(p.File)})
	}
	for _, c := range large {
		items.Large = append(items.Large, dagcbor.LinkTo(c))
	}
	return items, tree.Limits{Bytes: packer.Bytes(), Blocks: packer.Blocks()}, err
}

// tasksOf returns how many tasks a job has whose task is stored here: 0 for a
// plain one, and where the task is not to be had.
func (n *Node) tasksOf(ctx context.Context, c *consensus.Charter) uint64 {
	data, err := n.blocks.Get(ctx, c.Task.Cid)
	if err != nil {
		return 0
	}
	task, err := jobs.OpenTask(n.home.network, data)
	if err != nil {
		return 0
	}
	return uint64(task.Tasks())
}

// arrayState is what a job's value alone says of its tasks: nil for a job that
// is no array.
func arrayState(tasks uint64, v *consensus.Value) *jobs.ArrayState {
	if tasks == 0 && (v == nil || !v.IsArray()) {
		return nil
	}
	s := &jobs.ArrayState{Tasks: int(tasks)}
	if v != nil && v.Class == consensus.FailedTasks {
		s.Failed = int(v.Code)
	}
	return s
}

// showTimeout bounds how long other members are asked for the pages of array
// results, which are for people only.
const showTimeout = 3 * time.Second

// showArray adds which tasks failed, and by which of them reports differ. What
// cannot be had is left out.
func (n *Node) showArray(ctx context.Context, j *jobs.Job, verdict *consensus.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	if verdict != nil && verdict.Value.IsArray() {
		all, err := n.outcomes(ctx, verdict.Value.Tree.Cid, rosterOf(verdict.Height.Roster()))
		if err != nil {
			n.cfg.Log.Debug("array result not shown", "job", j.ID, "reason", err)
			return
		}
		j.Array.Tasks = len(all)
		j.Array.Failures = shownTasks(all, consensus.TaskOutcome.Failed)
		n.showDiffering(ctx, j, all)
		return
	}
	for _, m := range j.Members {
		if m.Report == "" || m.Disagrees {
			continue
		}
		if all, err := n.reported(ctx, m); err == nil {
			n.showDiffering(ctx, j, all)
			return
		}
	}
}

// showDiffering names what the members that disagree report otherwise.
func (n *Node) showDiffering(ctx context.Context, j *jobs.Job, all []consensus.TaskOutcome) {
	for i := range j.Members {
		m := &j.Members[i]
		if !m.Disagrees {
			continue
		}
		other, err := n.reported(ctx, *m)
		if err != nil || len(other) != len(all) {
			n.cfg.Log.Debug("report not compared", "job", j.ID, "member", m.Name, "reason", err)
			continue
		}
		m.Differs = shownTasks(other, func(t consensus.TaskOutcome) bool { return !t.Equal(all[t.Index]) })
	}
}

func shownTasks(all []consensus.TaskOutcome, shown func(consensus.TaskOutcome) bool) []jobs.TaskEnd {
	var out []jobs.TaskEnd
	for _, t := range all {
		if shown(t) && len(out) < jobs.MaxShown {
			out = append(out, showTask(t))
		}
	}
	return out
}

func showTask(t consensus.TaskOutcome) jobs.TaskEnd {
	v := t.Outcome
	shown := jobs.TaskEnd{Index: t.Index, Name: t.Name, Kind: "result", Code: int(v.Code)}
	if t.Failed() {
		shown.Kind, shown.Class = "failed", v.Class.String()
	}
	if v.Tree != nil {
		shown.Result = v.Tree.String()
	}
	return shown
}

// reported returns the outcomes that a member reports, from itself.
func (n *Node) reported(ctx context.Context, m jobs.Member) ([]consensus.TaskOutcome, error) {
	root, err := cid.Decode(m.Report)
	if err != nil {
		return nil, err
	}
	key, err := admission.ParseKey(m.Peer)
	if err != nil {
		return nil, err
	}
	return n.outcomes(ctx, root, []admission.Key{key})
}

// outcomes reads the outcomes of an array result, from here or from members.
func (n *Node) outcomes(ctx context.Context, root cid.Cid, from []admission.Key) ([]consensus.TaskOutcome, error) {
	a, pages, err := n.arrayPages(ctx, root, from)
	if err != nil {
		return nil, err
	}
	return a.Outcomes(n.home.network, pages)
}

func (n *Node) arrayPages(ctx context.Context, root cid.Cid, from []admission.Key) (a consensus.ArrayResult, pages []consensus.ArrayPage, err error) {
	data, err := n.fetchBlock(ctx, root, from)
	if err != nil {
		return a, nil, err
	}
	if a, err = consensus.DecodeArray(n.home.network, data); err != nil {
		return a, nil, err
	}
	pages = make([]consensus.ArrayPage, len(a.Pages))
	for i, link := range a.Pages {
		if data, err = n.fetchBlock(ctx, link.Cid, from); err != nil {
			return a, nil, err
		}
		if pages[i], err = a.OpenPage(n.home.network, i, data); err != nil {
			return a, nil, err
		}
	}
	return a, pages, nil
}

// arrayLogs hands on what the tasks of an array wrote, one after the other. All
// blocks are here.
func (n *Node) arrayLogs(ctx context.Context, v consensus.Verdict, fn func(api.LogChunk) error) error {
	_, pages, err := n.arrayPages(ctx, v.Value.Tree.Cid, nil)
	if err != nil {
		return err
	}
	for _, page := range pages {
		at := 0
		for _, pack := range page.Packs {
			held, err := tree.OpenPack(ctx, n.blocks, pack.File.Cid)
			if err != nil {
				return err
			}
			for _, line := range page.Tasks[at : at+int(pack.Tasks)] {
				if err := n.taskLogs(ctx, held, line, fn); err != nil {
					return err
				}
			}
			at += int(pack.Tasks)
		}
		for _, line := range page.Tasks[at:] {
			if err := n.taskLogs(ctx, nil, line, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) taskLogs(ctx context.Context, pack tree.Heap, line consensus.ArrayTask, fn func(api.LogChunk) error) error {
	if len(line.Tree) == 0 {
		return nil
	}
	root, err := cid.Cast(line.Tree)
	if err != nil {
		return err
	}
	if _, ok := pack[root]; ok {
		return streams(ctx, pack, root, fn)
	}
	return streams(ctx, n.blocks, root, fn)
}
