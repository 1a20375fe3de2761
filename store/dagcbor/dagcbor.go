// Package dagcbor is the one codec of muster: canonical dag-cbor, decoded
// strictly. Everything that is hashed, signed, journalled or sent goes through
// it, so two nodes that mean the same thing hold the same bytes.
//
// Canonical means: shortest integers and lengths, map keys ordered by length
// and then by bytes, no indefinite lengths, no floats, links as tag 42. A
// decoder accepts exactly what the encoder would have written (protocol,
// section 2).
package dagcbor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// ErrNotCanonical is returned for bytes that decode but are not the canonical
// encoding of what they decode to.
var ErrNotCanonical = errors.New("dagcbor: not canonical")

// MaxSize bounds one encoded value, in bytes.
const MaxSize = 4 << 20

var (
	encoder = mustEncoder()
	decoder = mustDecoder()
)

func mustEncoder() cbor.EncMode {
	mode, err := cbor.EncOptions{
		Sort:          cbor.SortLengthFirst,
		IndefLength:   cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsEmpty,
	}.EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}

func mustDecoder() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   32,
		MaxArrayElements:  1 << 17,
		MaxMapPairs:       1 << 17,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

// Marshal returns the canonical encoding of v. It refuses what dag-cbor cannot
// say: floats, map keys that are not text, text that is not UTF-8, raw messages
// that are not canonical.
func Marshal(v any) ([]byte, error) {
	data, err := encoder.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("dagcbor: encode %T: %w", v, err)
	}
	if _, err := Links(data); err != nil {
		return nil, fmt.Errorf("dagcbor: encode %T: %w", v, err)
	}
	return data, nil
}

// UnmarshalForm is Unmarshal for what is neither hashed nor kept, such as the
// envelope of a message: it refuses all that is not canonical dag-cbor, but not
// another canonical way to say the same, such as null for an empty list.
func UnmarshalForm(data []byte, v any) error {
	if _, err := Links(data); err != nil {
		return err
	}
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("dagcbor: decode %T: %w", v, err)
	}
	return nil
}

// Unmarshal decodes data into v. It refuses unknown and repeated keys, data
// after the value, anything over MaxSize, and, with ErrNotCanonical, bytes that
// Marshal would not have produced.
func Unmarshal(data []byte, v any) error {
	if _, err := Links(data); err != nil {
		return err
	}
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("dagcbor: decode %T: %w", v, err)
	}
	again, err := encoder.Marshal(v)
	if err != nil {
		return fmt.Errorf("dagcbor: decode %T: %w", v, err)
	}
	if !bytes.Equal(again, data) {
		return ErrNotCanonical
	}
	return nil
}

// Sum returns the SHA-256 of data: the digest in its CID.
func Sum(data []byte) [32]byte { return sha256.Sum256(data) }

// CID returns the CIDv1 (dag-cbor, SHA-256) of an encoded value.
func CID(data []byte) cid.Cid { return CIDOf(Sum(data)) }

// CIDOf returns the CIDv1 (dag-cbor, SHA-256) whose digest is sum.
func CIDOf(sum [32]byte) cid.Cid {
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // a 32-byte digest always encodes
	}
	return cid.NewCidV1(cid.DagCBOR, mh)
}

// Seal returns the canonical encoding of [tag, network, body]: the form of
// everything in muster that is hashed or signed (protocol, section 2). A tag is
// "muster/<kind>/1"; network is empty only in a genesis, which cannot name its
// own hash.
func Seal(tag string, network []byte, body any) ([]byte, error) {
	inner, err := Marshal(body)
	if err != nil {
		return nil, err
	}
	return Marshal(sealed{Tag: tag, Network: network, Body: inner})
}

// Unseal decodes what Seal wrote, for exactly this tag and network.
func Unseal(tag string, network, data []byte, body any) error {
	var s sealed
	if err := Unmarshal(data, &s); err != nil {
		return err
	}
	if s.Tag != tag {
		return fmt.Errorf("dagcbor: tag %q, want %q", s.Tag, tag)
	}
	if !bytes.Equal(s.Network, network) {
		return fmt.Errorf("dagcbor: %s of another network", tag)
	}
	return Unmarshal(s.Body, body)
}

type sealed struct {
	_       struct{} `cbor:",toarray"`
	Tag     string
	Network []byte
	Body    cbor.RawMessage
}
