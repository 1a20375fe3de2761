package consensus_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
)

func statements(count int) ([]consensus.Statement, [][]byte) {
	all := make([]consensus.Statement, count)
	leaves := make([][]byte, count)
	for i := range all {
		all[i] = consensus.Statement{Kind: consensus.KindPrepare, Job: consensus.JobID{1}, Round: uint32(i)}
		leaf, err := all[i].Leaf()
		if err != nil {
			panic(err)
		}
		leaves[i] = leaf
	}
	return all, leaves
}

func TestEveryLeafOfEveryBatchLeadsToTheRoot(t *testing.T) {
	for _, count := range append(upTo(64), 511, 512) {
		all, leaves := statements(count)
		batch := newBatch(t, leaves)
		if batch.Count() != count {
			t.Fatalf("count %d of %d", batch.Count(), count)
		}
		for i, s := range all {
			proof := consensus.Proof{Count: uint64(count), Index: uint64(i), Path: batch.Path(i)}
			if root, err := proof.Root(s); err != nil || root != batch.Root() {
				t.Fatalf("leaf %d of %d: %s, %v", i, count, root, err)
			}
			if len(proof.Path) > consensus.MaxDepth {
				t.Fatalf("leaf %d of %d: a path of %d", i, count, len(proof.Path))
			}
		}
	}
}

func TestAPathThatDoesNotFitIsRefused(t *testing.T) {
	for _, count := range upTo(20) {
		all, leaves := statements(count)
		batch := newBatch(t, leaves)
		for i, s := range all {
			good := consensus.Proof{Count: uint64(count), Index: uint64(i), Path: batch.Path(i)}
			for name, change := range map[string]func(p *consensus.Proof){
				"longer":       func(p *consensus.Proof) { p.Path = append(slices.Clone(p.Path), consensus.Hash{}) },
				"shorter":      func(p *consensus.Proof) { p.Path = p.Path[:max(len(p.Path)-1, 0)] },
				"no count":     func(p *consensus.Proof) { p.Count = 0 },
				"index beyond": func(p *consensus.Proof) { p.Index = p.Count },
				"too many":     func(p *consensus.Proof) { p.Count = consensus.MaxBatch + 1 },
				"beside":       func(p *consensus.Proof) { p.Index = (p.Index + 1) % p.Count },
				"altered": func(p *consensus.Proof) {
					p.Path = slices.Clone(p.Path)
					for i := range p.Path {
						p.Path[i][31] ^= 1
					}
				},
			} {
				changed := good
				change(&changed)
				if changed.Index == good.Index && changed.Count == good.Count && slices.Equal(changed.Path, good.Path) {
					continue // a batch of one has no shorter path and nobody beside
				}
				if root, err := changed.Root(s); err == nil && root == batch.Root() {
					t.Errorf("leaf %d of %d, %s: accepted", i, count, name)
				}
			}
		}
	}
}

// A node that passed for a leaf, or the reverse, would prove what nobody said.
func TestLeavesAndNodesCannotBeConfused(t *testing.T) {
	all, leaves := statements(4)
	batch := newBatch(t, leaves)
	left := newBatch(t, leaves[:2]).Root()
	right := newBatch(t, leaves[2:]).Root()
	joined := newBatch(t, [][]byte{slices.Concat([]byte{}, left[:], right[:])})
	if joined.Root() == batch.Root() {
		t.Error("two roots taken for a leaf give the root of their tree")
	}
	inner := newBatch(t, [][]byte{slices.Concat([]byte{0x01}, left[:], right[:])})
	if inner.Root() == batch.Root() {
		t.Error("a node's bytes taken for a leaf give its hash")
	}
	if promoted, err := (consensus.Proof{Count: 2, Index: 0, Path: batch.Path(0)[1:]}).Root(all[0]); err == nil && promoted == batch.Root() {
		t.Error("a leaf passes a level above its own")
	}
}

func TestPartsOfABatchRebuildItsRootAndPaths(t *testing.T) {
	for _, count := range upTo(64) {
		_, leaves := statements(count)
		batch := newBatch(t, leaves)
		subsets := [][]int{{0}, {count - 1}, upTo(count)}
		for i := range subsets[2] {
			subsets[2][i] = i
		}
		for _, indexes := range subsets {
			rebuild(t, batch, leaves, indexes)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 130).Draw(t, "count")
		indexes := rapid.SliceOfNDistinct(rapid.IntRange(0, count-1), 1, count, rapid.ID[int]).Draw(t, "indexes")
		slices.Sort(indexes)
		_, leaves := statements(count)
		batch, err := consensus.NewBatch(leaves)
		if err != nil {
			t.Fatal(err)
		}
		rebuild(t, batch, leaves, indexes)
	})
}

func rebuild(t interface{ Fatalf(string, ...any) }, batch consensus.Batch, leaves [][]byte, indexes []int) {
	some := make([]consensus.Hash, len(indexes))
	for i, at := range indexes {
		some[i] = sha256.Sum256(append([]byte{0x00}, leaves[at]...))
	}
	missing := batch.Siblings(indexes)
	root, paths, err := consensus.Partial(len(leaves), indexes, some, missing)
	if err != nil || root != batch.Root() {
		t.Fatalf("%v of %d: %s, %v", indexes, len(leaves), root, err)
	}
	for i, at := range indexes {
		if !slices.Equal(paths[i], batch.Path(at)) {
			t.Fatalf("%v of %d: path of %d differs", indexes, len(leaves), at)
		}
	}
	if _, _, err := consensus.Partial(len(leaves), indexes, some, append(missing, consensus.Hash{})); err == nil {
		t.Fatalf("%v of %d: a hash too many is accepted", indexes, len(leaves))
	}
	if len(missing) > 0 {
		if _, _, err := consensus.Partial(len(leaves), indexes, some, missing[1:]); err == nil {
			t.Fatalf("%v of %d: a hash too few is accepted", indexes, len(leaves))
		}
	}
}

func TestAPartialBatchThatDoesNotFitTogetherIsRefused(t *testing.T) {
	leaves := make([]consensus.Hash, 3)
	for name, try := range map[string]struct {
		count   int
		indexes []int
		leaves  []consensus.Hash
	}{
		"nothing":        {3, nil, nil},
		"no count":       {0, []int{0}, leaves[:1]},
		"count too high": {consensus.MaxBatch + 1, []int{0}, leaves[:1]},
		"unordered":      {3, []int{1, 0}, leaves[:2]},
		"twice":          {3, []int{1, 1}, leaves[:2]},
		"negative":       {3, []int{-1}, leaves[:1]},
		"beyond":         {3, []int{3}, leaves[:1]},
		"leaves short":   {3, []int{0, 1}, leaves[:1]},
	} {
		if _, _, err := consensus.Partial(try.count, try.indexes, try.leaves, make([]consensus.Hash, 2)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestABatchHoldsOneTo512Statements(t *testing.T) {
	_, leaves := statements(consensus.MaxBatch + 1)
	if _, err := consensus.NewBatch(leaves); err == nil {
		t.Error("513 accepted")
	}
	if _, err := consensus.NewBatch(nil); err == nil {
		t.Error("none accepted")
	}
}

func TestAProofHoldsForItsStatementOnly(t *testing.T) {
	n := consensustest.New(2)
	all, _ := statements(3)
	for i := range all {
		all[i].Network, all[i].Sender, all[i].Incarnation = n.ID, n.Nodes[0].Key(), n.Nodes[0].Incarnation
	}
	proofs := consensustest.Prove(n.Nodes[0], all...)
	for i, s := range all {
		if err := proofs[i].Check(s); err != nil {
			t.Errorf("statement %d: %v", i, err)
		}
	}
	for name, change := range map[string]func(*consensus.Statement){
		"kind":        func(s *consensus.Statement) { s.Kind = consensus.KindCommit },
		"network":     func(s *consensus.Statement) { s.Network[0] ^= 1 },
		"job":         func(s *consensus.Statement) { s.Job[0] ^= 1 },
		"height":      func(s *consensus.Statement) { s.Height++ },
		"previous":    func(s *consensus.Statement) { s.Previous[0] ^= 1 },
		"round":       func(s *consensus.Statement) { s.Round++ },
		"sender":      func(s *consensus.Statement) { s.Sender = n.Nodes[1].Key() },
		"incarnation": func(s *consensus.Statement) { s.Incarnation[0] ^= 1 },
		"value":       func(s *consensus.Statement) { s.Value[0] ^= 1 },
		"no kind":     func(s *consensus.Statement) { s.Kind = 0 },
	} {
		s := all[1]
		change(&s)
		if err := proofs[1].Check(s); err == nil {
			t.Errorf("holds with another %s", name)
		}
	}
	short := proofs[1]
	short.Signature = admission.Signature{}
	if err := short.Check(all[1]); err == nil {
		t.Error("holds without a signature")
	}
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return all
}

func newBatch(t testing.TB, leaves [][]byte) consensus.Batch {
	t.Helper()
	b, err := consensus.NewBatch(leaves)
	if err != nil {
		t.Fatal(fmt.Errorf("%d leaves: %w", len(leaves), err))
	}
	return b
}

// BenchmarkPartial is what a receiver does for a frame of eight statements
// before it verifies the signature.
func BenchmarkPartial(b *testing.B) {
	all, leaves := statements(24)
	batch, err := consensus.NewBatch(leaves)
	if err != nil {
		b.Fatal(err)
	}
	indexes := []int{1, 2, 5, 8, 9, 15, 20, 23}
	missing := batch.Siblings(indexes)
	b.ReportAllocs()
	for b.Loop() {
		some := make([]consensus.Hash, len(indexes))
		for i, at := range indexes {
			if some[i], err = all[at].LeafHash(); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := consensus.Partial(len(all), indexes, some, missing); err != nil {
			b.Fatal(err)
		}
	}
}
