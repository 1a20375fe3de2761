package consensus_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// judged is a certificate for other implementations to judge: docs/protocol.md,
// section 11. Refuse is the number of the step that must refuse it, for the reason
// that is its name; one that must be accepted has none.
type judged struct {
	Name        string   `json:"name"`
	Refuse      int      `json:"refuse,omitempty"`
	Certificate string   `json:"certificate"`
	Job         string   `json:"job,omitempty"`
	Height      uint64   `json:"height,omitempty"`
	Value       string   `json:"value,omitempty"` // its hash
	Round       uint32   `json:"round,omitempty"`
	Signers     []int    `json:"signers,omitempty"`
	Roster      []string `json:"roster,omitempty"` // peers at that height
}

// court makes certificates that hold, and such as have one fault each.
type court struct {
	t   *testing.T
	n   *consensustest.Network
	all []judged
}

func (c *court) holds(name string, cert *consensus.Certificate) {
	data := encode(c.t, cert)
	v, err := cert.Verify(c.n.Sealed)
	if err != nil {
		c.t.Errorf("%s: %v", name, err)
		return
	}
	j := judged{Name: name, Certificate: hex.EncodeToString(data), Job: consensus.Hash(v.Job).String(),
		Height: v.Height.Number, Value: v.ValueHash.String(), Round: v.Round, Signers: v.Signers}
	for _, seat := range v.Height.Roster() {
		j.Roster = append(j.Roster, hex.EncodeToString(seat.Peer[:]))
	}
	c.all = append(c.all, j)
}

// refused adds bytes that no verifier may accept, and the step that says why.
func (c *court) refused(step int, why string, data []byte) {
	if err := verify(data, c.n.Sealed); err == nil {
		c.t.Errorf("accepted: %s", why)
	}
	c.all = append(c.all, judged{Name: why, Refuse: step, Certificate: hex.EncodeToString(data)})
}

func (c *court) forged(step int, why string, cert *consensus.Certificate) {
	c.refused(step, why, encode(c.t, cert))
}

// job draws and signs a charter, whatever the changes made of it after the draw.
func (c *court) job(fault consensus.Fault, f uint64, before, after func(*consensus.Charter)) consensustest.Job {
	charter := c.n.Charter(fault, f)
	if before != nil {
		before(charter)
	}
	c.n.Draw(charter)
	if after != nil {
		after(charter)
	}
	data, err := codec.Seal(consensus.TagCharter, c.n.ID[:], charter)
	check(c.t, err)
	job := consensustest.Job{Charter: charter, ID: consensus.JobID(codec.Sum(data)),
		Signed: consensus.SignedCharter{Bytes: data, Submitter: c.n.Nodes[0].Sign(data)}}
	if charter.Owner == c.n.User.Key() {
		owner, err := consensus.OwnerStatement(c.n.ID, charter)
		check(c.t, err)
		s := c.n.User.Sign(owner)
		job.Signed.Owner = &s
	}
	return job
}

// charter adds the certificate of a result under a charter with one fault.
func (c *court) charter(step int, why string, change func(*consensus.Charter)) {
	c.charterOf(consensus.Byzantine, 1, step, why, change)
}

// charterOf is charter for a quorum of that model and f.
func (c *court) charterOf(fault consensus.Fault, f uint64, step int, why string, change func(*consensus.Charter)) {
	job := c.job(fault, f, nil, change)
	result := consensustest.Result("out")
	t, err := fault.For(f)
	check(c.t, err)
	commits := c.n.Votes(job, consensus.KindCommit, 0, valueHash(c.t, c.n, result), []int{0, 1, 2}[:t.Quorum]...)
	c.forged(step, why, c.n.Certify(job, decision(result, commits)))
}

func (c *court) accepted() {
	n, result := c.n, consensustest.Result("out")
	for _, q := range quorums {
		if q.f > 2 {
			continue
		}
		job := n.Job(q.fault, q.f)
		c.holds("result, "+q.name, n.Certify(job, n.Decide(job, result)))
	}
	job := n.Job(consensus.Byzantine, 1)
	for _, value := range values()[1:] {
		c.holds(value.String(), n.Certify(job, n.Decide(job, value)))
	}
	for _, assurance := range []consensus.Assurance{consensus.Single, consensus.MajorityEqual} {
		job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Assurance = assurance })
		c.holds("assurance "+string(assurance)+" of four", n.Certify(job, n.Decide(job, result)))
	}
	for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
		job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Assurance, c.Effects = consensus.Single, effects })
		c.holds("effects "+string(effects), n.Certify(job, n.Decide(job, result)))
	}
	late := n.Votes(job, consensus.KindCommit, 70_000, valueHash(c.t, n, result), 0, 2, 3)
	c.holds("of a late round, other signers", n.Certify(job, decision(result, late)))
	owned := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	c.holds("the owner is another key", n.Certify(owned, n.Decide(owned, result)))
	extended := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) {
		c.Ext = map[string]codec.Raw{"later": {0x82, 0x01, 0x61, 0x61}, "b": {0xf6}}
	})
	c.holds("unknown extensions", n.Certify(extended, n.Decide(extended, result)))
	for _, chain := range []struct {
		name      string
		f         uint64
		handovers []consensus.Value
	}{
		{"a member replaced", 1, []consensus.Value{consensustest.Handover([2]uint64{1, 0})}},
		{"two replaced at once", 2, []consensus.Value{consensustest.Handover([2]uint64{0, 0}, [2]uint64{5, 1})}},
		{"a reserve replaced in its turn", 2, []consensus.Value{consensustest.Handover([2]uint64{0, 0}), consensustest.Handover([2]uint64{0, 1})}},
	} {
		job := n.Job(consensus.Byzantine, chain.f, replaceable)
		decided, last := n.Chain(job, chain.handovers...)
		c.holds(chain.name, n.Certify(job, n.DecideAt(last, result), decided...))
	}
}

// endorsed are certificates of jobs that have a check.
func (c *court) endorsed() {
	n, rejected := c.n, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedRejected}
	checked := func(c *consensus.Charter) { c.Assurance, c.Runners = consensus.Endorsed, 1 }
	job := n.Job(consensus.Byzantine, 1, checked)
	c.holds("assurance endorsed of four, one runner", n.Certify(job, n.Decide(job, consensustest.Result("out"))))
	c.holds("assurance endorsed: failed rejected", n.Certify(job, n.Decide(job, rejected)))
	plain := n.Job(consensus.Byzantine, 1)
	c.forged(8, "rejected, and nothing was checked", n.Certify(plain, n.Decide(plain, rejected)))
	c.forged(8, "a disagreement where one report counts", n.Certify(job, n.Decide(job, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDisagreement})))
	c.charterOf(consensus.Crash, 1, 4, "assurance endorsed where nobody lies", func(c *consensus.Charter) { c.Assurance = consensus.Endorsed })
	c.charterOf(consensus.Byzantine, 0, 4, "assurance endorsed of one", func(c *consensus.Charter) { c.Assurance = consensus.Endorsed })
}

func (c *court) badForm() {
	n := c.n
	job := n.Job(consensus.Byzantine, 1)
	made := func() *consensus.Certificate { return n.Certify(job, n.Decide(job, consensustest.Result("out"))) }
	data := encode(c.t, made())
	c.refused(1, "a byte after the certificate", append(bytes.Clone(data), 0))
	c.refused(1, "a byte short", data[:len(data)-1])
	c.refused(1, "v in two bytes", bytes.Replace(data, []byte{0x61, 'v', 1}, []byte{0x61, 'v', 0x18, 1}, 1))
	unknown := bytes.Clone(data)
	unknown[0]++ // one pair more
	c.refused(1, "a key that no certificate has", append(unknown, 0x6b, 'u', 'n', 'k', 'n', 'o', 'w', 'n', ' ', 'k', 'e', 'y', 1))
	second := made()
	second.V = 2
	c.forged(2, "another version", second)
	other := consensustest.New(12, func(g *admission.Genesis) { g.Nonce[0] = 1 })
	foreign := other.Job(consensus.Byzantine, 1)
	c.forged(3, "of another network", other.Certify(foreign, other.Decide(foreign, consensustest.Result("out"))))
}

func (c *court) badCharters() {
	n := c.n
	c.charter(4, "a charter of another version", func(c *consensus.Charter) { c.V = 2 })
	c.charter(4, "an unknown critical extension", func(c *consensus.Charter) { c.Crit = []string{"later"} })
	c.charter(4, "an unknown fault model", func(c *consensus.Charter) { c.Fault = 3 })
	c.charter(4, "dates out of order", func(c *consensus.Charter) { c.StartBy = c.AcceptBy - 1 })
	c.charter(4, "a job of a millisecond more than 3,650 days", func(c *consensus.Charter) { c.End = c.Issued + 10*365*consensustest.Day + 1 })
	c.charter(4, "an unknown assurance", func(c *consensus.Charter) { c.Assurance = "certain" })
	c.charter(4, "unknown effects", func(c *consensus.Charter) { c.Assurance, c.Effects = consensus.Single, "twice" })
	c.charter(4, "what acts, replicated", func(c *consensus.Charter) { c.Effects = consensus.Once })
	c.charterOf(consensus.Byzantine, 0, 4, "assurance replicated of one", func(c *consensus.Charter) { c.Assurance = consensus.Replicated })
	c.charterOf(consensus.Crash, 1, 4, "assurance majority-equal where one report counts", func(c *consensus.Charter) { c.Assurance = consensus.MajorityEqual })
	c.charter(4, "a beacon", func(c *consensus.Charter) { c.Beacon = []byte{1} })
	c.charter(4, "a member too many", func(c *consensus.Charter) { c.Roster = append(c.Roster, seatOf(n.NewNode("stranger"))) })
	c.charter(4, "a peer in two seats", func(c *consensus.Charter) { c.Roster[3] = c.Roster[1] })
	c.charter(4, "a reserve that has a seat", func(c *consensus.Charter) { c.Reserves = c.Roster[3:] })
	c.charter(4, "more than f reserves", func(c *consensus.Charter) { c.Reserves = append(c.Reserves, seatOf(n.NewNode("stranger"))) })
	c.charter(4, "more than f replacements", func(c *consensus.Charter) { c.Replace = 2 })
	c.charter(4, "fewer runners than must match", func(c *consensus.Charter) { c.Runners = 1 })
	c.charter(4, "labels out of order", func(c *consensus.Charter) { c.Needs.Labels = []string{"b", "a"} })
	c.charter(4, "a reserve of small order", func(c *consensus.Charter) { c.Reserves[0].Peer = admission.Key{1} })
	c.charter(4, "a task named by no whole SHA-256", func(charter *consensus.Charter) { charter.Task = c.weak() })

	owned := c.job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() }, nil)
	result := consensustest.Result("out")
	made := func() *consensus.Certificate { return n.Certify(owned, n.Decide(owned, result)) }
	bad := made()
	bad.Charter.Submitter[5] ^= 1
	c.forged(5, "another signature for the submitter's", bad)
	bad = made()
	bad.Charter.Owner = nil
	c.forged(6, "the owner has not signed", bad)
	bad = made()
	forged := n.Nodes[0].Sign([]byte("anything"))
	bad.Charter.Owner = &forged
	c.forged(6, "another's signature for the owner's", bad)
	job := n.Job(consensus.Byzantine, 1)
	bad = n.Certify(job, n.Decide(job, result))
	bad.Charter.Owner = &forged
	c.forged(6, "an owner's signature where the submitter is the owner", bad)
}

// weak is a link by the identity "hash": it would let two contents bear one name.
func (c *court) weak() codec.Link {
	mh, err := multihash.Sum([]byte("task"), multihash.IDENTITY, -1)
	check(c.t, err)
	return codec.LinkTo(cid.NewCidV1(cid.DagCBOR, mh))
}

func TestCertificatesMatchTheirVerdicts(t *testing.T) {
	c := &court{t: t, n: consensustest.New(21)}
	c.accepted()
	c.badForm()
	c.badCharters()
	c.badDecisions()
	c.badChains()
	c.badHandovers()
	c.badCredentials()
	c.endorsed()
	c.edges()
	matches(t, "testdata/certificates.json", struct {
		Genesis      string   `json:"genesis"`
		Certificates []judged `json:"certificates"`
	}{hex.EncodeToString(c.n.Sealed), c.all})
}

// matches holds vectors against the file of them, or writes it.
func matches(t *testing.T, path string, vectors any) {
	t.Helper()
	got, err := json.MarshalIndent(vectors, "", " ")
	check(t, err)
	got = append(got, '\n')
	if *update {
		check(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("the vectors differ from %s: go test ./consensus -run Match -update, and look at the difference", path)
	}
}
