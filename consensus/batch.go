package consensus

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// MaxBatch bounds the statements under one signature; a path has at most
// MaxDepth hashes (protocol, section 14).
const (
	MaxBatch = 512
	MaxDepth = 9
)

// BatchHeader returns what the signature of a batch covers.
func BatchHeader(network admission.Network, incarnation admission.Incarnation, count uint64, root Hash) ([]byte, error) {
	return dagcbor.Marshal(struct {
		_           struct{} `cbor:",toarray"`
		Tag         string
		Network     admission.Network
		Incarnation admission.Incarnation
		Count       uint64
		Root        Hash
	}{Tag: TagBatch, Network: network, Incarnation: incarnation, Count: count, Root: root})
}

// Batch is a Merkle tree over statements, whose root is signed once.
type Batch struct {
	tree merkle
}

// NewBatch hashes 1 to MaxBatch encoded statements into a tree.
func NewBatch(leaves [][]byte) (Batch, error) {
	if len(leaves) == 0 || len(leaves) > MaxBatch {
		return Batch{}, fmt.Errorf("batch of %d statements, 1 to %d", len(leaves), MaxBatch)
	}
	level := make([]Hash, len(leaves))
	for i, l := range leaves {
		level[i] = leafHash(l)
	}
	return Batch{newMerkle(level)}, nil
}

// Count returns the number of statements.
func (b Batch) Count() int { return len(b.tree[0]) }

// Root returns the root.
func (b Batch) Root() Hash { return b.tree.root() }

// Path returns the siblings of leaf index from the bottom up.
func (b Batch) Path(index int) []Hash { return b.tree.path(index) }

// root walks from a leaf to the root that count, index and path give.
func (p Proof) root(leaf Hash) (Hash, error) {
	if p.Count > MaxBatch || len(p.Path) > MaxDepth {
		return Hash{}, ErrProof
	}
	return climb(leaf, p.Count, p.Index, p.Path)
}

// ErrBatch is returned for a partial batch that does not fit together.
var ErrBatch = errors.New("batch: leaves and hashes do not fit count")

// Siblings returns the hashes that somebody needs who holds only the leaves of
// the given indexes, sorted and distinct, to compute the root: level by level,
// left to right.
func (b Batch) Siblings(indexes []int) []Hash {
	missing := []Hash{}
	known := indexes
	for _, level := range b.tree[:len(b.tree)-1] {
		var up []int
		for i := 0; i < len(known); i++ {
			at := known[i]
			switch {
			case at%2 == 0 && i+1 < len(known) && known[i+1] == at+1:
				i++ // both held
			case at^1 < len(level):
				missing = append(missing, level[at^1])
			}
			up = append(up, at/2)
		}
		known = up
	}
	return missing
}

// Partial rebuilds what Siblings took apart: from the hashes of the leaves at the
// indexes, sorted and distinct, and the missing hashes, it returns the root and
// each leaf's path.
func Partial(count int, indexes []int, leaves []Hash, missing []Hash) (Hash, [][]Hash, error) {
	if count < 1 || count > MaxBatch || len(indexes) == 0 || len(indexes) != len(leaves) {
		return Hash{}, nil, ErrBatch
	}
	level := make([]known, len(indexes))
	paths := make([][]Hash, len(indexes))
	for i, at := range indexes {
		if at < 0 || at >= count || i > 0 && indexes[i-1] >= at {
			return Hash{}, nil, ErrBatch
		}
		level[i] = known{at, leaves[i], paths[i : i+1]}
		paths[i] = make([]Hash, 0, bits.Len(uint(count-1)))
	}
	for width := count; width > 1; width = (width + 1) / 2 {
		up := level[:0] // no longer than what of level was read
		for i := 0; i < len(level); i++ {
			n := level[i]
			switch {
			case n.at%2 == 0 && i+1 < len(level) && level[i+1].at == n.at+1:
				i++
				right := level[i]
				n.meet(right.hash)
				right.meet(n.hash)
				n.hash = nodeHash(n.hash, right.hash)
				n.paths = n.paths[:len(n.paths)+len(right.paths)]
			case n.at^1 < width:
				if len(missing) == 0 {
					return Hash{}, nil, ErrBatch
				}
				n.meet(missing[0])
				if n.at%2 == 0 {
					n.hash = nodeHash(n.hash, missing[0])
				} else {
					n.hash = nodeHash(missing[0], n.hash)
				}
				missing = missing[1:]
			}
			n.at /= 2
			up = append(up, n)
		}
		level = up
	}
	if len(missing) > 0 {
		return Hash{}, nil, ErrBatch
	}
	return level[0].hash, paths, nil
}

// known is a node of a tree of which only some leaves are there.
type known struct {
	at    int // within its level
	hash  Hash
	paths [][]Hash // of the leaves below it, which stand side by side
}

// meet adds a sibling to the path of every leaf below.
func (n known) meet(sibling Hash) {
	for i := range n.paths {
		n.paths[i] = append(n.paths[i], sibling)
	}
}
