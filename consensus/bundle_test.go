package consensus_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
)

func bundled(t testing.TB, n *consensustest.Network, job consensustest.Job, roll []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	check(t, consensus.WriteBundle(&out, n.ID, n.Certify(job, n.Decide(job, consensustest.Result("out"))), roll))
	return out.Bytes()
}

func TestABundleVerifiesDownToTheDraw(t *testing.T) {
	for _, nodes := range []int{5, 300} {
		n := consensustest.New(nodes)
		job := n.Job(consensus.Byzantine, 1)
		r := io.MultiReader(bytes.NewReader(bundled(t, n, job, n.RollSealed)), strings.NewReader("the tree"))
		o, err := consensus.ReadBundle(r, n.Sealed)
		check(t, err)
		if o.Verdict.Job != job.ID || len(o.Roll.Entries) != nodes {
			t.Errorf("%+v", o.Verdict)
		}
		_, err = election.Check(o.Roll, o.RollLink, o.Verdict.Charter, o.Verdict.Network, o.Verdict.Genesis.Policy)
		check(t, err)
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "the tree" {
			t.Errorf("left %q, %v", rest, err)
		}
	}
}

// The roll lists the reserves too: their credentials are at hand, and the draw
// names them.
func TestABundleOfAJobWithAReplacedMemberVerifiesDownToTheDraw(t *testing.T) {
	n := consensustest.New(7)
	job := n.Job(consensus.Byzantine, 1, replaceable)
	chain, last := n.Chain(job, consensustest.Handover([2]uint64{0, 0}))
	var out bytes.Buffer
	check(t, consensus.WriteBundle(&out, n.ID, n.Certify(job, n.DecideAt(last, consensustest.Result("out")), chain...), n.RollSealed))
	o, err := consensus.ReadBundle(&out, n.Sealed)
	check(t, err)
	drawn, err := election.Check(o.Roll, o.RollLink, o.Verdict.Charter, o.Verdict.Network, o.Verdict.Genesis.Policy)
	check(t, err)
	if holder := o.Verdict.Height.Holder(0); holder != drawn.Reserves[0] {
		t.Errorf("seat 0 is held by %s, the first reserve drawn is %s", holder.Peer.Name(), drawn.Reserves[0].Peer.Name())
	}
}

func TestABundleWithAnotherRollIsRefused(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	n.Nodes = append(n.Nodes, n.NewNode("newcomer"))
	_, other, _ := n.Roll(n.Nodes[0].Key())
	for _, roll := range [][]byte{other, nil, n.RollSealed[1:]} {
		if _, err := consensus.ReadBundle(bytes.NewReader(bundled(t, n, job, roll)), n.Sealed); err == nil {
			t.Errorf("a roll of %d bytes is accepted", len(roll))
		}
	}
}

func TestAnyChangedOrMissingByteOfABundleIsSeen(t *testing.T) {
	n := consensustest.New(1)
	data := bundled(t, n, n.Job(consensus.Byzantine, 0), n.RollSealed)
	for i := 0; i < len(data); i += stride {
		changed := slices.Clone(data)
		changed[i] ^= 1 << (i % 8)
		if _, err := consensus.ReadBundle(bytes.NewReader(changed), n.Sealed); err == nil {
			t.Fatalf("byte %d changed", i)
		}
		if _, err := consensus.ReadBundle(bytes.NewReader(data[:i]), n.Sealed); err == nil {
			t.Fatalf("cut at byte %d", i)
		}
	}
	long := slices.Concat([]byte{0x5a, 0, 0}, data[1:]) // a length in four bytes where two would do
	if data[0] != 0x59 {
		t.Fatalf("begins with %x", data[0])
	}
	if _, err := consensus.ReadBundle(bytes.NewReader(long), n.Sealed); err == nil {
		t.Error("a head in another form is accepted")
	}
}

func FuzzReadBundle(f *testing.F) {
	n := consensustest.New(2)
	f.Add(bundled(f, n, n.Job(consensus.Byzantine, 0), n.RollSealed))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		o, err := consensus.ReadBundle(r, n.Sealed)
		if err != nil {
			return
		}
		var again bytes.Buffer
		sealed, _, err := o.Roll.Seal(n.ID)
		check(t, err)
		check(t, consensus.WriteBundle(&again, n.ID, o.Certificate, sealed))
		if !bytes.Equal(again.Bytes(), data[:len(data)-r.Len()]) {
			t.Error("writes other bytes")
		}
	})
}
