package consensus_test

import (
	"bytes"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// What opens is canonical, and whatever it is, verifying it ends in an error or
// a verdict with a quorum.
func FuzzOpenCertificate(f *testing.F) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	f.Add(encode(f, n.Certify(job, n.Decide(job, consensustest.Result("out")))))
	job = n.Job(consensus.Byzantine, 1, replaceable)
	chain, last := n.Chain(job, consensustest.Handover([2]uint64{2, 0}))
	f.Add(encode(f, n.Certify(job, n.DecideAt(last, consensustest.Result("out")), chain...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := consensus.OpenCertificate(data)
		if err != nil {
			return
		}
		if again := encode(t, c); !bytes.Equal(again, data) {
			t.Errorf("encodes to other bytes: %x", again)
		}
		_ = c.Outcome.Value.String()
		if v, err := c.Verify(n.Sealed); err == nil && len(v.Signers) != v.Charter.Thresholds().Quorum {
			t.Errorf("verified with signers %v", v.Signers)
		}
	})
}

// Evidence comes from anybody, by gossip.
func FuzzOpenEvidence(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	f.Add(encodeEvidence(f, equivocation(f, n, job, 1)))
	f.Add(encodeEvidence(f, disagreement(f, n, job, 1, consensustest.Result("a lie"), consensustest.Result("out"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := consensus.OpenEvidence(data)
		if err != nil {
			return
		}
		if again := encodeEvidence(t, e); !bytes.Equal(again, data) {
			t.Errorf("encodes to other bytes: %x", again)
		}
		f, err := e.Verify(n.Sealed)
		if err == nil && (f.Peer != e.Credential.Body.Subject || f.Misconduct != consensus.Equivocated && f.Misconduct != consensus.Disagreed) {
			t.Errorf("finds %+v", f)
		}
		_, _, _ = f.Misconduct.String(), f.Reported.String(), f.Certified.String()
	})
}

func FuzzSignedCharterOpen(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	data, err := codec.Marshal(job.Signed)
	check(f, err)
	f.Add(data, true)
	f.Add(job.Signed.Bytes, false)
	f.Fuzz(func(t *testing.T, data []byte, signed bool) {
		var s consensus.SignedCharter
		if !signed { // the charter alone, signed for whatever it is
			s = consensus.SignedCharter{Bytes: data, Submitter: n.Nodes[0].Sign(data)}
		} else if err := codec.Unmarshal(data, &s); err != nil {
			return
		}
		c, _, err := s.Open(n.ID)
		if err != nil {
			return
		}
		again, err := codec.Seal(consensus.TagCharter, n.ID[:], c)
		if err != nil || !bytes.Equal(again, s.Bytes) {
			t.Errorf("encodes to other bytes: %x, %v", again, err)
		}
		if len(c.Roster) != c.Thresholds().N {
			t.Errorf("%d members", len(c.Roster))
		}
	})
}

func FuzzOpenRoll(f *testing.F) {
	n := consensustest.New(2)
	f.Add(n.RollSealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := consensus.OpenRoll(n.Genesis, n.ID, data)
		if err != nil {
			return
		}
		again, link, err := r.Seal(n.ID)
		if err != nil || !bytes.Equal(again, data) || link.Cid != codec.CID(data) {
			t.Errorf("encodes to other bytes: %x, %v", again, err)
		}
	})
}

// A message's payload and what rides in it come from peers before any check.
func FuzzPayload(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	value, handover := consensustest.Result("out"), consensustest.Handover([2]uint64{2, 0})
	d := n.Decide(job, value)
	report := consensus.Report{Run: 1, Value: value}
	for _, p := range []consensus.Payload{
		{Decision: &d}, {Value: &value, Set: &d.Commits}, {Value: &handover}, {Report: &report}, {Reason: "busy"},
		{Offer: &consensus.Offer{Charter: job.Signed, Credentials: []admission.SignedCredential{n.UserBadge}}},
	} {
		data, err := codec.Marshal(p)
		check(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p consensus.Payload
		if err := codec.Unmarshal(data, &p); err != nil {
			return
		}
		if p.Report != nil {
			_ = p.Report.Validate()
			_ = p.Report.Value.String()
		}
		if p.Value != nil {
			_ = p.Value.Validate()
			_ = p.Value.String()
		}
		if p.Set != nil {
			_ = p.Set.Check(n.First(job), consensus.KindPrepare, consensus.Proof.Check)
		}
		if p.Cancel != nil {
			_ = p.Cancel.Check(n.Genesis, n.ID, job.ID, job.Charter)
		}
		if p.Offer != nil {
			_, _, _ = p.Offer.Charter.Open(n.ID)
		}
	})
}

// A wish that a job end comes from any peer: it is good where its owner or an
// authority signed it, and only for that job. By says who signs what came, if anybody.
func FuzzCancel(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	signers := []admission.Signer{n.Nodes[0], n.Authority, n.User} // the first is the owner
	for by, signer := range signers {
		wish, err := consensus.SignCancel(n.ID, job.ID, signer)
		check(f, err)
		data, err := codec.Marshal(wish)
		check(f, err)
		f.Add(data, uint8(len(signers)))
		f.Add(data, uint8(by))
		f.Add(data, uint8((by+1)%len(signers)))
	}
	f.Fuzz(func(t *testing.T, data []byte, by uint8) {
		var wish consensus.Cancel
		if codec.Unmarshal(data, &wish) != nil {
			return
		}
		again, err := codec.Marshal(wish)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("encodes to other bytes: %x, %v", again, err)
		}
		allowed := wish.Job == job.ID && (wish.By == job.Charter.Owner || wish.By == n.Authority.Key())
		good := wish.Check(n.Genesis, n.ID, job.ID, job.Charter) == nil
		if good && !allowed {
			t.Errorf("good, of job %s by %s", wish.Job, wish.By.Name())
		}
		if int(by) >= len(signers) {
			return
		}
		signed, err := consensus.SignCancel(n.ID, wish.Job, signers[by])
		check(t, err)
		allowed = allowed && wish.By == signers[by].Key()
		wish.Signature = signed.Signature
		if good := wish.Check(n.Genesis, n.ID, job.ID, job.Charter) == nil; good != allowed {
			t.Errorf("good %v, of job %s by %s", good, wish.Job, wish.By.Name())
		}
	})
}

func FuzzParseJobID(f *testing.F) {
	f.Add(consensus.JobID{1}.String())
	f.Fuzz(func(t *testing.T, s string) {
		id, err := consensus.ParseJobID(s)
		if err != nil {
			return
		}
		if again, err := consensus.ParseJobID(id.String()); err != nil || again != id {
			t.Errorf("%q reads as %s", s, id)
		}
	})
}
