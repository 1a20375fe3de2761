package servertest

import (
	"context"
	"fmt"
	"strings"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

// doubleVote is evidence that the last node prepared two values for one job.
func (n *Network) doubleVote() ([]byte, consensus.Finding, error) {
	const liar = members - 1
	credential, err := n.credential(liar)
	if err != nil {
		return nil, consensus.Finding{}, err
	}
	var signed [2]consensus.Signed
	for i := range signed {
		s := consensus.Statement{Kind: consensus.KindPrepare, Network: n.id, Job: consensus.JobID{1}, Previous: consensus.Hash{1},
			Sender: n.signers[liar].Key(), Incarnation: admission.Incarnation{liar}, Value: consensus.Hash{byte(i)}}
		vote, err := n.vote(s, n.signers[liar])
		if err != nil {
			return nil, consensus.Finding{}, err
		}
		signed[i] = consensus.Signed{Statement: s, Proof: vote.Proof}
	}
	e, err := consensus.NewEquivocation(credential, signed[0], signed[1])
	if err != nil {
		return nil, consensus.Finding{}, err
	}
	f, err := e.Verify(n.GenesisBytes)
	if err != nil {
		return nil, f, err
	}
	data, err := e.Encode()
	return data, f, err
}

// Evidence implements server.Evidence: one node voted twice, in a job that
// nobody remembers.
func (n *Network) Evidence(_ context.Context, of string) ([]api.Evidence, error) {
	data, f, err := n.doubleVote()
	if err != nil {
		return nil, err
	}
	e := api.Evidence{ID: consensus.EvidenceID(data).String(), Misconduct: f.Misconduct.String(), Peer: f.Peer.String(), Name: f.Peer.Name(),
		Incarnation: fmt.Sprintf("%x", f.Incarnation[:]), Job: f.Job.String(), Found: Now, Barred: true, Statement: f.Kind.String(),
		First: f.First.String(), Second: f.Second.String()}
	if of != "" && of != e.Peer && of != e.Name && of != e.Job && of != e.ID {
		if strings.Contains(of, "-") {
			return nil, nil
		}
		_, err := n.find(of)
		return nil, err
	}
	return []api.Evidence{e}, nil
}

// EvidenceFile implements server.Evidence.
func (n *Network) EvidenceFile(_ context.Context, id string) ([]byte, error) {
	data, _, err := n.doubleVote()
	if err == nil && consensus.EvidenceID(data).String() != id {
		err = &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no evidence %q", id)}
	}
	return data, err
}
