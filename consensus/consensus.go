// Package consensus holds the words of agreement and their checks: charter,
// roll, roster, statement, value, certificate. It is pure, and it is all that a
// stranger needs to judge a certificate (protocol, sections 2, 3 and 11).
//
// It knows resources only as labels and quantities; what a job is, it does not
// know at all.
package consensus

import (
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Version of the formats in this package.
const Version = 1

// Tags of what is sealed here.
const (
	TagCharter = "muster/charter/1"
	TagOwner   = "muster/owner/1"
	TagRoll    = "muster/roll/1"
	TagAdvert  = "muster/advert/1"
	TagRequest = "muster/request/1"
	TagValue   = "muster/value/1"
	TagReport  = "muster/report/1"
	TagCommit  = "muster/reportcommit/1"
	TagBatch   = "muster/batch/1"
	TagChain   = "muster/decision/1"
	TagCancel  = "muster/cancel/1"
)

// Hash is a SHA-256.
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Zero reports whether h is unset.
func (h Hash) Zero() bool { return h == Hash{} }

// JobID is the SHA-256 of an unsigned sealed charter.
type JobID Hash

// CID returns the job id as a CIDv1.
func (id JobID) CID() cid.Cid { return dagcbor.CIDOf(id) }

// String returns the CID's text: bafyrei...
func (id JobID) String() string { return id.CID().String() }

// ParseJobID reads what String writes.
func ParseJobID(s string) (JobID, error) {
	sum, err := parseCID(s)
	return JobID(sum), err
}

// RequestID is H(owner, idempotency key): the name under which a caller finds
// the job that lives (protocol, section 2).
type RequestID Hash

// String returns the request id in hexadecimal.
func (id RequestID) String() string { return Hash(id).String() }

// NewRequestID derives the request id of an owner's idempotency key.
func NewRequestID(network admission.Network, owner admission.Key, key string) (RequestID, error) {
	data, err := dagcbor.Seal(TagRequest, network[:], struct {
		_     struct{} `cbor:",toarray"`
		Owner admission.Key
		Key   string
	}{Owner: owner, Key: key})
	return RequestID(dagcbor.Sum(data)), err
}

// namedBySHA256 reports whether a link is a CIDv1 with a whole SHA-256: weaker
// hashes would let two contents bear one name.
func namedBySHA256(l dagcbor.Link) bool {
	if !l.Defined() {
		return false
	}
	p := l.Prefix()
	return p.Version == 1 && p.MhType == multihash.SHA2_256 && p.MhLength == len(Hash{})
}

func parseCID(s string) ([32]byte, error) {
	var sum [32]byte
	c, err := cid.Decode(s)
	if err != nil {
		return sum, fmt.Errorf("id %q: %w", s, err)
	}
	decoded, err := multihash.Decode(c.Hash())
	if err != nil || c.Version() != 1 || c.Type() != cid.DagCBOR || decoded.Code != multihash.SHA2_256 || len(decoded.Digest) != len(sum) {
		return sum, fmt.Errorf("id %q is not a dag-cbor SHA-256 CIDv1", s)
	}
	copy(sum[:], decoded.Digest)
	return sum, nil
}

// Fault is a fault model.
type Fault uint64

// The fault models. At most f members are faulty in the roster of every height.
const (
	Byzantine Fault = 1
	Crash     Fault = 2
)

// MaxRoster bounds n.
const MaxRoster = 31

// Thresholds are the numbers that follow from a fault model and f (protocol,
// section 3).
type Thresholds struct {
	N         int // members
	Quorum    int // accept, prepare, commit
	Skip      int // round changes above one's round that make one jump
	Match     int // matching reports that make a deterministic value valid
	Suspicion int // suspects, timeouts, started: f+1
}

// For returns the thresholds for f faults, or an error if the model is unknown
// or the roster would be too large.
func (m Fault) For(f uint64) (Thresholds, error) {
	if f > MaxRoster {
		return Thresholds{}, fmt.Errorf("f = %d is too large", f)
	}
	k := int(f)
	var t Thresholds
	switch m {
	case Byzantine:
		t = Thresholds{N: 3*k + 1, Quorum: 2*k + 1, Skip: k + 1, Match: k + 1, Suspicion: k + 1}
	case Crash:
		t = Thresholds{N: 2*k + 1, Quorum: k + 1, Skip: 1, Match: 1, Suspicion: k + 1}
	default:
		return t, fmt.Errorf("fault model %d is not known", m)
	}
	if t.N > MaxRoster {
		return Thresholds{}, fmt.Errorf("a roster of %d, at most %d", t.N, MaxRoster)
	}
	return t, nil
}

// String names the model.
func (m Fault) String() string {
	switch m {
	case Byzantine:
		return "byzantine"
	case Crash:
		return "crash"
	}
	return fmt.Sprintf("fault(%d)", uint64(m))
}
