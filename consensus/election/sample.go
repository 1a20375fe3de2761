package election

import (
	"crypto/sha256"
	"math/bits"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

const (
	sampleKeys  = 16
	sampleLeast = 128
	maxBits     = 64
)

// Sample is who belongs to a submitter's rolls in a period, in a network too
// large for everybody to (protocol, section 9): the peers whose DHT id, the
// SHA-256 of the peer id, begins with the first bits of one of 16 keys.
type Sample struct {
	keys [sampleKeys]uint64 // their first 64 bits
}

// NewSample returns the sample of a submitter in a period.
func NewSample(network admission.Network, submitter admission.Key, period uint64) Sample {
	var s Sample
	for i := range s.keys {
		h := hashOf(TagSample, network, struct {
			_         struct{} `cbor:",toarray"`
			Submitter admission.Key
			Period    uint64
			Index     uint64
		}{Submitter: submitter, Period: period, Index: uint64(i)})
		s.keys[i] = first64(h)
	}
	return s
}

func first64(h [32]byte) uint64 {
	var x uint64
	for _, b := range h[:8] {
		x = x<<8 | uint64(b)
	}
	return x
}

// depth returns the most leading bits that the peer's DHT id shares with a key.
func (s *Sample) depth(peer admission.Key) int {
	id := first64(sha256.Sum256([]byte(peer.Peer())))
	most := 0
	for _, k := range s.keys {
		most = max(most, bits.LeadingZeros64(id^k))
	}
	return most
}

// Belongs reports whether a peer belongs at the given number of bits; at 0
// everybody does.
func (s *Sample) Belongs(peer admission.Key, bits int) bool {
	return bits <= 0 || s.depth(peer) >= bits
}

// Bits returns how many bits a roll of these peers takes: 0 while they all fit
// in one roll, else the most that leave at least 128.
func (s *Sample) Bits(peers []admission.Key) int {
	if len(peers) <= consensus.MaxRoll {
		return 0
	}
	return s.bits(peers)
}

func (s *Sample) bits(peers []admission.Key) int {
	var atLeast [maxBits + 2]int
	for _, p := range peers {
		atLeast[s.depth(p)]++
	}
	for b := maxBits; b >= 0; b-- {
		atLeast[b] += atLeast[b+1]
		if atLeast[b] >= sampleLeast {
			return b
		}
	}
	return 0
}
