package consensus_test

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// judgedEvidence is evidence for other implementations to judge: docs/protocol.md,
// section 11. What must be refused says nothing else.
type judgedEvidence struct {
	Name        string `json:"name"`
	Refuse      bool   `json:"refuse,omitempty"` // for the reason that is its name
	Evidence    string `json:"evidence"`
	Misconduct  string `json:"misconduct,omitempty"`
	Peer        string `json:"peer,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	Job         string `json:"job,omitempty"`
	Height      uint64 `json:"height,omitempty"`
	Round       uint32 `json:"round,omitempty"`
}

func TestEvidenceMatchesItsVerdicts(t *testing.T) {
	n := consensustest.New(9)
	job := n.Job(consensus.Byzantine, 1)
	out, lie := consensustest.Result("out"), consensustest.Result("a lie")
	var all []judgedEvidence
	holds := func(name string, e *consensus.Evidence) {
		data := encodeEvidence(t, e)
		f, err := judge(data, n.Sealed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all = append(all, judgedEvidence{Name: name, Evidence: hex.EncodeToString(data), Misconduct: f.Misconduct.String(), Peer: hex.EncodeToString(f.Peer[:]),
			Incarnation: hex.EncodeToString(f.Incarnation[:]), Job: consensus.Hash(f.Job).String(), Height: f.Height, Round: f.Round})
	}
	for kind := consensus.KindPropose; kind <= consensus.KindRoundChange; kind++ {
		first, second := doubleVote(n, job, 3, kind)
		credential, _ := n.Credential(first.Statement.Sender)
		e, err := consensus.NewEquivocation(credential, first, second)
		check(t, err)
		holds("two of "+kind.String(), e)
	}
	ended := equivocation(t, n, job, 2)
	ended.Credential = n.Badge(job.Roster[2].Peer, admission.KindNode, func(c *admission.Credential) { c.Until = c.From + 1 })
	holds("by whose credential ended long ago", ended)
	holds("another result than was certified", disagreement(t, n, job, 2, lie, out))
	exit := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 2, Tree: out.Tree}
	holds("a failure where a result was certified", disagreement(t, n, job, 0, exit, out))
	for _, c := range acquitted(t, n) {
		all = append(all, judgedEvidence{Name: c.name, Refuse: true, Evidence: hex.EncodeToString(c.data)})
	}
	matches(t, "testdata/evidence.json", struct {
		Genesis  string           `json:"genesis"`
		Evidence []judgedEvidence `json:"evidence"`
	}{hex.EncodeToString(n.Sealed), all})
}

// judgedProof is the proof of one task for other implementations to judge:
// docs/protocol.md, section 14.
type judgedProof struct {
	Name   string `json:"name"`
	Refuse bool   `json:"refuse,omitempty"` // for the reason that is its name
	Proof  string `json:"proof"`
	Job    string `json:"job,omitempty"`
	Count  uint64 `json:"count,omitempty"` // tasks of the job
	Index  uint64 `json:"index,omitempty"`
	Task   string `json:"task,omitempty"`  // its name
	Value  string `json:"value,omitempty"` // encoded
}

func TestTaskProofsMatchTheirVerdicts(t *testing.T) {
	n := consensustest.New(4)
	var all []judgedProof
	for _, of := range []struct{ count, index int }{{1, 0}, {2, 1}, {11, 0}, {11, 3}, {11, 4}, {11, 10}, {4_097, 4_096}} {
		data, err := proven(t, n, outcomes(of.count), of.index).Encode(n.ID)
		check(t, err)
		v, err := consensus.VerifyTaskProof(data, n.Sealed)
		check(t, err)
		value, err := codec.Marshal(v.Task.Outcome)
		check(t, err)
		all = append(all, judgedProof{Name: fmt.Sprintf("task %d of %d", of.index, of.count), Proof: hex.EncodeToString(data), Job: consensus.Hash(v.Job).String(),
			Count: v.Array.Count, Index: v.Task.Index, Task: v.Task.Name, Value: hex.EncodeToString(value)})
	}
	for _, f := range forgeries(t, n) {
		all = append(all, judgedProof{Name: f.name, Refuse: true, Proof: hex.EncodeToString(f.data)})
	}
	matches(t, "testdata/taskproofs.json", struct {
		Genesis string        `json:"genesis"`
		Proofs  []judgedProof `json:"proofs"`
	}{hex.EncodeToString(n.Sealed), all})
}
