package dagcbor

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
)

// linkTag is the CBOR tag of a CID in dag-cbor.
const linkTag = 42

// Link is a CID inside an encoded value. The zero Link does not encode: an
// optional link is a pointer with omitempty.
type Link struct{ cid.Cid }

// LinkTo wraps c.
func LinkTo(c cid.Cid) Link { return Link{c} }

// MarshalCBOR writes tag 42 over the CID's bytes with the identity prefix 0x00.
func (l Link) MarshalCBOR() ([]byte, error) {
	if !l.Defined() {
		return nil, errors.New("undefined link")
	}
	return encoder.Marshal(cbor.Tag{Number: linkTag, Content: append([]byte{0}, l.Bytes()...)})
}

// UnmarshalCBOR reads what MarshalCBOR writes; only CIDv1 is accepted.
func (l *Link) UnmarshalCBOR(data []byte) error {
	var tag cbor.RawTag
	if err := decoder.Unmarshal(data, &tag); err != nil {
		return err
	}
	if tag.Number != linkTag {
		return fmt.Errorf("tag %d where a link was expected", tag.Number)
	}
	var raw []byte
	if err := decoder.Unmarshal(tag.Content, &raw); err != nil {
		return err
	}
	c, err := castLink(raw)
	if err != nil {
		return err
	}
	l.Cid = c
	return nil
}
