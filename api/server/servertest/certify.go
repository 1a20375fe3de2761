package servertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// certify stores the job's result and makes charter and certificate; the caller
// holds the lock.
func (n *Network) certify(ctx context.Context, j *job, file *jobs.File) error {
	number := uint64(len(n.jobs))
	result, err := tree.WriteResult(ctx, &n.Blocks, j.run.Result)
	if err != nil {
		return err
	}
	if j.run.Value.Matched() {
		link := dagcbor.LinkTo(result.Root)
		j.run.Value.Tree = &link
	}
	if len(j.run.Ends) > 0 {
		if j.run.Value, err = n.array(ctx, j.run); err != nil {
			return err
		}
	}
	key := j.key
	if key == "" {
		key = string(binary.BigEndian.AppendUint64(nil, number))
	}
	request, err := consensus.NewRequestID(n.id, n.signers[0].Key(), key)
	if err != nil {
		return err
	}
	charter, err := n.charter(request, number)
	if err != nil {
		return err
	}
	signed, id, err := consensus.SignCharter(n.id, charter, n.signers[0])
	if err != nil {
		return err
	}
	if j.cert, err = n.certificate(signed, id, charter, j.run.Value); err != nil {
		return err
	}
	name := file.Name
	if name == "" {
		name = strings.TrimSuffix(file.Program(), ".wasm")
	}
	j.told = jobs.Job{ID: id.String(), Request: request.String(), Name: name, Labels: file.Run.Labels, State: jobs.Running,
		Task: charter.Task.String(), Owner: charter.Owner.String(), Submitter: charter.Submitter.String(),
		Class: string(charter.Class), Assurance: string(charter.Assurance), Fault: charter.Fault.String(), Faults: 1,
		Size: members, Quorum: members - 1, Issued: charter.Issued, Deadline: charter.Deadline}
	for i, seat := range charter.Roster {
		role := "executor"
		if i == 1 {
			role = "voter"
		}
		j.told.Members = append(j.told.Members, jobs.Member{Peer: seat.Peer.String(), Name: seat.Peer.Name(), Role: role, Accepted: true, Started: true})
	}
	return nil
}

// array stores the array result of a run, and returns its value.
func (n *Network) array(ctx context.Context, run Run) (consensus.Value, error) {
	packer := tree.NewPacker(&n.Blocks)
	var all []consensus.TaskOutcome
	var page consensus.ArrayPage
	a := consensus.ArrayResult{Count: uint64(len(run.Ends))}
	for i, end := range run.Ends {
		t := consensus.TaskOutcome{Index: uint64(i), Name: jobs.TaskName(uint64(i), a.Count), Outcome: consensus.Value{Kind: consensus.Result}}
		left, err := packer.Result(ctx, t.Name, end)
		if err != nil {
			return consensus.Value{}, err
		}
		if end.Code != 0 {
			t.Outcome.Kind, t.Outcome.Class, t.Outcome.Code = consensus.Failed, consensus.FailedExit, uint64(end.Code)
			a.Failed++
		}
		link := dagcbor.LinkTo(left.Root)
		t.Outcome.Tree = &link
		all, page.Tasks = append(all, t), append(page.Tasks, consensus.PageTask(t))
	}
	if run.Forged {
		all[0].Name = "another"
	}
	packs, large, err := packer.Take(ctx)
	if err != nil {
		return consensus.Value{}, err
	}
	for _, p := range packs {
		page.Packs = append(page.Packs, consensus.ArrayPack{Tasks: uint64(p.Entries), File: dagcbor.LinkTo(p.File)})
	}
	for _, c := range large {
		page.Large = append(page.Large, dagcbor.LinkTo(c))
	}
	leaves, err := consensus.NewArrayTree(n.id, all)
	if err != nil {
		return consensus.Value{}, err
	}
	data, link, err := page.Seal(n.id)
	if err != nil {
		return consensus.Value{}, err
	}
	a.Root, a.Pages = leaves.Root(), []dagcbor.Link{link}
	sealed, root, err := a.Seal(n.id)
	if err != nil {
		return consensus.Value{}, err
	}
	return a.Value(root), errors.Join(n.put(ctx, link, data), n.put(ctx, root, sealed))
}

func (n *Network) put(ctx context.Context, link dagcbor.Link, data []byte) error {
	block, err := blocks.NewBlockWithCid(data, link.Cid)
	if err != nil {
		return err
	}
	return n.Blocks.Put(ctx, block)
}

// charter makes a charter whose draw from the network's roll can be checked. Of
// the seeds that a submitter may try it takes the first that draws the nodes in
// their own order, which tests go by.
func (n *Network) charter(request consensus.RequestID, number uint64) (*consensus.Charter, error) {
	link := dagcbor.LinkTo(dagcbor.CID([]byte("some block")))
	c := &consensus.Charter{V: consensus.Version, Issued: Now + int64(number)*1000, Request: request,
		Owner: n.signers[0].Key(), Submitter: n.signers[0].Key(), Spec: link, Task: link, Roll: dagcbor.LinkTo(dagcbor.CID(n.roll)),
		Class: consensus.Portable, Assurance: consensus.Replicated, Runners: members, Timeout: 30_000,
		Limits: consensus.Limits{Input: 1 << 20, Output: 1 << 20, Stream: 1 << 16},
		Fault:  consensus.Byzantine, F: 1, Policy: n.policy, Period: election.Period(Now + int64(number)*1000)}
	c.AcceptBy, c.StartBy, c.Deadline, c.End = c.Issued+10_000, c.Issued+60_000, c.Issued+3_600_000, c.Issued+7_200_000
	for i, s := range n.signers {
		c.Roster = append(c.Roster, consensus.Seat{Peer: s.Key(), Incarnation: admission.Incarnation{byte(i)}})
	}
	roll, err := consensus.OpenRoll(n.founded, n.id, n.roll)
	if err != nil {
		return nil, err
	}
	for try := range uint64(1 << 16) {
		binary.BigEndian.PutUint64(c.Nonce[:], try)
		c.Attempt = try % 4
		drawn, err := election.Draw(roll, election.AskOf(c, n.id, n.founded.Policy))
		if err != nil {
			return nil, err
		}
		if slices.Equal(drawn.Roster, c.Roster) {
			return c, nil
		}
	}
	return nil, errors.New("no seed draws the nodes in their own order")
}

func (n *Network) certificate(signed consensus.SignedCharter, id consensus.JobID, c *consensus.Charter, v consensus.Value) ([]byte, error) {
	hash, err := v.Hash(n.id)
	if err != nil {
		return nil, err
	}
	cert := consensus.Certificate{V: consensus.Version, Charter: signed, Outcome: consensus.Decision{Value: v, Commits: consensus.VoteSet{Value: hash}}}
	for i := range members - 1 {
		vote, err := n.vote(consensus.Statement{Kind: consensus.KindCommit, Network: n.id, Job: id, Previous: consensus.Hash(id),
			Sender: c.Roster[i].Peer, Incarnation: c.Roster[i].Incarnation, Value: hash}, n.signers[i])
		if err != nil {
			return nil, err
		}
		vote.Seat = uint64(i)
		cert.Outcome.Commits.Votes = append(cert.Outcome.Commits.Votes, vote)
		credential, err := n.credential(i)
		if err != nil {
			return nil, err
		}
		cert.Credentials = append(cert.Credentials, credential)
	}
	slices.SortFunc(cert.Credentials, func(a, b admission.SignedCredential) int {
		return bytes.Compare(a.Body.Subject[:], b.Body.Subject[:])
	})
	return cert.Encode()
}

// credential is the one of node i.
func (n *Network) credential(i int) (admission.SignedCredential, error) {
	key := n.signers[i].Key()
	return admission.SignCredential(n.id, admission.Credential{Kind: admission.KindNode, Subject: key,
		Role: admission.RoleMember, Owner: key, Weight: 1, From: Now - 1, Until: Now + 1_000_000_000}, n.signers[0])
}

// enroll makes the roll that charters name.
func (n *Network) enroll() ([]byte, error) {
	roll := consensus.Roll{V: consensus.Version, Made: Now, Maker: n.signers[0].Key()}
	for i, s := range n.signers {
		credential, err := n.credential(i)
		if err != nil {
			return nil, err
		}
		roll.Entries = append(roll.Entries, consensus.RollEntry{Peer: s.Key(), Incarnation: admission.Incarnation{byte(i)}, Credential: credential,
			Classes: []consensus.Class{consensus.Portable}})
	}
	slices.SortFunc(roll.Entries, func(a, b consensus.RollEntry) int { return bytes.Compare(a.Peer[:], b.Peer[:]) })
	data, _, err := roll.Seal(n.id)
	return data, err
}

func (n *Network) vote(s consensus.Statement, signer admission.Signer) (consensus.Vote, error) {
	leaf, err := s.Leaf()
	if err != nil {
		return consensus.Vote{}, err
	}
	batch, err := consensus.NewBatch([][]byte{leaf})
	if err != nil {
		return consensus.Vote{}, err
	}
	header, err := consensus.BatchHeader(n.id, s.Incarnation, 1, batch.Root())
	if err != nil {
		return consensus.Vote{}, err
	}
	return consensus.Vote{Proof: consensus.Proof{Count: 1, Path: batch.Path(0), Signature: signer.Sign(header)}}, nil
}

func must[A any](a A, err error) A {
	if err != nil {
		panic(err)
	}
	return a
}

// must and must2 are for what cannot fail with fixed inputs.
func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}
