package naivetest

import (
	"math"

	"github.com/ipfs/go-cid"
)

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

// height is one height of a job's chain: who holds each seat, and what its
// statements are bound to (sections 6 and 7).
type height struct {
	charter
	number   uint64
	previous []byte // the decision before it; at height 0 the job id
	holders  []seat
	used     map[uint64]bool // reserves that were seated before
}

func (c charter) height0() height {
	return height{charter: c, previous: c.job[:], holders: c.roster, used: map[uint64]bool{}}
}

// check wants q commits of one round, by distinct members of this height, each
// leaf rebuilt from the certificate alone, and returns the keys that signed.
func (h height) check(net network, d decision) [][]byte {
	require(d.height == h.number, "heights follow each other")
	require(string(d.voted) == string(d.value.slice(net)), "the commits are for this value")
	require(d.value.fits(h.charter), "the outcome fits the assurance")
	require(uint64(len(d.votes)) == h.quorum, "q commits")
	var signers [][]byte
	for i, v := range d.votes {
		require(v.seat < h.n, "a seat of the roster")
		require(i == 0 || d.votes[i-1].seat < v.seat, "distinct members, by ascending seat")
		member := h.holders[v.seat]
		leaf := encode([]any{"muster/commit/1", net.id, h.job[:], h.number, h.previous, d.round, member.peer, member.incarnation, d.voted})
		require(v.count >= 1 && v.count <= 512, "batches of 1 to 512")
		require(v.index < v.count, "index < count")
		root := rootOf(leaf, v.index, v.count, v.path)
		header := encode([]any{"muster/batch/1", net.id, member.incarnation, v.count, root})
		require(verified(member.peer, header, v.signature), "signed by the member")
		signers = append(signers, member.peer)
	}
	return signers
}

// handOver is the height after one that decided v: positions are kept, reserves
// are unused and by increasing index, 1 to f at once, all together within the
// charter's bound, and for n > 13 at most two such heights.
func (h height) handOver(net network, v value) height {
	require(v.kind == handover, "only a handover leads to another height")
	require(uint64(len(v.pairs)) <= h.f, "at most f pairs")
	require(h.n <= 13 || h.number < 2, "at most two handovers where n > 13")
	next := height{charter: h.charter, number: h.number + 1, used: map[uint64]bool{}}
	next.previous = sum(net.seal("muster/decision/1", []any{h.job[:], h.number, h.previous, v.slice(net)}))
	next.holders = append(next.holders, h.holders...)
	for r := range h.used {
		next.used[r] = true
	}
	for _, p := range v.pairs {
		require(p.seat < h.n, "a seat of the roster")
		require(p.reserve < uint64(len(h.reserves)), "a reserve of the charter")
		require(!next.used[p.reserve], "an unused reserve")
		next.used[p.reserve] = true
		next.holders[p.seat] = h.reserves[p.reserve]
	}
	require(uint64(len(next.used)) <= h.replace, "within the charter's bound of replacements")
	return next
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
	result, failed, cancelled, handover   = 1, 2, 3, 4
	trap, exit, limit                     = 1, 2, 3
	timeout, host, disagreement, deadline = 4, 5, 6, 7
	tasks, rejected                       = 8, 9
)

type value struct {
	kind, class, code uint64
	tree              any
	pairs             []pair
	encoded           any
}

// pair is one replacement of a handover: the holder of a seat loses it to a
// reserve.
type pair struct{ seat, reserve uint64 }

// readPairs reads 1 or more pairs, so that one handover has one form: seats and
// reserves ascend.
func readPairs(v any) []pair {
	var pairs []pair
	for i, entry := range anyList(v) {
		e := list(entry, 2)
		p := pair{number(e[0]), number(e[1])}
		require(i == 0 || pairs[i-1].seat < p.seat && pairs[i-1].reserve < p.reserve, "seats and reserves ascend")
		pairs = append(pairs, p)
	}
	require(len(pairs) > 0, "a handover has pairs")
	return pairs
}

// readValue reads an outcome or, in one part more, a handover. Deterministic
// failures have a tree, the others carry code 0 and no tree (section 5).
func readValue(encoded any) value {
	parts := anyList(encoded)
	require(len(parts) == 4 || len(parts) == 5, "a list of 4 or 5")
	v := value{kind: number(parts[0]), class: number(parts[1]), code: number(parts[2]), tree: parts[3], encoded: encoded}
	require((v.kind == handover) == (len(parts) == 5), "a handover, and nothing else, has pairs")
	if v.kind == handover {
		v.pairs = readPairs(parts[4])
	}
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
		case tasks: // an array job (section 14)
			require(v.tree != nil && 1 <= v.code && v.code <= 100_000, "so many tasks failed")
			require(strongLink(v.tree).Type() == cid.DagCBOR, "in an array result, which is dag-cbor")
		case timeout, host, disagreement, deadline, rejected:
			require(v.tree == nil && v.code == 0, "code 0 and no tree")
		default:
			require(false, "the class is known")
		}
	case handover:
		require(v.class == 0 && v.code == 0 && v.tree == nil, "nothing but its pairs")
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
// must, and only a check rejects (sections 2 and 5).
func (v value) fits(c charter) bool {
	if v.kind == failed && v.class == rejected {
		return c.checked
	}
	return v.kind != failed || v.class != disagreement || c.match > 1
}
