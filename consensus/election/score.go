package election

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// buckets is how many seeds a submitter has in a period for each attempt.
const buckets = 64

// Seed returns the seed of a draw: H(tag, network, submitter, period,
// H(spec, nonce) mod 64, attempt, beacon).
func Seed(ask Ask) consensus.Hash {
	bucket := hashOf(TagBucket, ask.Network, struct {
		_     struct{} `cbor:",toarray"`
		Spec  []byte   // the CID's bytes
		Nonce consensus.Hash
	}{Spec: ask.Spec.Bytes(), Nonce: ask.Nonce})
	return hashOf(TagSeed, ask.Network, struct {
		_         struct{} `cbor:",toarray"`
		Submitter admission.Key
		Period    uint64
		Bucket    uint64
		Attempt   uint64
		Beacon    []byte
	}{
		Submitter: ask.Submitter, Period: ask.Period, Bucket: uint64(bucket[31]) % buckets,
		Attempt: ask.Attempt, Beacon: ask.Beacon,
	})
}

func hashOf(tag string, network admission.Network, body any) consensus.Hash {
	data, err := dagcbor.Seal(tag, network[:], body)
	if err != nil {
		panic(err) // integers and bytes always encode
	}
	return dagcbor.Sum(data)
}

// pair is the canonical dag-cbor of [tag, a, b], written by hand since a draw
// hashes hundreds of them. Both hashed pairs begin with a hash over the network.
type pair struct {
	buf []byte
}

const keySize = 32

func newPair(tag string, a [32]byte) pair {
	head := append([]byte{0x83, 0x60 + byte(len(tag))}, tag...)
	return pair{slices.Concat(head, []byte{0x58, 32}, a[:], []byte{0x58, keySize}, make([]byte, keySize))}
}

// with returns H([tag, a, b]).
func (p pair) with(b admission.Key) [32]byte {
	copy(p.buf[len(p.buf)-keySize:], b[:])
	return sha256.Sum256(p.buf)
}

// ScoreUnit is the number of score units in 1: scores are fixed-point with 58
// fractional bits, and -ln(u) < 45 < 2^6.
const ScoreUnit = 1 << fraction

const fraction = 58

// Score returns -ln(u)/w in units of 1/ScoreUnit, where u = (h+1)/2^64 and h is
// the first 8 bytes, big-endian, of H(tag, seed, peer). It uses integers only,
// so that every machine gets the same. Weight 0 ranks behind everybody.
func Score(seed consensus.Hash, peer admission.Key, weight uint64) uint64 {
	return newPair(TagRank, seed).score(peer, weight)
}

func (p pair) score(peer admission.Key, weight uint64) uint64 {
	if weight == 0 {
		return math.MaxUint64
	}
	h := p.with(peer)
	return negLog(binary.BigEndian.Uint64(h[:8])) / weight
}

// ln2 is floor(ln(2) * 2^64).
const ln2 = 0xB17217F7D1CF79AB

// negLog returns -ln((h+1)/2^64) in units of 2^-58, less than 2 units from the
// true value.
//
// With x = h+1 = 2^k * m, 1 <= m < 2, -log2(x/2^64) = 64 - k - log2(m). The
// bits of log2(m) follow from squaring: log2(m*m) = 2*log2(m), so the next bit
// is 1 exactly if m*m >= 2, and then m*m/2 carries on. m has 63 fractional bits.
//
// Error: each squaring drops less than 2^-63 of m >= 1, hence less than
// 1.45 * 2^-63 of its log2, and the j-th counts 2^-j times: together less than
// 2^-62, or 1/16 unit. Stopping after 58 bits drops less than 1 unit. Both make
// log2(m) low, and the result, times ln 2 < 0.694, at most 0.74 units high. The
// constant for ln 2 is low by less than 0.8 * 2^-64, of a factor up to 64: 0.8
// units; the product drops less than 1. Together at most 1.8 units low.
func negLog(h uint64) uint64 {
	if h == math.MaxUint64 {
		return 0
	}
	x := h + 1
	zeros := bits.LeadingZeros64(x) // 63 - k
	m := x << zeros
	var log uint64
	for range fraction {
		hi, lo := bits.Mul64(m, m) // 126 fractional bits
		bit := hi >> 63            // m*m >= 2; no branch, since it is a coin's toss
		log = log<<1 | bit
		m = hi<<(1-bit) | lo>>63&(1-bit)
	}
	// zeros + 1 - log, in two parts since 64 times 2^58 has 65 bits.
	wholeHi, wholeLo := bits.Mul64(uint64(zeros)<<fraction, ln2)
	restHi, restLo := bits.Mul64(1<<fraction-log, ln2)
	_, carry := bits.Add64(wholeLo, restLo, 0)
	return wholeHi + restHi + carry
}

// RankFor returns the k peers that rank highest for a job id or a request id,
// best first: plain rendezvous hashing, lowest H(tag, key, peer) first
// (protocol, section 12). With fewer peers it returns them all.
func RankFor(key [32]byte, peers []admission.Key, k int) []admission.Key {
	type ranked struct {
		hash [32]byte
		peer admission.Key
	}
	p := newPair(TagKeeper, key)
	all := make([]ranked, len(peers))
	for i, peer := range peers {
		all[i] = ranked{p.with(peer), peer}
	}
	slices.SortFunc(all, func(a, b ranked) int { return slices.Compare(a.hash[:], b.hash[:]) })
	out := make([]admission.Key, 0, min(max(k, 0), len(all)))
	for _, r := range all[:cap(out)] {
		out = append(out, r.peer)
	}
	return out
}
