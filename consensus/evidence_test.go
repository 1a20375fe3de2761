package consensus_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
)

// doubleVote returns two statements of the holder of a seat for one slot.
func doubleVote(n *consensustest.Network, job consensustest.Job, seat int, kind consensus.Kind) (first, second consensus.Signed) {
	a := n.Statement(job, seat, kind, 2, consensus.Hash{2})
	b := a
	b.Value = consensus.Hash{1}
	signer := n.Nodes[n.Index(a.Sender)]
	proofs := consensustest.Prove(signer, a, n.Statement(job, seat, consensus.KindAccept, 0, consensus.Hash{}))
	return consensus.Signed{Statement: a, Proof: proofs[0]}, consensus.Signed{Statement: b, Proof: consensustest.Prove(signer, b)[0]}
}

func equivocation(t testing.TB, n *consensustest.Network, job consensustest.Job, seat int) *consensus.Evidence {
	t.Helper()
	first, second := doubleVote(n, job, seat, consensus.KindPrepare)
	credential, _ := n.Credential(first.Statement.Sender)
	e, err := consensus.NewEquivocation(credential, first, second)
	check(t, err)
	return e
}

// disagreement is what an executor reported beside what was certified.
func disagreement(t testing.TB, n *consensustest.Network, job consensustest.Job, seat int, reported, certified consensus.Value) *consensus.Evidence {
	t.Helper()
	report := consensus.Report{Run: 1, Value: reported}
	hash, err := report.Hash(n.ID)
	check(t, err)
	s := n.Statement(job, seat, consensus.KindReport, 0, hash)
	credential, _ := n.Credential(s.Sender)
	certificate := encode(t, n.Certify(job, n.Decide(job, certified)))
	return consensus.NewDisagreement(credential, certificate, s, report, consensustest.Prove(n.Nodes[n.Index(s.Sender)], s)[0])
}

func encodeEvidence(t testing.TB, e *consensus.Evidence) []byte {
	t.Helper()
	data, err := e.Encode()
	check(t, err)
	return data
}

// judge opens and verifies encoded evidence.
func judge(data, genesis []byte) (consensus.Finding, error) {
	e, err := consensus.OpenEvidence(data)
	if err != nil {
		return consensus.Finding{}, err
	}
	return e.Verify(genesis)
}

func TestTwoStatementsInOneSlotConvictTheirSender(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	for kind := consensus.KindPropose; kind <= consensus.KindRoundChange; kind++ {
		first, second := doubleVote(n, job, 3, kind)
		credential, _ := n.Credential(first.Statement.Sender)
		one, err := consensus.NewEquivocation(credential, first, second)
		check(t, err)
		other, err := consensus.NewEquivocation(credential, second, first)
		check(t, err)
		data := encodeEvidence(t, one)
		if !bytes.Equal(data, encodeEvidence(t, other)) {
			t.Errorf("%s: two statements have two forms", kind)
		}
		f, err := judge(data, n.Sealed)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		seat := job.Roster[3]
		if f.Misconduct != consensus.Equivocated || f.Peer != seat.Peer || f.Incarnation != seat.Incarnation || f.Job != job.ID || f.Network != n.ID {
			t.Errorf("%s: finds %+v", kind, f)
		}
		if f.Kind != kind || f.Round != 2 || f.Height != 0 || f.First != (consensus.Hash{1}) || f.Second != (consensus.Hash{2}) {
			t.Errorf("%s: finds %+v", kind, f)
		}
	}
}

// A node that acts at a height on two different decisions before it lies, too.
func TestTwoPreviousDecisionsInOneSlotConvict(t *testing.T) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	a := n.Statement(job, 1, consensus.KindCommit, 0, consensus.Hash{1})
	a.Height, a.Previous = 1, consensus.Hash{7}
	b := a
	b.Previous = consensus.Hash{8}
	signer := n.Nodes[n.Index(a.Sender)]
	e, err := consensus.NewEquivocation(signer.Credential, consensus.Signed{Statement: a, Proof: consensustest.Prove(signer, a)[0]},
		consensus.Signed{Statement: b, Proof: consensustest.Prove(signer, b)[0]})
	check(t, err)
	if f, err := judge(encodeEvidence(t, e), n.Sealed); err != nil || f.Height != 1 {
		t.Errorf("finds %+v, %v", f, err)
	}
}

func TestAReportThatContradictsTheCertificateConvictsItsExecutor(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	exit := values()[1]
	for _, c := range []struct{ reported, certified consensus.Value }{
		{consensustest.Result("a lie"), consensustest.Result("out")},
		{exit, consensustest.Result("out")},
		{consensustest.Result("out"), exit},
	} {
		f, err := judge(encodeEvidence(t, disagreement(t, n, job, 3, c.reported, c.certified)), n.Sealed)
		if err != nil {
			t.Fatalf("%s against %s: %v", c.reported, c.certified, err)
		}
		if f.Misconduct != consensus.Disagreed || f.Peer != job.Roster[3].Peer || f.Job != job.ID ||
			f.Reported.String() != c.reported.String() || f.Certified.String() != c.certified.String() {
			t.Errorf("finds %+v", f)
		}
	}
}

func TestEvidenceThatConvictsNobodyIsRefused(t *testing.T) {
	n := consensustest.New(9)
	for _, c := range acquitted(t, n) {
		if _, err := judge(c.data, n.Sealed); err == nil {
			t.Errorf("%s: convicts", c.name)
		}
	}
	job := n.Job(consensus.Byzantine, 1)
	other := consensustest.New(5, func(g *admission.Genesis) { g.Name = "other" })
	if _, err := judge(encodeEvidence(t, equivocation(t, n, job, 2)), other.Sealed); err == nil {
		t.Error("convicts in another network")
	}
}

// charge is encoded evidence, and what it is of.
type charge struct {
	name string
	data []byte
}

// acquitted is evidence that convicts nobody, and why it does not.
func acquitted(t *testing.T, n *consensustest.Network) (all []charge) {
	job := n.Job(consensus.Byzantine, 1)
	add := func(e *consensus.Evidence, name string) { all = append(all, charge{name, encodeEvidence(t, e)}) }
	out, lie := consensustest.Result("out"), consensustest.Result("a lie")
	tasks := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTasks, Code: 1, Tree: lie.Tree}
	double := func(change func(*consensus.Equivocation)) *consensus.Evidence {
		e := equivocation(t, n, job, 2)
		change(e.Equivocation)
		return e
	}
	add(double(func(e *consensus.Equivocation) { e.Second = e.First }), "one statement twice")
	add(double(func(e *consensus.Equivocation) { e.First, e.Second = e.Second, e.First }), "its statements out of order")
	add(double(func(e *consensus.Equivocation) { e.Kind = consensus.KindReport }), "of a kind said often")
	add(double(func(e *consensus.Equivocation) { e.Round++ }), "of another round")
	add(double(func(e *consensus.Equivocation) { e.Height++ }), "of another height")
	add(double(func(e *consensus.Equivocation) { e.Job[0]++ }), "of another job")
	add(double(func(e *consensus.Equivocation) { e.Incarnation[0]++ }), "of another life")
	add(double(func(e *consensus.Equivocation) { e.First.Value[31]++ }), "of another value")
	add(disagreement(t, n, job, 2, out, out), "the reported is certified")
	add(disagreement(t, n, job, 2, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTimeout}, out), "it timed out")
	add(disagreement(t, n, job, 2, tasks, out), "tasks failed, of time perhaps")
	add(disagreement(t, n, job, 2, out, tasks), "tasks failed for others")
	add(disagreement(t, n, job, 2, out, consensus.Value{Kind: consensus.Cancelled}), "the job was cancelled")
	add(&consensus.Evidence{V: consensus.Version, Credential: n.Nodes[0].Credential}, "nothing at all")
	e := equivocation(t, n, job, 2)
	other, _ := n.Credential(job.Roster[1].Peer)
	e.Credential = other
	add(e, "another is accused")
	e = equivocation(t, n, job, 2)
	e.Credential.Body.Weight++
	add(e, "the credential is altered")
	e = equivocation(t, n, job, 2)
	e.Credential = n.Badge(job.Roster[2].Peer, admission.KindUser)
	add(e, "the accused is a user")
	e = disagreement(t, n, job, 2, lie, out)
	e.Equivocation = equivocation(t, n, job, 2).Equivocation
	add(e, "two misconducts")
	e = disagreement(t, n, job, 2, lie, out)
	e.Disagreement.Report.Value = consensustest.Result("another lie")
	add(e, "another report than the one signed")
	add(byStranger(t, n, job), "somebody without a part in the job")
	free := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Nonce = consensus.Hash{2} })
	e = disagreement(t, n, free, 2, lie, out)
	e.Disagreement.Certificate = encode(t, n.Certify(job, n.Decide(job, out)))
	add(e, "another job's certificate")
	return all
}

// byStranger is a node's report on a job it has no seat in.
func byStranger(t *testing.T, n *consensustest.Network, job consensustest.Job) *consensus.Evidence {
	t.Helper()
	at := slices.IndexFunc(n.Nodes, func(m consensustest.Node) bool {
		return !slices.ContainsFunc(slices.Concat(job.Roster, job.Reserves), func(s consensus.Seat) bool { return s.Peer == m.Key() })
	})
	stranger := n.Nodes[at]
	e := disagreement(t, n, job, 2, consensustest.Result("a lie"), consensustest.Result("out"))
	hash, err := e.Disagreement.Report.Hash(n.ID)
	check(t, err)
	s := n.Statement(job, 2, consensus.KindReport, 0, hash)
	s.Sender, s.Incarnation = stranger.Key(), stranger.Incarnation
	return consensus.NewDisagreement(stranger.Credential, e.Disagreement.Certificate, s, e.Disagreement.Report, consensustest.Prove(stranger, s)[0])
}

func TestStatementsOfTwoSlotsAreNoEvidence(t *testing.T) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	first, second := doubleVote(n, job, 0, consensus.KindPrepare)
	credential, _ := n.Credential(first.Statement.Sender)
	for name, change := range map[string]func(*consensus.Statement){
		"round":       func(s *consensus.Statement) { s.Round++ },
		"height":      func(s *consensus.Statement) { s.Height++ },
		"kind":        func(s *consensus.Statement) { s.Kind = consensus.KindCommit },
		"incarnation": func(s *consensus.Statement) { s.Incarnation[3]++ },
		"sender":      func(s *consensus.Statement) { s.Sender = job.Roster[1].Peer },
		"job":         func(s *consensus.Statement) { s.Job[0]++ },
	} {
		other := second
		change(&other.Statement)
		if _, err := consensus.NewEquivocation(credential, first, other); err == nil {
			t.Errorf("another %s: evidence", name)
		}
	}
	if _, err := consensus.NewEquivocation(credential, first, first); err == nil {
		t.Error("one statement is evidence")
	}
}

func TestAnyChangedByteOfEvidenceMakesVerifyFail(t *testing.T) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	all := [][]byte{
		encodeEvidence(t, equivocation(t, n, job, 1)),
		encodeEvidence(t, disagreement(t, n, job, 1, consensustest.Result("a lie"), consensustest.Result("out"))),
	}
	rapid.Check(t, func(t *rapid.T) {
		data := bytes.Clone(rapid.SampledFrom(all).Draw(t, "evidence"))
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		data[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		if _, err := judge(data, n.Sealed); err == nil {
			t.Fatalf("byte %d of %d: convicts", at, len(data))
		}
	})
}

func TestEvidenceIsBounded(t *testing.T) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	data := encodeEvidence(t, equivocation(t, n, job, 1))
	if len(data) > consensus.MaxEquivocation/2 {
		t.Errorf("%d bytes", len(data))
	}
	if _, err := consensus.OpenEvidence(make([]byte, consensus.MaxEvidence+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
	for _, junk := range [][]byte{nil, {0xa0}, append(data, 0), data[:len(data)-1]} {
		if _, err := consensus.OpenEvidence(junk); err == nil {
			t.Errorf("%x opens", junk[:min(len(junk), 8)])
		}
	}
}
