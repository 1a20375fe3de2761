// Package dagcbor is the one codec of muster: canonical dag-cbor, decoded
// strictly. Everything that is hashed, signed, journalled or sent goes through
// it, so two nodes that mean the same thing hold the same bytes.
//
// Canonical means: shortest integers and lengths, map keys ordered by length
// and then by bytes, no indefinite lengths, no floats, links as tag 42. A
// decoder accepts exactly what the encoder would have written (protocol,
// section 2; decision 009).
package dagcbor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// ErrNotCanonical is returned for bytes that are not the canonical encoding of a
// value of the type that was asked for, or, by Links, of any value.
var ErrNotCanonical = errors.New("dagcbor: not canonical")

var errAfter = errors.New("bytes after the value")

// MaxSize bounds one encoded value, in bytes.
const MaxSize = 4 << 20

// Marshal returns the canonical encoding of v, or of what v points to. A struct
// is a list of its fields if a field `_ struct{}` has the tag `cbor:",toarray"`,
// else a map by the names in their tags; omitempty leaves out what is empty. A
// nil pointer is null, a nil slice or map is empty. Marshal refuses what
// dag-cbor cannot say or what has no single form here: floats, interfaces, map
// keys that are not text, text that is not UTF-8, a Raw that is not canonical,
// anything over MaxSize.
func Marshal(v any) ([]byte, error) {
	data, err := marshal(nil, v, 0)
	if err != nil {
		return nil, fmt.Errorf("dagcbor: encode %T: %w", v, err)
	}
	return data, nil
}

// marshal appends v, which is so deep inside a value, to what stands before it.
func marshal(before []byte, v any, depth int) (data []byte, err error) {
	err = encode(before, v, depth, func(out []byte) { data = bytes.Clone(out) })
	return data, err
}

// encode is marshal for a caller that keeps nothing of what it is given.
func encode(before []byte, v any, depth int, use func([]byte)) error {
	value := reflect.ValueOf(v)
	if !value.IsValid() {
		return errors.New("nothing to encode")
	}
	c, err := codecOf(value.Type())
	if err != nil {
		return err
	}
	if value.Kind() != reflect.Pointer { // its parts are to be addressable
		held := reflect.New(value.Type()).Elem()
		held.Set(value)
		value = held
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	out, err := c.encode(append((*buffer)[:0], before...), value, depth)
	if err != nil {
		return err
	}
	if len(out) > MaxSize {
		return errSize(len(out))
	}
	if cap(out) <= keptBuffer {
		*buffer = out
	}
	use(out)
	return nil
}

// buffers are what values are encoded in before their length is known; those
// that have grown beyond keptBuffer bytes are not kept.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const keptBuffer = 64 << 10

func errSize(n int) error { return fmt.Errorf("%d bytes, at most %d", n, MaxSize) }

// Unmarshal decodes data into what v points to, and accepts exactly what
// Marshal would write for it: it refuses, with ErrNotCanonical, unknown,
// repeated and missing keys, data after the value, anything over MaxSize, and
// every second way to say the same. What it returns shares no memory with data.
func Unmarshal(data []byte, v any) error {
	if len(data) > MaxSize {
		return decodeError(v, errSize(len(data)))
	}
	if err := unmarshal(data, v, 0); err != nil {
		return decodeError(v, err)
	}
	return nil
}

func decodeError(v any, err error) error {
	return fmt.Errorf("dagcbor: decode %T: %w: %w", v, ErrNotCanonical, err)
}

func unmarshal(data []byte, v any, depth int) error {
	value := reflect.ValueOf(v)
	if value.Kind() != reflect.Pointer || value.IsNil() {
		return errors.New("nothing to decode into")
	}
	c, err := codecOf(value.Type().Elem())
	if err != nil {
		return err
	}
	rest, err := c.decode(data, value.Elem(), depth)
	if err == nil && len(rest) > 0 {
		err = errAfter
	}
	return err
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
func Seal(tag string, network []byte, body any) (data []byte, err error) {
	err = seal(tag, network, body, func(out []byte) { data = bytes.Clone(out) })
	return data, err
}

// SumSealed returns the SHA-256 of what Seal returns, and makes no copy of it.
func SumSealed(tag string, network []byte, body any) (sum [32]byte, err error) {
	err = seal(tag, network, body, func(out []byte) { sum = Sum(out) })
	return sum, err
}

func seal(tag string, network []byte, body any, use func([]byte)) error {
	var buf [128]byte
	before, err := appendText(append(buf[:0], sealHead), tag)
	if err == nil {
		before = append(appendHead(before, majorBytes, uint64(len(network))), network...)
		err = encode(before, body, 1, use)
	}
	if err != nil {
		return fmt.Errorf("dagcbor: seal %s: %w", tag, err)
	}
	return nil
}

// sealHead begins a list of three.
const sealHead = majorArray<<5 | 3

// Unseal decodes what Seal wrote, for exactly this tag and network.
func Unseal(tag string, network, data []byte, body any) error {
	if len(data) > MaxSize {
		return decodeError(body, errSize(len(data)))
	}
	if len(data) == 0 || data[0] != sealHead {
		return decodeError(body, errors.New("nothing sealed"))
	}
	gotTag, rest, err := readString(data[1:], majorText)
	if err != nil {
		return decodeError(body, err)
	}
	gotNetwork, rest, err := readString(rest, majorBytes)
	switch {
	case err != nil:
		return decodeError(body, err)
	case string(gotTag) != tag:
		return fmt.Errorf("dagcbor: tag %q, want %q", gotTag, tag)
	case !bytes.Equal(gotNetwork, network):
		return fmt.Errorf("dagcbor: %s of another network", tag)
	}
	if err := unmarshal(rest, body, 1); err != nil {
		return decodeError(body, err)
	}
	return nil
}
