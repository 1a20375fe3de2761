package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Array is the result of an array job, checked against its certificate: what a
// node serves beside it counts only if it hashes to what stands in it.
type Array struct {
	Tasks []consensus.TaskOutcome // all, in order

	client *Client
	cert   Certified
	result consensus.ArrayResult
	sealed []byte
	pages  []consensus.ArrayPage
	large  map[cid.Cid]bool
	pack   map[cid.Cid][]byte // the blocks of the pack read last
	packed cid.Cid
}

// IsArray reports whether the certificate is that of an array job that ran.
func (c Certified) IsArray() bool { return c.Verdict.Value.IsArray() }

// Array fetches the outcomes of all tasks of a certified array job, and checks
// them.
func (c *Client) Array(ctx context.Context, cert Certified) (*Array, error) {
	network, value := cert.Verdict.Network, cert.Verdict.Value
	if !value.IsArray() {
		return nil, errNoTasks()
	}
	a := &Array{client: c, cert: cert, large: map[cid.Cid]bool{}}
	var err error
	if a.sealed, err = c.block(ctx, value.Tree.Cid); err != nil {
		return nil, err
	}
	if a.result, err = consensus.OpenArray(network, a.sealed, value); err != nil {
		return nil, invalid(err)
	}
	for i, link := range a.result.Pages {
		data, err := c.block(ctx, link.Cid)
		if err != nil {
			return nil, err
		}
		page, err := a.result.OpenPage(network, i, data)
		if err != nil {
			return nil, invalid(err)
		}
		for _, l := range page.Large {
			a.large[l.Cid] = true
		}
		a.pages = append(a.pages, page)
	}
	if a.Tasks, err = a.result.Outcomes(network, a.pages); err != nil {
		return nil, invalid(err)
	}
	return a, nil
}

// Find returns the task of a name, or of an index, from 0.
func (a *Array) Find(word string) (consensus.TaskOutcome, error) { return FindTask(a.Tasks, word) }

// FindTask returns the task of a name, or of an index, from 0, among all tasks of
// an array job.
func FindTask(tasks []consensus.TaskOutcome, word string) (consensus.TaskOutcome, error) {
	if len(tasks) == 0 {
		return consensus.TaskOutcome{}, errNoTasks()
	}
	for _, t := range tasks {
		if t.Name == word {
			return t, nil
		}
	}
	if at, err := strconv.ParseUint(word, 10, 64); err == nil && at < uint64(len(tasks)) {
		return tasks[at], nil
	}
	last := len(tasks) - 1
	return consensus.TaskOutcome{}, &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("the job has no task %q", word),
		Why: fmt.Sprintf("it has %d, from 0 (%s) to %d (%s)", len(tasks), tasks[0].Name, last, tasks[last].Name)}
}

func errNoTasks() error {
	return &jobs.Problem{Code: jobs.CodeUsage, What: "the job has no tasks", Why: "it is no array job, or ended before it ran"}
}

// Proof makes the file that proves how one task ended, for verify.
func (a *Array) Proof(t consensus.TaskOutcome) ([]byte, error) {
	tree, err := consensus.NewArrayTree(a.cert.Verdict.Network, a.Tasks)
	if err != nil {
		return nil, err
	}
	certificate, err := consensus.OpenCertificate(a.cert.Bytes)
	if err != nil {
		return nil, err
	}
	proof := &consensus.TaskProof{Certificate: *certificate, Array: a.sealed, Task: t, Path: tree.Path(t.Index)}
	return proof.Encode(a.cert.Verdict.Network)
}

// ReadFile writes a file of a task's result tree to w; a task that left none has
// no files.
func (a *Array) ReadFile(ctx context.Context, t consensus.TaskOutcome, path string, w io.Writer) error {
	if t.Outcome.Tree == nil {
		return nil
	}
	f, err := a.files(ctx, t)
	if err != nil {
		return err
	}
	return f.read(ctx, t.Outcome.Tree.Cid, path, w)
}

// ReadTree writes a task's result tree into dir, as Client.ReadTree does.
func (a *Array) ReadTree(ctx context.Context, t consensus.TaskOutcome, dir string) error {
	if t.Outcome.Tree == nil {
		return nil
	}
	f, err := a.files(ctx, t)
	if err != nil {
		return err
	}
	return f.readTree(ctx, t.Outcome.Tree.Cid, dir)
}

// files reads the tree of a task: from its pack, or by itself. Each task may leave
// what a job of one may.
func (a *Array) files(ctx context.Context, t consensus.TaskOutcome) (*files, error) {
	if a.large[t.Outcome.Tree.Cid] {
		return a.client.files(a.cert), nil
	}
	page, place := consensus.PageOf(t.Index)
	for _, pack := range a.pages[page].Packs {
		if place -= int(pack.Tasks); place < 0 {
			return &files{a.packBlock, allowance(a.cert.Verdict.Charter.Limits)}, a.openPack(ctx, pack.File.Cid)
		}
	}
	return nil, invalid(fmt.Errorf("no pack holds task %s", t.Name))
}

func (a *Array) packBlock(_ context.Context, c cid.Cid) ([]byte, error) {
	data, ok := a.pack[c]
	if !ok {
		return nil, invalid(fmt.Errorf("block %s is not in its pack", c))
	}
	return data, nil
}

// openPack reads a pack, unless it is the one read last: tasks are read in
// order.
func (a *Array) openPack(ctx context.Context, file cid.Cid) error {
	if a.packed.Equals(file) {
		return nil
	}
	var data bytes.Buffer
	one := &files{a.client.block, budget{bytes: maxBlock, blocks: 1}} // a pack is one leaf
	if err := one.read(ctx, file, "", &data); err != nil {
		return err
	}
	blocks, in := map[cid.Cid][]byte{}, bufio.NewReader(&data)
	_, err := readCAR(in, a.cert.Verdict.Network, func(c cid.Cid, data []byte) { blocks[c] = data })
	if err == nil {
		if _, err = in.ReadByte(); errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = errors.Join(errors.New("bytes after the pack's end"), err)
		}
	}
	if err != nil {
		return invalid(fmt.Errorf("pack %s: %w", file, err))
	}
	a.pack, a.packed = blocks, file
	return nil
}

// IsTaskProof reports whether a file that begins with head is the proof of one
// task rather than a certificate or a bundle: a CBOR array.
func IsTaskProof(head []byte) bool { return len(head) > 0 && head[0]>>5 == 4 }

// VerifyTaskProof checks the proof of one task, given only a genesis. An invalid
// one is a *jobs.Problem with CodeCertificate.
func VerifyTaskProof(proof, genesis []byte) (consensus.TaskVerdict, error) {
	v, err := consensus.VerifyTaskProof(proof, genesis)
	if err != nil {
		return v, invalid(err)
	}
	return v, nil
}
