package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/tree"
)

var _ server.Results = (*Node)(nil)

// Certificate implements server.Results.
func (n *Node) Certificate(ctx context.Context, id string) ([]byte, error) {
	f, err := n.ended(ctx, id)
	return f.certificate, err
}

func (n *Node) ended(ctx context.Context, id string) (found, error) {
	ref, err := n.resolve(id)
	if err != nil {
		return found{}, err
	}
	f, err := n.find(ctx, ref)
	if err != nil {
		return found{}, err
	}
	if f.certificate == nil && f.job.Source == n.name {
		// Another member may have it before this one: of this job, whatever else
		// names its request.
		id, err := consensus.ParseJobID(f.job.ID)
		if err != nil {
			return found{}, err
		}
		if at, err := n.findAtPeers(ctx, reference{text: ref.text, isJob: true, job: id}, nil); err == nil && at.certificate != nil {
			f = at
		}
	}
	if f.certificate == nil {
		return found{}, &jobs.Problem{Code: jobs.CodeNotDone, What: "the job has no outcome yet", Why: "it is " + string(f.job.State),
			Try: "muster wait " + jobs.Short(f.job.ID), Retryable: true}
	}
	return f, nil
}

// Bundle implements server.Results: certificate, roll, policy and the blocks of
// the output in one file.
func (n *Node) Bundle(ctx context.Context, id string) ([]byte, error) {
	f, err := n.ended(ctx, id)
	if err != nil {
		return nil, err
	}
	certificate, err := consensus.OpenCertificate(f.certificate)
	if err != nil {
		return nil, err
	}
	from := rosterOf(f.verdict.Height.Roster())
	roll, err := n.fetchBlock(ctx, f.verdict.Charter.Roll.Cid, append(from, f.verdict.Charter.Submitter))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := consensus.WriteBundle(&out, n.home.network, certificate, roll); err != nil {
		return nil, err
	}
	if t := f.verdict.Value.Tree; t != nil {
		if err := n.Fetch(ctx, t.Cid, from, int64(f.verdict.Charter.Limits.Output)); err != nil {
			return nil, err
		}
		err := tree.WriteCAR(ctx, &out, n.blocks, t.Cid, tree.Limits{Bytes: api.MaxBundleOutput, Blocks: api.MaxBundleBlocks})
		if errors.Is(err, tree.ErrLimit) {
			return nil, &jobs.Problem{Code: jobs.CodeUsage, What: "the output is too much for one file",
				Why: fmt.Sprintf("a bundle holds at most %d MiB of output", api.MaxBundleOutput>>20), Try: "muster result " + jobs.Short(f.job.ID) + " -o result/"}
		}
		if err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// rosterOf returns who holds the seats.
func rosterOf(seats []consensus.Seat) []admission.Key {
	keys := make([]admission.Key, len(seats))
	for i, seat := range seats {
		keys[i] = seat.Peer
	}
	return keys
}
