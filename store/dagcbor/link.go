package dagcbor

import (
	"errors"
	"reflect"

	"github.com/ipfs/go-cid"
)

// linkTag is the CBOR tag of a CID in dag-cbor.
const linkTag = 42

// Link is a CID inside an encoded value: tag 42 over the CID's bytes with the
// identity prefix 0x00. The zero Link does not encode: an optional link is a
// pointer with omitempty. Only CIDv1 is accepted.
type Link struct{ cid.Cid }

// LinkTo wraps c.
func LinkTo(c cid.Cid) Link { return Link{c} }

func linkCodec() codec {
	return codec{
		least: 4, // tag, head, prefix, and at least a byte
		nests: true,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) {
			l := v.Addr().Interface().(*Link)
			if !l.Defined() {
				return nil, errors.New("undefined link")
			}
			if l.Version() != 1 {
				return nil, errVersion
			}
			raw := l.KeyString()
			out = appendHead(out, majorTag, linkTag)
			out = append(appendHead(out, majorBytes, uint64(len(raw)+1)), 0)
			return append(out, raw...), nil
		},
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			tag, rest, err := expect(data, majorTag)
			if err != nil {
				return nil, err
			}
			c, rest, err := readLink(tag, rest)
			if err != nil {
				return nil, err
			}
			v.Addr().Interface().(*Link).Cid = c
			return rest, nil
		},
	}
}
