package naivetest

import "math"

// decision is a value with the commits for it.
type decision struct {
	height uint64
	value  value
	round  uint64
	voted  []byte // the value's hash as the commits carry it
	votes  []vote
}

type vote struct {
	seat, count, index uint64
	path               [][]byte
	signature          []byte
}

func readDecision(v any) decision {
	parts := list(v, 3)
	set := list(parts[2], 3)
	d := decision{height: number(parts[0]), value: readValue(parts[1]), round: number(set[0]), voted: octets(set[1], 32)}
	require(d.round <= math.MaxUint32, "rounds are 32 bits")
	for _, entry := range anyList(set[2]) {
		e := list(entry, 2)
		proof := list(e[1], 4)
		one := vote{seat: number(e[0]), count: number(proof[0]), index: number(proof[1]), signature: octets(proof[3], 64)}
		for _, h := range anyList(proof[2]) {
			one.path = append(one.path, octets(h, 32))
		}
		d.votes = append(d.votes, one)
	}
	return d
}

// checkDecision wants q commits of one round, by distinct members, each leaf
// rebuilt from the certificate alone, and returns the keys that signed.
func (c charter) checkDecision(net network, d decision) [][]byte {
	require(d.height == 0, "height 0")
	require(string(d.voted) == string(d.value.slice(net)), "the commits are for this value")
	require(d.value.fits(c), "the outcome fits the assurance")
	require(uint64(len(d.votes)) == c.quorum, "q commits")
	var signers [][]byte
	for i, v := range d.votes {
		require(v.seat < c.n, "a seat of the roster")
		require(i == 0 || d.votes[i-1].seat < v.seat, "distinct members, by ascending seat")
		member := c.roster[v.seat]
		leaf := encode([]any{"muster/commit/1", net.id, c.job[:], d.height, c.job[:], d.round, member.peer, member.incarnation, d.voted})
		require(v.count >= 1 && v.count <= 512, "batches of 1 to 512")
		require(v.index < v.count, "index < count")
		root := rootOf(leaf, v.index, v.count, v.path)
		header := encode([]any{"muster/batch/1", net.id, member.incarnation, v.count, root})
		require(verified(member.peer, header, v.signature), "signed by the member")
		signers = append(signers, member.peer)
	}
	return signers
}

// rootOf is the root of a tree of count leaves, in which a lone node is promoted:
// that is the tree of RFC 6962 (section 2.1), whose left half is the largest
// power of two below count. The path's last hash is the other half.
func rootOf(leaf []byte, index, count uint64, path [][]byte) []byte {
	if count == 1 {
		require(len(path) == 0, "the path fits count and index")
		return sum(append([]byte{0}, leaf...))
	}
	require(len(path) > 0, "the path fits count and index")
	other, below := path[len(path)-1], path[:len(path)-1]
	half := uint64(1)
	for half*2 < count {
		half *= 2
	}
	if index < half {
		return node(rootOf(leaf, index, half, below), other)
	}
	return node(other, rootOf(leaf, index-half, count-half, below))
}

func node(left, right []byte) []byte {
	return sum(append(append([]byte{1}, left...), right...))
}

// Kinds of values, and classes of failures.
const (
	result, failed, cancelled             = 1, 2, 3
	trap, exit, limit                     = 1, 2, 3
	timeout, host, disagreement, deadline = 4, 5, 6, 7
)

type value struct {
	kind, class, code uint64
	tree              any
	encoded           any
}

// readValue reads an outcome: deterministic failures have a tree, the others
// carry code 0 and no tree (section 5).
func readValue(encoded any) value {
	parts := list(encoded, 4)
	v := value{number(parts[0]), number(parts[1]), number(parts[2]), parts[3], encoded}
	if v.tree != nil {
		strongLink(v.tree)
	}
	switch v.kind {
	case result:
		require(v.class == 0 && v.code == 0 && v.tree != nil, "a result is a tree")
	case failed:
		switch v.class {
		case trap, limit:
			require(v.tree != nil, "with its tree")
		case exit:
			require(v.tree != nil && v.code != 0, "with its tree and a code")
		case timeout, host, disagreement, deadline:
			require(v.tree == nil && v.code == 0, "code 0 and no tree")
		default:
			require(false, "the class is known")
		}
	case cancelled:
		require(v.class == 0 && v.code == 0 && v.tree == nil, "nothing but cancelled")
	default:
		require(false, "the kind is known")
	}
	return v
}

func (v value) hash(net network) [32]byte { return [32]byte(v.slice(net)) }

func (v value) slice(net network) []byte { return sum(net.seal("muster/value/1", v.encoded)) }

// fits: disagreement takes two reports that do not match where more than one
// must (section 5).
func (v value) fits(c charter) bool {
	return v.kind != failed || v.class != disagreement || c.match > 1
}
