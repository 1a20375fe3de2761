package consensus

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Bounds of a roll: entries, and bytes when sealed.
const (
	MaxRoll      = 512
	MaxRollBytes = 1 << 20
)

// Advert is what a node says of itself: signed, numbered within an incarnation
// (protocol, section 13). Quantities are milli-CPU, bytes and counts.
type Advert struct {
	_           struct{} `cbor:",toarray"`
	Peer        admission.Key
	Incarnation admission.Incarnation
	Sequence    uint64
	Issued      int64 // Unix milliseconds
	Total       map[string]uint64
	Free        map[string]uint64
	Queued      uint64
	OldestWait  int64 // milliseconds
	Features    []string
	Classes     []Class
	Addresses   []string
}

// SignedAdvert is an advert, its credential, and its own signature.
type SignedAdvert struct {
	_          struct{} `cbor:",toarray"`
	Advert     Advert
	Credential admission.SignedCredential
	Signature  admission.Signature
}

// RollEntry describes one eligible node as the roll's maker saw it.
type RollEntry struct {
	_           struct{} `cbor:",toarray"`
	Peer        admission.Key
	Incarnation admission.Incarnation
	Credential  admission.SignedCredential
	Advert      Hash // SHA-256 of the sealed advert
	Classes     []Class
	Features    []string
	Total       map[string]uint64
	Free        map[string]uint64
	Group       string // address group
}

// Roll is a frozen list of eligible nodes, by ascending peer.
type Roll struct {
	V       uint64        `cbor:"v"`
	Made    int64         `cbor:"made"` // Unix milliseconds
	Maker   admission.Key `cbor:"maker"`
	Entries []RollEntry   `cbor:"entries"`
}

// Seal validates the roll and returns its bytes and the link charters carry.
func (r *Roll) Seal(network admission.Network) ([]byte, dagcbor.Link, error) {
	if err := r.validate(); err != nil {
		return nil, dagcbor.Link{}, err
	}
	data, err := dagcbor.Seal(TagRoll, network[:], r)
	if err != nil {
		return nil, dagcbor.Link{}, err
	}
	if len(data) > MaxRollBytes {
		return nil, dagcbor.Link{}, errRollBytes(len(data))
	}
	return data, dagcbor.LinkTo(dagcbor.CID(data)), nil
}

func errRollBytes(n int) error {
	return fmt.Errorf("roll: %d bytes, at most %d", n, MaxRollBytes)
}

// OpenRoll decodes a roll and checks its form, and that every entry's
// credential is good for a node of the network.
func OpenRoll(g admission.Genesis, network admission.Network, data []byte) (*Roll, error) {
	if len(data) > MaxRollBytes {
		return nil, errRollBytes(len(data))
	}
	r := new(Roll)
	if err := dagcbor.Unseal(TagRoll, network[:], data, r); err != nil {
		return nil, fmt.Errorf("roll: %w", err)
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	for _, e := range r.Entries {
		if err := e.Credential.Check(g, network); err != nil {
			return nil, fmt.Errorf("roll: %w", err)
		}
	}
	return r, nil
}

func (r *Roll) validate() error {
	if r.V != Version {
		return fmt.Errorf("roll: version %d: %w", r.V, ErrUnsupported)
	}
	if r.Made <= 0 {
		return errors.New("roll: it was made at no time")
	}
	if len(r.Entries) > MaxRoll {
		return fmt.Errorf("roll: %d entries, at most %d", len(r.Entries), MaxRoll)
	}
	for i, e := range r.Entries {
		if i > 0 && string(r.Entries[i-1].Peer[:]) >= string(e.Peer[:]) {
			return errors.New("roll: its entries are not distinct and in order")
		}
		if e.Credential.Body.Subject != e.Peer || e.Credential.Body.Kind != admission.KindNode {
			return errors.New("roll: an entry's credential is not that node's")
		}
		if len(e.Classes) > 8 || len(e.Features) > 32 || len(e.Total) > 32 || len(e.Free) > 32 || len(e.Group) > 64 {
			return errors.New("roll: an entry is too large")
		}
		if !slices.IsSorted(e.Features) {
			return errors.New("roll: features are sorted")
		}
	}
	return nil
}
