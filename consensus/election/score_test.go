package election_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"math/big"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// precise computes -ln((h+1)/2^64) * 2^58 with 200 bits:
// ln(x) = 2 * sum of ((x-1)/(x+1))^k / k over odd k; for x in [1, 2) each term
// is less than a ninth of the one before.
func precise(h uint64) *big.Float {
	const precision = 200
	newFloat := func() *big.Float { return new(big.Float).SetPrec(precision) }
	ln := func(x *big.Float) *big.Float {
		one := newFloat().SetInt64(1)
		z := newFloat().Quo(newFloat().Sub(x, one), newFloat().Add(x, one))
		square, power, sum := newFloat().Mul(z, z), newFloat().Set(z), newFloat()
		for k := int64(1); k < 130; k += 2 {
			sum.Add(sum, newFloat().Quo(power, newFloat().SetInt64(k)))
			power.Mul(power, square)
		}
		return sum.Mul(sum, newFloat().SetInt64(2))
	}
	x := newFloat().SetUint64(h)
	x.Add(x, newFloat().SetInt64(1))
	exponent := x.MantExp(x) - 1 // x is now in [1/2, 1)
	x.Mul(x, newFloat().SetInt64(2))
	result := newFloat().Mul(ln(newFloat().SetInt64(2)), newFloat().SetInt64(int64(64-exponent)))
	result.Sub(result, ln(x))
	return result.SetMantExp(result, 58)
}

func TestScoresAreWithinTwoUnitsOfTheLogarithm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := consensus.Hash{rapid.Byte().Draw(t, "seed"), rapid.Byte().Draw(t, "seed")}
		peer := admission.Key{rapid.Byte().Draw(t, "peer"), rapid.Byte().Draw(t, "peer")}
		data, err := dagcbor.Marshal(struct {
			_    struct{} `cbor:",toarray"`
			Tag  string
			Seed consensus.Hash
			Peer admission.Key
		}{Tag: election.TagRank, Seed: seed, Peer: peer})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		h := binary.BigEndian.Uint64(sum[:8])
		near(t, h, election.Score(seed, peer, 1))
		weight := rapid.Uint64Range(1, admission.MaxWeight).Draw(t, "weight")
		if got, want := election.Score(seed, peer, weight), election.Score(seed, peer, 1)/weight; got != want {
			t.Fatalf("weight %d: %d, want %d", weight, got, want)
		}
	})
}

func TestTheLogarithmHoldsAtItsEdges(t *testing.T) {
	edges := []uint64{0, 1, 2, 3, math.MaxUint64, math.MaxUint64 - 1, math.MaxUint64 - 2, math.MaxUint64 / 3, math.MaxUint64 / 7}
	for shift := 1; shift < 64; shift++ {
		edges = append(edges, 1<<shift-2, 1<<shift-1, 1<<shift, 3<<(shift-1))
	}
	for _, h := range edges {
		near(t, h, election.NegLog(h))
	}
	for range 300 {
		h := edges[0]*6364136223846793005 + 1442695040888963407
		edges[0] = h
		near(t, h, election.NegLog(h))
	}
	slices.Sort(edges)
	for i := 1; i < len(edges); i++ {
		if election.NegLog(edges[i-1]) < election.NegLog(edges[i]) {
			t.Errorf("not falling between %d and %d", edges[i-1], edges[i])
		}
	}
}

func near(t interface {
	Helper()
	Errorf(string, ...any)
}, h, got uint64) {
	t.Helper()
	off := new(big.Float).Sub(new(big.Float).SetUint64(got), precise(h))
	if f, _ := off.Float64(); math.Abs(f) >= 2 {
		t.Errorf("-ln of (%d+1)/2^64 is off by %g units", h, f)
	}
}

func TestWeightZeroRanksBehindEverybody(t *testing.T) {
	if got := election.Score(consensus.Hash{}, admission.Key{}, 0); got != math.MaxUint64 {
		t.Error(got)
	}
}

type vectors struct {
	Seed    string
	Scores  []score
	Roster  []string // of 20 nodes, n = 7
	Keepers []string // the best 3 of 20 for the seed as a job id
	Sample  []bool   // whether each node belongs at 2 bits
	Logs    []logarithm
}

// logarithm is -ln((h+1)/2^64) in units of 2^-58; both have up to 64 bits.
type logarithm struct {
	H   uint64 `json:",string"`
	Log uint64 `json:",string"`
}

type score struct {
	Peer   string
	Weight uint64
	Score  uint64
}

func TestDrawsMatchTheirGoldenVectors(t *testing.T) {
	w := newWorld(20, 2)
	seed := election.Seed(w.ask)
	got := vectors{Seed: seed.String()}
	peers := make([]admission.Key, len(w.Nodes))
	sample := election.NewSample(w.ID, w.ask.Submitter, w.ask.Period)
	for i, m := range w.Nodes {
		peers[i] = m.Key()
		weight := uint64(1) << i
		got.Scores = append(got.Scores, score{hex.EncodeToString(peers[i][:]), weight, election.Score(seed, peers[i], weight)})
		got.Sample = append(got.Sample, sample.Belongs(peers[i], 2))
	}
	for _, s := range w.draw(t).Roster {
		got.Roster = append(got.Roster, s.Peer.String())
	}
	for _, k := range election.RankFor(seed, peers, 3) {
		got.Keepers = append(got.Keepers, k.String())
	}
	for h := uint64(0); h < math.MaxUint64/3; h = 3*h + 1 {
		got.Logs = append(got.Logs, logarithm{h, election.NegLog(h)})
	}
	got.Logs = append(got.Logs, logarithm{math.MaxUint64 - 1, election.NegLog(math.MaxUint64 - 1)}, logarithm{math.MaxUint64, election.NegLog(math.MaxUint64)})
	golden(t, "testdata/draw.json", got)
}

func golden(t *testing.T, path string, got any) {
	t.Helper()
	data, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	if *update {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) {
		t.Errorf("differs from %s:\n%s", path, data)
	}
}

func TestKeepersAreTheSameWhoeverAsksAndMoveLittle(t *testing.T) {
	n := consensustest.New(30)
	peers := make([]admission.Key, len(n.Nodes))
	for i, m := range n.Nodes {
		peers[i] = m.Key()
	}
	key := [32]byte{1}
	best := election.RankFor(key, peers, 8)
	slices.Reverse(peers)
	if again := election.RankFor(key, peers, 8); len(best) != 8 || !slices.Equal(again, best) {
		t.Error("the order of the peers shows")
	}
	without := slices.DeleteFunc(slices.Clone(peers), func(k admission.Key) bool { return k == best[3] })
	if after := election.RankFor(key, without, 7); !slices.Equal(after, slices.Concat(best[:3], best[4:])) {
		t.Error("one peer's leaving moved others")
	}
	if slices.Equal(election.RankFor([32]byte{2}, peers, 8), best) {
		t.Error("the key does not matter")
	}
	if all := election.RankFor(key, peers, 99); len(all) != 30 {
		t.Errorf("%d of 30", len(all))
	}
	if none := election.RankFor(key, peers, -1); len(none) != 0 {
		t.Errorf("%d for -1", len(none))
	}
}
