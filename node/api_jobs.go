package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/examples"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

var (
	_ server.Jobs    = (*Node)(nil)
	_ server.Control = (*Node)(nil)
)

// Submit implements server.Jobs.
func (n *Node) Submit(ctx context.Context, file *jobs.File, o server.SubmitOptions) (jobs.Job, error) {
	err := file.Validate()
	if err != nil {
		return jobs.Job{}, err
	}
	if err := n.standing(); err != nil {
		return jobs.Job{}, err
	}
	if file, err = n.resolved(ctx, file); err != nil {
		return jobs.Job{}, err
	}
	task, class, err := n.task(ctx, file)
	if err != nil {
		return jobs.Job{}, err
	}
	_, link, err := task.Seal(n.home.network)
	if err != nil {
		return jobs.Job{}, &jobs.Problem{Code: jobs.CodeSpecValue, What: "the task cannot be", Why: err.Error()}
	}
	check, checkLink, class, err := n.check(ctx, file, class)
	if err != nil {
		return jobs.Job{}, err
	}
	spec, err := file.Spec(link, checkLink, n.defaults())
	if err != nil {
		return jobs.Job{}, err
	}
	if o.Key == "" {
		var fresh [16]byte
		if _, err := rand.Read(fresh[:]); err != nil {
			return jobs.Job{}, err
		}
		o.Key = hex.EncodeToString(fresh[:])
	}
	acknowledged, err := n.submitter.Submit(ctx, submitter.Request{Key: o.Key, Spec: spec, Task: task, Check: check, Class: class})
	if err != nil {
		return jobs.Job{}, n.withBarred(err)
	}
	return n.acknowledged(ctx, acknowledged, spec), nil
}

// acknowledged announces a job that lives, and shows it.
func (n *Node) acknowledged(ctx context.Context, a submitter.Acknowledged, spec *jobs.Spec) jobs.Job {
	n.announcer.add(announcedOf(consensus.FirstHeight(n.home.network, a.Job, a.Charter), false))
	if f, ok, err := n.local(ctx, a.Job); err == nil && ok {
		return f.job
	}
	j := jobs.Describe(consensus.FirstHeight(n.home.network, a.Job, a.Charter))
	j.Array = arrayState(n.tasksOf(ctx, a.Charter), nil)
	j.Name, j.Labels, j.State, j.Source = spec.Name, spec.Labels, jobs.Accepted, n.name
	return j
}

func (n *Node) defaults() jobs.Defaults { return jobs.Defaults{Policy: n.home.founded.Policy} }

// resolved returns a file that names everything by CID.
func (n *Node) resolved(ctx context.Context, file *jobs.File) (*jobs.File, error) {
	return file.Resolve(func(ref jobs.Ref) (cid.Cid, error) { return n.builtin(ctx, ref) })
}

// check makes the program that a resolved file's results are checked by, if there
// is one, and the class of machines on which task and check run alike.
func (n *Node) check(ctx context.Context, file *jobs.File, class consensus.Class) (*jobs.Task, *dagcbor.Link, consensus.Class, error) {
	module, err := file.Checker()
	if err != nil || !module.Defined() {
		return nil, nil, class, err
	}
	own, err := n.class(ctx, module)
	if err != nil {
		return nil, nil, "", err
	}
	link := dagcbor.LinkTo(module)
	check, err := file.Check(&link, n.defaults())
	if err != nil {
		return nil, nil, "", err
	}
	if _, link, err = check.Seal(n.home.network); err != nil {
		return nil, nil, "", &jobs.Problem{Code: jobs.CodeSpecValue, What: "the check cannot be", Why: err.Error()}
	}
	return check, &link, jobs.Stricter(class, own), nil
}

// task makes a resolved file's task: module and inputs are here, or at a peer.
func (n *Node) task(ctx context.Context, file *jobs.File) (*jobs.Task, consensus.Class, error) {
	module, inputs, err := file.Sources()
	if err != nil {
		return nil, "", err
	}
	class, err := n.class(ctx, module)
	if err != nil {
		return nil, "", err
	}
	root, err := n.inputs(ctx, inputs)
	if err != nil {
		return nil, "", err
	}
	array, err := n.array(ctx, file)
	if err != nil {
		return nil, "", err
	}
	task, err := file.Task(dagcbor.LinkTo(module), root, array, n.defaults())
	return task, class, err
}

// inputs makes the folder of a task's inputs, and refuses what every member would.
func (n *Node) inputs(ctx context.Context, inputs []jobs.Input) (*dagcbor.Link, error) {
	if len(inputs) == 0 {
		return nil, nil
	}
	entries := make([]tree.Node, len(inputs))
	for i, in := range inputs {
		entries[i] = tree.Node{Name: in.Name, CID: in.CID}
	}
	t, err := tree.WriteDirectory(ctx, n.blocks, entries)
	if err == nil {
		err = member.CheckInputs(ctx, n.blocks, t.Root, n.home.founded.Policy.MaxInput)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: "the inputs are not what a program can be given", Why: err.Error(),
				Try: "fewer or smaller inputs, or several jobs"}
		}
	}
	if err != nil {
		return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: "an input is not stored here", Why: err.Error(),
			Try: "upload it first: POST /v1/blobs"}
	}
	link := dagcbor.LinkTo(t.Root)
	return &link, nil
}

// builtin stores a module that the binary carries. A file on the caller's
// machine means nothing to this one.
func (n *Node) builtin(ctx context.Context, ref jobs.Ref) (cid.Cid, error) {
	name, ok := ref.Text.Builtin()
	if !ok {
		return cid.Undef, &jobs.Problem{Code: jobs.CodeSpecFile, What: ref.At + ": " + string(ref.Text) + " means nothing to another machine",
			Try: "upload it, and name it by cid:"}
	}
	data, ok := examples.Builtin(name)
	if !ok {
		return cid.Undef, &jobs.Problem{Code: jobs.CodeSpecFile, What: fmt.Sprintf("there is no builtin %q", name), Try: "builtin:hello"}
	}
	n.mutex.Lock()
	root, stored := n.builtins[name]
	n.mutex.Unlock()
	if stored {
		return root, nil
	}
	t, err := tree.WriteFile(ctx, n.blocks, bytes.NewReader(data))
	if err != nil {
		return cid.Undef, err
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.builtins[name] = t.Root
	return t.Root, nil
}

// class inspects a module, once.
func (n *Node) class(ctx context.Context, module cid.Cid) (consensus.Class, error) {
	n.mutex.Lock()
	class, ok := n.classes[module]
	n.mutex.Unlock()
	if ok {
		return class, nil
	}
	most := tree.Limits{Bytes: int64(n.home.founded.Policy.MaxInput), Blocks: maxFetched}
	data, err := tree.ReadFile(ctx, n.blocks, module, most)
	if errors.Is(err, tree.ErrLimit) {
		return "", &jobs.Problem{Code: jobs.CodeModule, What: "the module is too large",
			Why: fmt.Sprintf("the network allows %d bytes in %d blocks", most.Bytes, most.Blocks)}
	}
	if err != nil {
		return "", &jobs.Problem{Code: jobs.CodeSpecFile, What: "the module is not stored here", Why: err.Error(), Try: "upload it first: POST /v1/blobs"}
	}
	found, err := n.executor.Inspect(data)
	if err != nil {
		return "", &jobs.Problem{Code: jobs.CodeModule, What: "the module cannot run", Why: err.Error(),
			Try: "build it for WASI preview 1: GOOS=wasip1 GOARCH=wasm go build"}
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if len(n.classes) >= maxClasses {
		clear(n.classes)
	}
	n.classes[module] = consensus.Class(found)
	return consensus.Class(found), nil
}

// maxClasses bounds the modules whose class is remembered.
const maxClasses = 1024

// Job implements server.Jobs.
func (n *Node) Job(ctx context.Context, id string) (jobs.Job, error) {
	ref, err := n.resolve(id)
	if err != nil {
		return jobs.Job{}, err
	}
	f, err := n.find(ctx, ref)
	if err == nil {
		n.recall(ctx, &f)
	}
	if err == nil && f.job.Array != nil {
		n.showArray(ctx, &f.job, f.verdict)
	}
	return f.job, err
}

// Wait implements server.Jobs.
func (n *Node) Wait(ctx context.Context, id string) (jobs.Job, error) {
	ref, err := n.resolve(id)
	if err != nil {
		return jobs.Job{}, err
	}
	job, err := n.jobID(ctx, ref)
	if err != nil {
		return jobs.Job{}, err
	}
	ended, stop := n.member.Await(job)
	defer stop()
	var f found
	for {
		_, open := n.member.Job(job)
		if open = open && ended != nil; !open { // or its end will be told
			f, err = n.findUntil(context.WithoutCancel(ctx), ref, ended)
			if f.job.State.Terminal() || err != nil && !isClosed(ended) {
				return f.job, err
			}
		}
		poll, stop := n.pollUnlessMember(job)
		select {
		case <-ended:
			ended = nil // it is here
		case <-poll:
		case <-ctx.Done():
			stop()
			if open || isClosed(ended) { // or what was found is of before the end
				f, err = n.find(context.WithoutCancel(ctx), ref)
			}
			return f.job, err
		}
		stop()
	}
}

// findUntil is find that asks no peers any more when done closes.
func (n *Node) findUntil(ctx context.Context, ref reference, done <-chan struct{}) (found, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}()
	return n.find(ctx, ref)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// jobID returns the id of a job that may be named by its request.
func (n *Node) jobID(ctx context.Context, ref reference) (consensus.JobID, error) {
	if ref.isJob {
		return ref.job, nil
	}
	f, err := n.find(ctx, ref)
	if err != nil {
		return consensus.JobID{}, err
	}
	return consensus.ParseJobID(f.job.ID)
}

// Cancel implements server.Control: this node's key is the owner's, or an
// authority's.
func (n *Node) Cancel(ctx context.Context, id string) (jobs.Job, error) {
	ref, err := n.resolve(id)
	if err != nil {
		return jobs.Job{}, err
	}
	f, err := n.find(ctx, ref)
	if err != nil {
		return jobs.Job{}, err
	}
	if f.job.State.Terminal() {
		return f.job, &jobs.Problem{Code: jobs.CodeConflict, What: "the job has ended already", Why: "its state is " + string(f.job.State),
			Try: "muster result " + jobs.Short(f.job.ID)}
	}
	self := n.home.identity.Signer.Key()
	if f.job.Owner != self.String() && !n.home.founded.Authority(self) {
		return f.job, &jobs.Problem{Code: jobs.CodeDenied, What: "this node may not cancel the job",
			Why: "neither is it the owner, nor an authority of the network", Try: "muster cancel on the node that submitted it"}
	}
	job, err := consensus.ParseJobID(f.job.ID)
	if err != nil {
		return f.job, err
	}
	wish, err := consensus.SignCancel(n.home.network, job, n.home.identity.Signer)
	if err != nil {
		return f.job, err
	}
	return f.job, n.sendCancel(ctx, wish, f.job)
}
