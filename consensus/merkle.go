package consensus

import "crypto/sha256"

// merkle is a binary hash tree, from its leaves up: leaf = H(0x00 || message),
// node = H(0x01 || left || right), a lone node at the end of a level is promoted
// (protocol, section 14). What the messages are tells the trees apart: each kind
// begins with a tag of its own.
type merkle [][]Hash

func leafHash(message []byte) Hash {
	var buf [1 + maxLeaf]byte // with the 0x00 in front; a longer message moves to the heap
	return sha256.Sum256(append(buf[:1], message...))
}

func nodeHash(left, right Hash) Hash {
	var buf [1 + 2*sha256.Size]byte
	buf[0] = 0x01
	copy(buf[1:], left[:])
	copy(buf[1+sha256.Size:], right[:])
	return sha256.Sum256(buf[:])
}

// newMerkle builds the tree over one or more leaves.
func newMerkle(level []Hash) merkle {
	m := merkle{level}
	for len(level) > 1 {
		next := make([]Hash, 0, (len(level)+1)/2)
		for i := 0; i < len(level); i += 2 {
			if i+1 == len(level) {
				next = append(next, level[i])
			} else {
				next = append(next, nodeHash(level[i], level[i+1]))
			}
		}
		m = append(m, next)
		level = next
	}
	return m
}

func (m merkle) root() Hash { return m[len(m)-1][0] }

// path returns the siblings of leaf index from the bottom up.
func (m merkle) path(index int) []Hash {
	path := []Hash{}
	for _, level := range m[:len(m)-1] {
		if sibling := index ^ 1; sibling < len(level) {
			path = append(path, level[sibling])
		}
		index /= 2
	}
	return path
}

// climb walks from a leaf to the root that count, index and path give. The
// caller has bounded all three.
func climb(leaf Hash, count, index uint64, path []Hash) (Hash, error) {
	if index >= count {
		return Hash{}, ErrProof
	}
	node := leaf
	for width := count; width > 1; index, width = index/2, (width+1)/2 {
		if index^1 >= width {
			continue // promoted
		}
		if len(path) == 0 {
			return Hash{}, ErrProof
		}
		if index%2 == 0 {
			node = nodeHash(node, path[0])
		} else {
			node = nodeHash(path[0], node)
		}
		path = path[1:]
	}
	if len(path) > 0 {
		return Hash{}, ErrProof
	}
	return node, nil
}
