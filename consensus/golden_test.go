package consensus_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// vector is one named value: its encoding, or a hash.
type vector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	hash bool
}

type vectors struct {
	t   *testing.T
	all []vector
}

func (v *vectors) encoded(name string, data []byte) {
	v.all = append(v.all, vector{Name: name, Hex: hex.EncodeToString(data)})
}

func (v *vectors) value(name string, value any) {
	data, err := codec.Marshal(value)
	if err != nil {
		v.t.Fatalf("%s: %v", name, err)
	}
	v.encoded(name, data)
}

func (v *vectors) hashed(name string, sum [32]byte) {
	v.all = append(v.all, vector{Name: name, Hex: hex.EncodeToString(sum[:]), hash: true})
}

// statementKinds are all of them.
var statementKinds = []consensus.Kind{
	consensus.KindAccept, consensus.KindStarted, consensus.KindRefuse, consensus.KindVoid, consensus.KindVoided,
	consensus.KindReportCommit, consensus.KindReport, consensus.KindPropose, consensus.KindPrepare,
	consensus.KindCommit, consensus.KindRoundChange, consensus.KindSuspect, consensus.KindGone,
	consensus.KindGrant, consensus.KindEnded, consensus.KindEndorse, consensus.KindReject,
}

func collect(t *testing.T) []vector {
	v := &vectors{t: t}
	n := consensustest.New(4)
	admitted(v, n)
	job := chartered(v, n)
	valued(v, n, job)
	for _, kind := range statementKinds {
		s := n.Statement(job, 1, kind, 2, consensus.Hash{3})
		s.Height = 300
		leaf, err := s.Leaf()
		check(t, err)
		v.encoded("leaf "+kind.String(), leaf)
	}
	for _, count := range []int{1, 2, 3, 5, 8, 512} {
		_, leaves := statements(count)
		root := newBatch(t, leaves).Root()
		v.hashed(fmt.Sprintf("root of %d", count), root)
		header, err := consensus.BatchHeader(n.ID, n.Nodes[0].Incarnation, uint64(count), root)
		check(t, err)
		v.encoded(fmt.Sprintf("batch header of %d", count), header)
	}
	highest, err := consensus.HighestHash(7, consensus.Hash{1})
	check(t, err)
	v.hashed("highest", highest)
	v.encoded("certificate", encode(t, n.Certify(job, n.Decide(job, consensustest.Result("out")))))
	v.encoded("equivocation", encodeEvidence(t, equivocation(t, n, job, 1)))
	v.encoded("disagreement", encodeEvidence(t, disagreement(t, n, job, 1, consensustest.Result("a lie"), consensustest.Result("out"))))
	handedOver(v)
	arrayed(v, n)
	rejected := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedRejected}
	v.value("value "+rejected.String(), rejected)
	hash, err := rejected.Hash(n.ID)
	check(t, err)
	v.hashed("hash of "+rejected.String(), hash)
	return v.all
}

func arrayed(v *vectors, n *consensustest.Network) {
	for _, count := range []int{1, 2, 7} {
		all := outcomes(count)
		tree, err := consensus.NewArrayTree(n.ID, all)
		check(v.t, err)
		v.hashed(fmt.Sprintf("root of %d tasks", count), tree.Root())
	}
	all := outcomes(7)
	a, _, pages := array(v.t, n, all)
	sealed, link, err := a.Seal(n.ID)
	check(v.t, err)
	v.encoded("array result", sealed)
	v.encoded("array page", pages[0])
	v.value("array task", all[3])
	v.value("value "+a.Value(link).String(), a.Value(link))
	proof, err := proven(v.t, n, all, 3).Encode(n.ID)
	check(v.t, err)
	v.encoded("task proof", proof)
}

func admitted(v *vectors, n *consensustest.Network) {
	v.encoded("genesis", n.Sealed)
	v.hashed("network", n.ID)
	digest, err := n.Genesis.Policy.Digest(n.ID)
	check(v.t, err)
	v.hashed("policy digest", digest)
	v.value("policy", n.Genesis.Policy)
	v.value("node credential", n.Nodes[0].Credential)
	v.value("user credential", n.Badge(n.User.Key(), admission.KindUser, func(c *admission.Credential) {
		c.Features = []string{"zone=b", "gpu"}
	}))
	ticket, err := admission.SignInvite(n.Sealed, admission.Invite{
		ID: make([]byte, 16), Role: admission.RoleMember, Kind: admission.KindNode, Weight: 1, Uses: 3,
		Expires: consensustest.Now, Validity: consensustest.Day, Addresses: []string{"/ip4/127.0.0.1/tcp/4001"},
	}, n.Authority)
	check(v.t, err)
	v.value("ticket", ticket)
	revocation, err := admission.SignRevocation(n.ID, admission.Revocation{
		Subject: n.Nodes[1].Key(), Issued: consensustest.Now, Reason: "lost",
	}, n.Authority)
	check(v.t, err)
	v.value("revocation", revocation)
}

func chartered(v *vectors, n *consensustest.Network) consensustest.Job {
	v.encoded("roll", n.RollSealed)
	job := n.Job(consensus.Byzantine, 1)
	v.encoded("charter", job.Signed.Bytes)
	v.hashed("job", job.ID)
	v.hashed("request", job.Request)
	full := n.Job(consensus.Crash, 1, func(c *consensus.Charter) {
		c.Owner = n.User.Key()
		c.Needs = consensus.Needs{Quantities: map[string]uint64{"memory": 1 << 30, "cpu": 1_000}}
		c.RunNeeds = consensus.Needs{Labels: []string{}, Quantities: map[string]uint64{"disk": 0}}
		cause := consensustest.Link("cause")
		c.Cause, c.Supersedes, c.Sealed = &cause, &job.ID, []byte{1}
		c.Ext = map[string]codec.Raw{"later": {0x82, 0x01, 0x61, 0x61}, "b": {0xf6}}
	})
	v.value("signed charter with everything", full.Signed)
	acting := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Assurance, c.Effects = consensus.Single, consensus.Once })
	v.encoded("charter of a task that acts once", acting.Signed.Bytes)
	owner, err := consensus.OwnerStatement(n.ID, full.Charter)
	check(v.t, err)
	v.encoded("owner statement", owner)
	cancel, err := consensus.SignCancel(n.ID, job.ID, n.Nodes[0])
	check(v.t, err)
	v.value("cancel", cancel)
	return job
}

func valued(v *vectors, n *consensustest.Network, job consensustest.Job) {
	for _, value := range values() {
		v.value("value "+value.String(), value)
		v.hashed("hash of "+value.String(), valueHash(v.t, n, value))
	}
	report := consensus.Report{Run: 1, Salt: [16]byte{9}, Value: consensustest.Result("out"), Use: map[string]uint64{"wall_ns": 5, "cpu_ns": 7}}
	v.value("report", report)
	hash, err := report.Hash(n.ID)
	check(v.t, err)
	v.hashed("report hash", hash)
	commit, err := report.CommitHash(n.ID, job.ID, n.Nodes[0].Key())
	check(v.t, err)
	v.hashed("report commit hash", commit)
	report.Normal = &consensus.Hash{7}
	v.value("report with its normal form", report)
	hash, err = report.Hash(n.ID)
	check(v.t, err)
	v.hashed("hash of a report with its normal form", hash)
	commit, err = report.CommitHash(n.ID, job.ID, n.Nodes[0].Key())
	check(v.t, err)
	v.hashed("commit hash of a report with its normal form", commit)
}

// handedOver is what heights above 0 add.
func handedOver(v *vectors) {
	n := consensustest.New(9)
	handover := consensustest.Handover([2]uint64{1, 0}, [2]uint64{4, 1})
	v.value("value "+handover.String(), handover)
	v.hashed("hash of "+handover.String(), valueHash(v.t, n, handover))
	job := n.Job(consensus.Byzantine, 2, replaceable)
	suspected, err := job.Roster[1].Hash()
	check(v.t, err)
	v.hashed("hash of a seat", suspected)
	chain, last := n.Chain(job, handover)
	v.hashed("decision of height 0", last.Previous)
	v.encoded("certificate with a chain", encode(v.t, n.Certify(job, n.DecideAt(last, consensustest.Result("out")), chain...)))
}

// values are one of every kind and class that ends a job, in the order in which they are taken.
func values() []consensus.Value {
	tree := consensustest.Link("out")
	return []consensus.Value{
		{Kind: consensus.Result, Tree: &tree},
		{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3, Tree: &tree},
		{Kind: consensus.Cancelled},
		{Kind: consensus.Failed, Class: consensus.FailedDisagreement},
		{Kind: consensus.Failed, Class: consensus.FailedTimeout},
		{Kind: consensus.Failed, Class: consensus.FailedHost},
		{Kind: consensus.Failed, Class: consensus.FailedDeadline},
	}
}

func TestFormatsMatchTheirGoldenVectors(t *testing.T) {
	const path = "testdata/golden.json"
	got, err := json.MarshalIndent(collect(t), "", " ")
	check(t, err)
	got = append(got, '\n')
	if *update {
		check(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if bytes.Equal(got, want) {
		return
	}
	var old []vector
	check(t, json.Unmarshal(want, &old))
	known := map[string]string{}
	for _, v := range old {
		known[v.Name] = v.Hex
	}
	for _, v := range collect(t) {
		if known[v.Name] != v.Hex {
			t.Errorf("%s changed:\n got %s\nwant %s", v.Name, v.Hex, known[v.Name])
		}
	}
	t.Error("the vectors differ from " + path)
}

func TestEveryFormatIsDagCborToOthers(t *testing.T) {
	for _, v := range collect(t) {
		if v.hash {
			continue
		}
		data, err := hex.DecodeString(v.Hex)
		check(t, err)
		builder := basicnode.Prototype.Any.NewBuilder()
		if err := dagcbor.Decode(builder, bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		var again bytes.Buffer
		check(t, dagcbor.Encode(builder.Build(), &again))
		if !bytes.Equal(again.Bytes(), data) {
			t.Errorf("%s encodes to other bytes", v.Name)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
