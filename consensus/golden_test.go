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

// vector is one named value: its encoding, or the SHA-256 of what Of holds, or
// the root of the tree over Leaves.
type vector struct {
	Name   string   `json:"name"`
	Hex    string   `json:"hex"`
	Of     string   `json:"sha256_of,omitempty"`
	Leaves []string `json:"root_of,omitempty"`
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

// hashed takes what is hashed and what the code makes of it.
func (v *vectors) hashed(name string, of []byte, sum [32]byte) {
	v.t.Helper()
	if codec.Sum(of) != sum {
		v.t.Errorf("%s is not the hash of %x", name, of)
	}
	v.all = append(v.all, vector{Name: name, Hex: hex.EncodeToString(sum[:]), Of: hex.EncodeToString(of)})
}

// sealed is what the protocol says is hashed: fields in a list, with tag and network.
func (v *vectors) sealed(tag string, network admission.Network, fields ...any) []byte {
	return v.sealedValue(tag, network, codec.Raw(v.unsealed(fields...)))
}

// sealedValue is sealed for a body that is one value.
func (v *vectors) sealedValue(tag string, network admission.Network, body any) []byte {
	data, err := codec.Seal(tag, network[:], body)
	check(v.t, err)
	return data
}

// unsealed is a list of fields.
func (v *vectors) unsealed(fields ...any) []byte {
	list := []byte{0x80 | byte(len(fields))}
	for _, field := range fields {
		data, err := codec.Marshal(field)
		check(v.t, err)
		list = append(list, data...)
	}
	return list
}

func (v *vectors) root(name string, leaves [][]byte, root [32]byte) {
	r := vector{Name: name, Hex: hex.EncodeToString(root[:])}
	for _, leaf := range leaves {
		r.Leaves = append(r.Leaves, hex.EncodeToString(leaf))
	}
	v.all = append(v.all, r)
}

func collect(t *testing.T) []vector {
	v := &vectors{t: t}
	n := consensustest.New(4)
	admitted(v, n)
	job := chartered(v, n)
	valued(v, n, job)
	said(v, n, job)
	for _, count := range []int{1, 2, 3, 5, 8, 512} {
		leaves := make([][]byte, count)
		for i := range leaves {
			leaves[i] = []byte{byte(i >> 8), byte(i)} // a batch does not ask what its leaves are
		}
		root := newBatch(t, leaves).Root()
		v.root(fmt.Sprintf("root of %d", count), leaves, root)
		header, err := consensus.BatchHeader(n.ID, n.Nodes[0].Incarnation, uint64(count), root)
		check(t, err)
		v.encoded(fmt.Sprintf("batch header of %d", count), header)
	}
	highest, err := consensus.HighestHash(7, consensus.Hash{1})
	check(t, err)
	v.hashed("highest", v.unsealed("muster/highest/1", 7, consensus.Hash{1}), highest)
	v.encoded("certificate", encode(t, n.Certify(job, n.Decide(job, consensustest.Result("out")))))
	v.encoded("equivocation", encodeEvidence(t, equivocation(t, n, job, 1)))
	v.encoded("disagreement", encodeEvidence(t, disagreement(t, n, job, 1, consensustest.Result("a lie"), consensustest.Result("out"))))
	handedOver(v)
	arrayed(v, n)
	rejected := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedRejected}
	v.value("value "+rejected.String(), rejected)
	hash, err := rejected.Hash(n.ID)
	check(t, err)
	v.hashed("hash of "+rejected.String(), v.sealedValue(consensus.TagValue, n.ID, rejected), hash)
	return v.all
}

// said is a leaf of each kind of statement, with what the kind has for height,
// previous decision, round and value (protocol, section 2).
func said(v *vectors, n *consensustest.Network, job consensustest.Job) {
	report := consensus.Report{Run: 1, Salt: [16]byte{9}, Value: consensustest.Result("out"), Use: map[string]uint64{}}
	commit, err := report.CommitHash(n.ID, job.ID, job.Roster[1].Peer)
	check(v.t, err)
	reported, err := report.Hash(n.ID)
	check(v.t, err)
	highest, err := consensus.HighestHash(1, valueHash(v.t, n, report.Value))
	check(v.t, err)
	other, err := job.Roster[2].Hash()
	check(v.t, err)
	older := job.Roster[1]
	older.Incarnation = admission.Incarnation{1}
	gone, err := older.Hash()
	check(v.t, err)
	value := valueHash(v.t, n, report.Value)
	for _, s := range []struct {
		name  string
		kind  consensus.Kind
		above bool // at height 300, else 0
		round uint32
		value consensus.Hash
	}{
		{"accept", consensus.KindAccept, false, 0, consensus.Hash{}},
		{"accept of a reserve", consensus.KindAccept, true, 0, consensus.Hash{}},
		{"started", consensus.KindStarted, false, 0, consensus.Hash{}},
		{"refuse: busy", consensus.KindRefuse, false, 0, codec.Sum([]byte("busy"))},
		{"void", consensus.KindVoid, false, 0, consensus.Hash{}},
		{"voided", consensus.KindVoided, false, 0, consensus.Hash{}},
		{"reportcommit", consensus.KindReportCommit, false, 0, commit},
		{"report", consensus.KindReport, false, 0, reported},
		{"propose", consensus.KindPropose, true, 2, value},
		{"prepare", consensus.KindPrepare, true, 2, value},
		{"commit", consensus.KindCommit, true, 2, value},
		{"commit of height 0", consensus.KindCommit, false, 2, value},
		{"roundchange", consensus.KindRoundChange, true, 2, highest},
		{"roundchange without a certificate", consensus.KindRoundChange, true, 2, consensus.Hash{}},
		{"suspect", consensus.KindSuspect, true, 0, other},
		{"gone", consensus.KindGone, false, 0, gone},
		{"grant of run 5", consensus.KindGrant, true, 5, other},
		{"ended run 5", consensus.KindEnded, false, 5, consensus.Hash{}},
		{"endorse", consensus.KindEndorse, false, 0, value},
		{"reject", consensus.KindReject, false, 0, value},
	} {
		statement := n.Statement(job, 1, s.kind, s.round, s.value)
		if s.above {
			statement.Height, statement.Previous = 300, consensus.Hash{5}
		}
		leaf, err := statement.Leaf()
		check(v.t, err)
		v.encoded("leaf "+s.name, leaf)
	}
}

func arrayed(v *vectors, n *consensustest.Network) {
	for _, count := range []int{1, 2, 7} {
		all := outcomes(count)
		tree, err := consensus.NewArrayTree(n.ID, all)
		check(v.t, err)
		leaves := make([][]byte, count)
		for i, outcome := range all {
			leaves[i] = v.sealedValue(consensus.TagArrayTask, n.ID, outcome)
		}
		v.root(fmt.Sprintf("root of %d tasks", count), leaves, tree.Root())
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
	v.hashed("network", n.Sealed, n.ID)
	digest, err := n.Genesis.Policy.Digest(n.ID)
	check(v.t, err)
	v.hashed("policy digest", v.sealedValue(admission.TagPolicy, n.ID, n.Genesis.Policy), digest)
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
	v.hashed("job", job.Signed.Bytes, job.ID)
	v.hashed("request", v.sealed(consensus.TagRequest, n.ID, job.Owner, "request"), job.Request)
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
		v.hashed("hash of "+value.String(), v.sealedValue(consensus.TagValue, n.ID, value), valueHash(v.t, n, value))
	}
	report := consensus.Report{Run: 1, Salt: [16]byte{9}, Value: consensustest.Result("out"), Use: map[string]uint64{"wall_ns": 5, "cpu_ns": 7}}
	v.value("report", report)
	hash, err := report.Hash(n.ID)
	check(v.t, err)
	v.hashed("report hash", v.sealedValue(consensus.TagReport, n.ID, report), hash)
	commit, err := report.CommitHash(n.ID, job.ID, n.Nodes[0].Key())
	check(v.t, err)
	member := n.Nodes[0].Key()
	v.hashed("report commit hash", v.sealed(consensus.TagCommit, n.ID, job.ID, report.Run, member, report.Salt, report.Value), commit)
	report.Normal = &consensus.Hash{7}
	v.value("report with its normal form", report)
	hash, err = report.Hash(n.ID)
	check(v.t, err)
	v.hashed("hash of a report with its normal form", v.sealedValue(consensus.TagReport, n.ID, report), hash)
	commit, err = report.CommitHash(n.ID, job.ID, member)
	check(v.t, err)
	v.hashed("commit hash of a report with its normal form",
		v.sealed(consensus.TagCommit, n.ID, job.ID, report.Run, member, report.Salt, report.Value, *report.Normal), commit)
}

// handedOver is what heights above 0 add.
func handedOver(v *vectors) {
	n := consensustest.New(9)
	handover := consensustest.Handover([2]uint64{1, 0}, [2]uint64{4, 1})
	v.value("value "+handover.String(), handover)
	v.hashed("hash of "+handover.String(), v.sealedValue(consensus.TagValue, n.ID, handover), valueHash(v.t, n, handover))
	job := n.Job(consensus.Byzantine, 2, replaceable)
	suspected, err := job.Roster[1].Hash()
	check(v.t, err)
	v.hashed("hash of a seat", v.unsealed("muster/seat/1", job.Roster[1]), suspected)
	chain, last := n.Chain(job, handover)
	v.hashed("decision of height 0", v.sealed(consensus.TagChain, n.ID, job.ID, uint64(0), job.ID, valueHash(v.t, n, handover)), last.Previous)
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
		text := v.Hex
		if v.Of != "" {
			text = v.Of
		}
		if len(v.Leaves) > 0 {
			continue
		}
		data, err := hex.DecodeString(text)
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
