package node

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/runner"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/member"
)

// Faults are what a test puts in the way of a node. Nil: nothing.
type Faults struct {
	Run   func(*exec.Result)                                    // changes how runs end
	Lose  func(to admission.Key) bool                           // frames that do not arrive
	Fetch func(ctx context.Context, from []admission.Key) error // comes before a tree is fetched
}

// OpenWith is Open with faults.
func OpenWith(cfg Config, f Faults) (*Node, error) {
	return open(cfg, func(n *Node) {
		if f.Run != nil {
			n.executor = faultyExecutor{n.executor, f.Run}
		}
		if f.Lose != nil {
			n.transport = faultyTransport{n.transport, f.Lose}
		}
		if f.Fetch != nil {
			n.fetcher = faultyFetcher{n.fetcher, f.Fetch}
		}
	})
}

type faultyExecutor struct {
	exec.Executor
	change func(*exec.Result)
}

func (e faultyExecutor) Run(ctx context.Context, req exec.Request) (exec.Result, error) {
	r, err := e.Executor.Run(ctx, req)
	if err == nil {
		e.change(&r)
	}
	return r, err
}

type faultyTransport struct {
	runner.Transport
	lose func(admission.Key) bool
}

func (t faultyTransport) Send(to admission.Key, frame []byte) {
	if !t.lose(to) {
		t.Transport.Send(to, frame)
	}
}

type faultyFetcher struct {
	member.Fetcher
	before func(context.Context, []admission.Key) error
}

func (f faultyFetcher) Fetch(ctx context.Context, root cid.Cid, from []admission.Key, bytes int64) error {
	if err := f.before(ctx, from); err != nil {
		return err
	}
	return f.Fetcher.Fetch(ctx, root, from, bytes)
}

// Key is who the node is.
func (n *Node) Key() admission.Key { return n.home.identity.Signer.Key() }

// OpenRecords counts what the journal holds of open jobs.
func (n *Node) OpenRecords() (count int, err error) {
	for _, prefix := range []string{"c/", "r/"} {
		err := n.journal.Scan([]byte(prefix), nil, func([]byte, []byte) (bool, error) {
			count++
			return true, nil
		})
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

// Keeps returns the job that this node itself has the outcome of under a request id,
// and whether its submission is forgotten.
func (n *Node) Keeps(request string) (id string, forgotten bool, err error) {
	r, ok := parseRequest(request)
	if !ok {
		return "", false, errors.New("no request id")
	}
	job, ok, err := n.archive.Request(r)
	if err != nil || !ok {
		return "", false, err
	}
	_, outstanding, err := n.submitter.Outstanding(r)
	return job.String(), !outstanding, err
}

// DoubleVote is evidence that the node prepared two values.
func (n *Node) DoubleVote() (*consensus.Evidence, error) {
	s := consensus.Statement{Kind: consensus.KindPrepare, Network: n.home.network, Job: consensus.JobID{1}, Previous: consensus.Hash{1},
		Sender: n.Key(), Incarnation: n.incarnation}
	var signed [2]consensus.Signed
	for i := range signed {
		s.Value = consensus.Hash{byte(i)}
		leaf, err := s.Leaf()
		if err != nil {
			return nil, err
		}
		batch, err := consensus.NewBatch([][]byte{leaf})
		if err != nil {
			return nil, err
		}
		header, err := consensus.BatchHeader(n.home.network, n.incarnation, 1, batch.Root())
		if err != nil {
			return nil, err
		}
		signed[i] = consensus.Signed{Statement: s, Proof: consensus.Proof{Count: 1, Path: batch.Path(0), Signature: n.home.identity.Signer.Sign(header)}}
	}
	return consensus.NewEquivocation(n.home.credential, signed[0], signed[1])
}

// Accuse is what a member does that comes by evidence.
func (n *Node) Accuse(e *consensus.Evidence) { n.accuse(e) }

// Bars reports whether a node is not drawn by this one any more.
func (n *Node) Bars(key admission.Key) bool { return n.misconduct.bars(key) }
