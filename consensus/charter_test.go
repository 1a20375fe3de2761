package consensus_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/multiformats/go-multihash"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

func TestThresholdsFollowFromModelAndFaults(t *testing.T) {
	for _, tc := range []struct {
		fault consensus.Fault
		f     uint64
		want  consensus.Thresholds
	}{
		{consensus.Byzantine, 0, consensus.Thresholds{N: 1, Quorum: 1, Skip: 1, Match: 1, Suspicion: 1}},
		{consensus.Byzantine, 1, consensus.Thresholds{N: 4, Quorum: 3, Skip: 2, Match: 2, Suspicion: 2}},
		{consensus.Byzantine, 10, consensus.Thresholds{N: 31, Quorum: 21, Skip: 11, Match: 11, Suspicion: 11}},
		{consensus.Crash, 0, consensus.Thresholds{N: 1, Quorum: 1, Skip: 1, Match: 1, Suspicion: 1}},
		{consensus.Crash, 1, consensus.Thresholds{N: 3, Quorum: 2, Skip: 1, Match: 1, Suspicion: 2}},
		{consensus.Crash, 15, consensus.Thresholds{N: 31, Quorum: 16, Skip: 1, Match: 1, Suspicion: 16}},
	} {
		if got, err := tc.fault.For(tc.f); err != nil || got != tc.want {
			t.Errorf("%s f=%d: %+v, %v", tc.fault, tc.f, got, err)
		}
	}
	for _, tc := range []struct {
		fault consensus.Fault
		f     uint64
	}{{consensus.Byzantine, 11}, {consensus.Crash, 16}, {0, 1}, {3, 1}, {consensus.Crash, 1 << 63}} {
		if _, err := tc.fault.For(tc.f); err == nil {
			t.Errorf("%s f=%d is accepted", tc.fault, tc.f)
		}
	}
}

func TestChartersThatNoQuorumCanServeAreRefused(t *testing.T) {
	n := consensustest.New(12)
	weak, err := multihash.Sum([]byte("spec"), multihash.IDENTITY, -1)
	check(t, err)
	for name, change := range map[string]func(*consensus.Charter){
		"version":              func(c *consensus.Charter) { c.V = 2 },
		"critical extension":   func(c *consensus.Charter) { c.Crit = []string{"later"} },
		"fault model":          func(c *consensus.Charter) { c.Fault = 3 },
		"issued":               func(c *consensus.Charter) { c.Issued = 0 },
		"accept before issue":  func(c *consensus.Charter) { c.AcceptBy = c.Issued - 1 },
		"start before accept":  func(c *consensus.Charter) { c.StartBy = c.AcceptBy - 1 },
		"deadline before":      func(c *consensus.Charter) { c.Deadline = c.StartBy - 1 },
		"end before deadline":  func(c *consensus.Charter) { c.End = c.Deadline - 1 },
		"too long":             func(c *consensus.Charter) { c.End = c.Issued + 11*365*consensustest.Day },
		"timeout":              func(c *consensus.Charter) { c.Timeout = 0 },
		"timeout too long":     func(c *consensus.Charter) { c.Timeout = c.Deadline - c.Issued + 1 },
		"attempt":              func(c *consensus.Charter) { c.Attempt = 4 },
		"no spec":              func(c *consensus.Charter) { c.Spec = codec.Link{} },
		"a spec that is data":  func(c *consensus.Charter) { c.Spec = codec.LinkTo(cid.NewCidV1(cid.Raw, weak)) },
		"no task":              func(c *consensus.Charter) { c.Task = codec.Link{} },
		"no roll":              func(c *consensus.Charter) { c.Roll = codec.Link{} },
		"assurance":            func(c *consensus.Charter) { c.Assurance = "" },
		"an assurance unknown": func(c *consensus.Charter) { c.Assurance = "sworn" },
		"effects unknown":      func(c *consensus.Charter) { c.Assurance, c.Effects = consensus.Single, "twice" },
		"it acts in many":      func(c *consensus.Charter) { c.Effects = consensus.AtLeastOnce },
		"equal to nobody": func(c *consensus.Charter) {
			c.Fault, c.F, c.Assurance = consensus.Crash, 1, consensus.MajorityEqual
			c.Roster = c.Roster[:3]
			c.Runners = 3
		},
		"checked where nobody lies": func(c *consensus.Charter) {
			c.Fault, c.F, c.Assurance = consensus.Crash, 1, consensus.Endorsed
			c.Roster = c.Roster[:3]
			c.Runners = 3
		},
		"beacon":               func(c *consensus.Charter) { c.Beacon = []byte{1} },
		"roster short":         func(c *consensus.Charter) { c.Roster = c.Roster[:3] },
		"roster long":          func(c *consensus.Charter) { c.Roster, c.Reserves = append(c.Roster, c.Reserves...), nil },
		"two reserves":         func(c *consensus.Charter) { c.Reserves = append(c.Reserves, seatOf(n.NewNode("more"))) },
		"replacements":         func(c *consensus.Charter) { c.Replace = 2 },
		"one runner, two runs": func(c *consensus.Charter) { c.Runners = 1 },
		"five runners":         func(c *consensus.Charter) { c.Runners = 5 },
		"output":               func(c *consensus.Charter) { c.Limits.Output = 1<<40 + 1 },
		"a peer twice":         func(c *consensus.Charter) { c.Roster[0] = c.Roster[1] },
		"a peer in reserve":    func(c *consensus.Charter) { c.Reserves[0].Peer = c.Roster[1].Peer },
		"a small-order peer":   func(c *consensus.Charter) { c.Roster[0].Peer = admission.Key{1} },
		"a small-order asker":  func(c *consensus.Charter) { c.Submitter = admission.Key{1} },
		"a small-order owner":  func(c *consensus.Charter) { c.Owner = admission.Key{} },
		"labels unsorted":      func(c *consensus.Charter) { c.Needs.Labels = []string{"b", "a"} },
		"labels twice":         func(c *consensus.Charter) { c.RunNeeds.Labels = []string{"a", "a"} },
		"a nameless label":     func(c *consensus.Charter) { c.Needs.Labels = []string{""} },
		"a nameless quantity":  func(c *consensus.Charter) { c.Needs.Quantities = map[string]uint64{"": 1} },
		"a long name":          func(c *consensus.Charter) { c.Project = strings.Repeat("x", 129) },
	} {
		c := *n.Job(consensus.Byzantine, 1).Charter
		check(t, c.Validate())
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, _, err := consensus.SignCharter(n.ID, &c, n.Nodes[0]); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func seatOf(n consensustest.Node) consensus.Seat {
	return consensus.Seat{Peer: n.Key(), Incarnation: n.Incarnation}
}

func TestUnknownExtensionsAreKeptAndUnknownCriticalOnesUnsupported(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Ext = map[string]codec.Raw{"later": {0x01}} })
	c, id, err := job.Signed.Open(n.ID)
	if err != nil || id != job.ID || !maps.EqualFunc(c.Ext, job.Ext, func(a, b codec.Raw) bool { return bytes.Equal(a, b) }) {
		t.Errorf("%v, %v", c, err)
	}
	c.Crit = []string{"later"}
	if err := c.Validate(); !errors.Is(err, consensus.ErrUnsupported) {
		t.Error(err)
	}
	c.Crit, c.Ext = nil, map[string]codec.Raw{"float": {0xf9, 0x3c, 0x00}}
	if _, _, err := consensus.SignCharter(n.ID, c, n.Nodes[0]); err == nil {
		t.Error("an extension that is not dag-cbor is signed")
	}
}

func TestACharterOpensForItsNetworkAndSignersOnly(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	if _, _, err := job.Signed.Open(admission.Network{1}); err == nil {
		t.Error("opened for another network")
	}
	other := job.Signed
	other.Submitter = n.Nodes[1].Sign(other.Bytes)
	if _, _, err := other.Open(n.ID); !errors.Is(err, admission.ErrSignature) {
		t.Errorf("another's signature: %v", err)
	}
	idle := job.Signed
	idle.Owner = &idle.Submitter
	if _, _, err := idle.Open(n.ID); err == nil {
		t.Error("an owner's signature beside the submitter's own")
	}
	big := job.Signed
	big.Bytes = make([]byte, consensus.MaxCharter+1)
	if _, _, err := big.Open(n.ID); err == nil {
		t.Error("opened over its size")
	}
}

func TestTheLargestQuorumFitsACharter(t *testing.T) {
	n := consensustest.New(50)
	job := n.Job(consensus.Byzantine, 10)
	if len(job.Roster) != 31 || len(job.Reserves) != 10 || len(job.Signed.Bytes) > consensus.MaxCharter {
		t.Errorf("%d members, %d reserves, %d bytes", len(job.Roster), len(job.Reserves), len(job.Signed.Bytes))
	}
	full := *job.Charter
	full.Ext = map[string]codec.Raw{"x": append([]byte{0x59, 0x20, 0x00}, make([]byte, 8<<10)...)}
	if _, _, err := consensus.SignCharter(n.ID, &full, n.Nodes[0]); err == nil {
		t.Error("signed over its size")
	}
}

func TestAJobIdReadsBack(t *testing.T) {
	id := consensus.JobID{1, 2, 3}
	if got, err := consensus.ParseJobID(id.String()); err != nil || got != id {
		t.Errorf("%s, %v", got, err)
	}
	for _, s := range []string{"", "bafy", consensustest.Link("x").String()[:40], cid.NewCidV1(cid.Raw, id.CID().Hash()).String()} {
		if _, err := consensus.ParseJobID(s); err == nil {
			t.Errorf("%q is read", s)
		}
	}
}

func TestACancelIsTheOwnersOrAnAuthoritysAndOfItsJobOnly(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	for _, signer := range []struct {
		name string
		by   admission.Signer
		good bool
	}{{"owner", n.User, true}, {"authority", n.Authority, true}, {"submitter", n.Nodes[0], false}, {"stranger", consensustest.Key("stranger"), false}} {
		c, err := consensus.SignCancel(n.ID, job.ID, signer.by)
		check(t, err)
		if err := c.Check(n.Genesis, n.ID, job.ID, job.Charter); (err == nil) != signer.good {
			t.Errorf("%s: %v", signer.name, err)
		}
		if err := c.Check(n.Genesis, n.ID, consensus.JobID{1}, job.Charter); err == nil {
			t.Errorf("%s: of another job", signer.name)
		}
		c.By = n.User.Key()
		c.Signature[0] ^= 1
		if err := c.Check(n.Genesis, n.ID, job.ID, job.Charter); err == nil {
			t.Errorf("%s: altered", signer.name)
		}
	}
}

func TestValuesWhosePartsDoNotGoTogetherAreRefused(t *testing.T) {
	tree := consensustest.Link("tree")
	weak, err := multihash.Sum([]byte("tree"), multihash.IDENTITY, -1)
	check(t, err)
	data := codec.LinkTo(cid.NewCidV1(cid.Raw, weak))
	for _, v := range values() {
		check(t, v.Validate())
	}
	for name, v := range map[string]consensus.Value{
		"nothing":                  {},
		"result without tree":      {Kind: consensus.Result},
		"result with class":        {Kind: consensus.Result, Class: consensus.FailedTrap, Tree: &tree},
		"result with code":         {Kind: consensus.Result, Code: 1, Tree: &tree},
		"result that is data":      {Kind: consensus.Result, Tree: &data},
		"cancelled with tree":      {Kind: consensus.Cancelled, Tree: &tree},
		"trap without tree":        {Kind: consensus.Failed, Class: consensus.FailedTrap},
		"exit 0":                   {Kind: consensus.Failed, Class: consensus.FailedExit, Tree: &tree},
		"timeout with tree":        {Kind: consensus.Failed, Class: consensus.FailedTimeout, Tree: &tree},
		"deadline with code":       {Kind: consensus.Failed, Class: consensus.FailedDeadline, Code: 1},
		"failed without class":     {Kind: consensus.Failed},
		"failed of no known class": {Kind: consensus.Failed, Class: 8},
		"handover":                 {Kind: 4},
	} {
		if err := v.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		_ = v.String() // whatever a peer sends can be logged
	}
}

func TestMembersTakeValuesInOneOrder(t *testing.T) {
	all := values()
	tree := consensustest.Link("out")
	for class := consensus.FailedTrap; class <= consensus.FailedLimit; class++ {
		v := consensus.Value{Kind: consensus.Failed, Class: class, Code: 1, Tree: &tree}
		for i, w := range all {
			if got, want := v.Less(w, consensus.Hash{1}, consensus.Hash{2}), i >= 1; got != want {
				t.Errorf("%s before %s: %v", v, w, got)
			}
		}
	}
	for i, v := range all {
		for j, w := range all {
			if got, want := v.Less(w, consensus.Hash{2}, consensus.Hash{1}), i < j; got != want {
				t.Errorf("%s before %s: %v", v, w, got)
			}
		}
	}
}

func TestReportsSayWhatARunCanEndIn(t *testing.T) {
	good := consensus.Report{Run: 1, Value: consensustest.Result("out"), Use: map[string]uint64{"cpu_ns": 1}}
	check(t, good.Validate())
	for name, change := range map[string]func(*consensus.Report){
		"run 0":     func(r *consensus.Report) { r.Run = 0 },
		"cancelled": func(r *consensus.Report) { r.Value = consensus.Value{Kind: consensus.Cancelled} },
		"disagreement": func(r *consensus.Report) {
			r.Value = consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDisagreement}
		},
		"deadline": func(r *consensus.Report) {
			r.Value = consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDeadline}
		},
		"no tree":      func(r *consensus.Report) { r.Value = consensus.Value{Kind: consensus.Result} },
		"nameless use": func(r *consensus.Report) { r.Use = map[string]uint64{"": 1} },
		"much use": func(r *consensus.Report) {
			r.Use = map[string]uint64{}
			for i := range 17 {
				r.Use[strings.Repeat("x", i+1)] = 1
			}
		},
	} {
		r := good
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAReportCommitBindsJobRunMemberSaltAndValue(t *testing.T) {
	n := consensustest.New(2)
	report := consensus.Report{Run: 1, Salt: [16]byte{1}, Value: consensustest.Result("out")}
	commit := func(r consensus.Report, network admission.Network, job consensus.JobID, member admission.Key) consensus.Hash {
		h, err := r.CommitHash(network, job, member)
		check(t, err)
		return h
	}
	base := commit(report, n.ID, consensus.JobID{}, n.Nodes[0].Key())
	run, salt, value := report, report, report
	run.Run, salt.Salt[0], value.Value = 2, 2, consensustest.Result("other")
	for name, h := range map[string]consensus.Hash{
		"network": commit(report, admission.Network{}, consensus.JobID{}, n.Nodes[0].Key()),
		"job":     commit(report, n.ID, consensus.JobID{1}, n.Nodes[0].Key()),
		"member":  commit(report, n.ID, consensus.JobID{}, n.Nodes[1].Key()),
		"run":     commit(run, n.ID, consensus.JobID{}, n.Nodes[0].Key()),
		"salt":    commit(salt, n.ID, consensus.JobID{}, n.Nodes[0].Key()),
		"value":   commit(value, n.ID, consensus.JobID{}, n.Nodes[0].Key()),
	} {
		if h == base {
			t.Errorf("%s is not bound", name)
		}
	}
}

func TestARollOpensIfEveryEntryIsACredentialedNode(t *testing.T) {
	n := consensustest.New(6)
	if r, err := consensus.OpenRoll(n.Genesis, n.ID, n.RollSealed); err != nil || len(r.Entries) != 6 {
		t.Fatal(err)
	}
	if n.RollLink.Cid != codec.CID(n.RollSealed) {
		t.Error("the link is not to the bytes")
	}
	if _, err := consensus.OpenRoll(n.Genesis, admission.Network{1}, n.RollSealed); err == nil {
		t.Error("opened for another network")
	}
	for name, change := range map[string]func(*consensus.Roll){
		"version":           func(r *consensus.Roll) { r.V = 2 },
		"unordered":         func(r *consensus.Roll) { slices.Reverse(r.Entries) },
		"twice":             func(r *consensus.Roll) { r.Entries[1] = r.Entries[0] },
		"another's":         func(r *consensus.Roll) { r.Entries[0].Credential = r.Entries[1].Credential },
		"a user":            func(r *consensus.Roll) { r.Entries[0].Credential = n.Badge(r.Entries[0].Peer, admission.KindUser) },
		"features unsorted": func(r *consensus.Roll) { r.Entries[0].Features = []string{"b", "a"} },
		"33 features":       func(r *consensus.Roll) { r.Entries[0].Features = make([]string, 33) },
		"a long group":      func(r *consensus.Roll) { r.Entries[0].Group = strings.Repeat("x", 65) },
		"a forged badge":    func(r *consensus.Roll) { r.Entries[0].Credential.Body.Weight = 100 },
		"too many":          func(r *consensus.Roll) { r.Entries = make([]consensus.RollEntry, 513) },
	} {
		r := *n.RollMade
		r.Entries = slices.Clone(r.Entries)
		change(&r)
		sealed, err := codec.Seal(consensus.TagRoll, n.ID[:], &r)
		check(t, err)
		if _, err := consensus.OpenRoll(n.Genesis, n.ID, sealed); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// Equal is for who would not hash a value that it has hashed before.
func TestValuesAreEqualWhereTheirHashesAre(t *testing.T) {
	a, b := consensustest.Link("a"), consensustest.Link("b")
	again := consensustest.Link("a")
	values := []consensus.Value{{Kind: consensus.Result, Tree: &a}, {Kind: consensus.Result, Tree: &again}, {Kind: consensus.Result, Tree: &b}, {Kind: consensus.Cancelled},
		{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 1, Tree: &a}, {Kind: consensus.Failed, Class: consensus.FailedExit, Code: 2, Tree: &a},
		{Kind: consensus.Failed, Class: consensus.FailedTrap, Code: 1, Tree: &a}, {Kind: consensus.Failed, Class: consensus.FailedHost}, {Kind: consensus.Failed, Class: consensus.FailedTimeout},
		{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 1}}}, {Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 2}}}, {Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 1}}}}
	for _, v := range values {
		for _, w := range values {
			hash, err := v.Hash(admission.Network{1})
			other, err2 := w.Hash(admission.Network{1})
			if err != nil || err2 != nil || v.Equal(w) != (hash == other) {
				t.Errorf("%s equals %s: %v, and the hashes %v, %v", v, w, v.Equal(w), err, err2)
			}
		}
	}
}

func TestARollThatNobodyWouldOpenIsNotSealed(t *testing.T) {
	n := consensustest.New(4)
	r, err := consensus.OpenRoll(n.Genesis, n.ID, n.RollSealed)
	check(t, err)
	r.Entries[0].Features = []string{""}
	data, _, err := r.Seal(n.ID)
	check(t, err)
	room := consensus.MaxRollBytes - len(data) - 4 // a long text's head
	for length, sealed := range map[int]bool{room: true, room + 1: false} {
		r.Entries[0].Features[0] = strings.Repeat("x", length)
		if data, _, err := r.Seal(n.ID); (err == nil) != sealed {
			t.Errorf("sealed to %d bytes of at most %d: %v", len(data), consensus.MaxRollBytes, err)
		}
	}
}
