package dagcbor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
)

// CBOR's major types, and the simple values that dag-cbor has.
const (
	majorUint, majorNegative, majorBytes, majorText      = 0, 1, 2, 3
	majorArray, majorMap, majorTag, majorSimple          = 4, 5, 6, 7
	simpleFalse, simpleTrue, simpleNull                  = 20, 21, 22
	argUint8, argUint16, argUint32, argUint64       byte = 24, 25, 26, 27
)

// maxNested bounds arrays, maps and links inside one another: how many there are
// from the outermost to the innermost, empty ones too.
const maxNested = 32

// Links returns the CIDs in an encoded value of any shape, in the order of the
// bytes, as often as they occur. It refuses what is not canonical dag-cbor in
// the sense of this package, and anything over MaxSize.
func Links(data []byte) ([]cid.Cid, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("dagcbor: %w", errSize(len(data)))
	}
	var s scanner
	rest, err := s.item(data, 0)
	if err == nil && len(rest) > 0 {
		err = errAfter
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	return s.links, nil
}

// scanner checks the form of a value without knowing its type, which reaches
// what a decoder copies unread, such as extensions.
type scanner struct{ links []cid.Cid }

// item checks the value at the start of data, which is inside depth others, and
// returns what follows it.
func (s *scanner) item(data []byte, depth int) (rest []byte, err error) {
	major, arg, rest, err := head(data)
	if err != nil {
		return nil, err
	}
	if depth >= maxNested && major >= majorArray && major <= majorTag {
		return nil, errNested
	}
	switch major {
	case majorUint:
		return rest, nil
	case majorNegative:
		if arg > math.MaxInt64 {
			return nil, errors.New("integer below 64 bits")
		}
		return rest, nil
	case majorBytes, majorText:
		_, rest, err = payload(major, arg, rest)
		return rest, err
	case majorArray:
		for ; arg > 0; arg-- {
			if rest, err = s.item(rest, depth+1); err != nil {
				return nil, err
			}
		}
		return rest, nil
	case majorMap:
		return s.pairs(arg, rest, depth)
	case majorTag:
		return s.link(arg, rest)
	}
	return rest, nil // head admits only the simple values of dag-cbor
}

// pairs checks n keys and values: text keys, shorter ones first, each once.
func (s *scanner) pairs(n uint64, data []byte, depth int) ([]byte, error) {
	var last []byte
	for i := range n {
		key, rest, err := readKey(data, last, i == 0)
		if err != nil {
			return nil, err
		}
		last = key
		if data, err = s.item(rest, depth+1); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (s *scanner) link(tag uint64, data []byte) ([]byte, error) {
	c, rest, err := readLink(tag, data)
	if err == nil {
		s.links = append(s.links, c)
	}
	return rest, err
}

// readLink reads what follows a tag, which has to be that of links.
func readLink(tag uint64, data []byte) (cid.Cid, []byte, error) {
	if tag != linkTag {
		return cid.Undef, nil, fmt.Errorf("tag %d", tag)
	}
	raw, rest, err := readString(data, majorBytes)
	if err != nil {
		return cid.Undef, nil, err
	}
	c, err := castLink(raw)
	return c, rest, err
}

// head reads the first byte of an item and the argument that it announces,
// which must be as short as can be.
func head(data []byte) (major byte, arg uint64, rest []byte, err error) {
	if len(data) == 0 {
		return 0, 0, nil, errShort
	}
	major, info, rest := data[0]>>5, data[0]&0x1f, data[1:]
	if major == majorSimple {
		if info < simpleFalse || info > simpleNull {
			return 0, 0, nil, fmt.Errorf("simple value or float %d", info)
		}
		return major, 0, rest, nil
	}
	if info < argUint8 {
		return major, uint64(info), rest, nil
	}
	if info > argUint64 {
		return 0, 0, nil, errors.New("indefinite length")
	}
	size := 1 << (info - argUint8)
	if len(rest) < size {
		return 0, 0, nil, errShort
	}
	shortest := uint64(argUint8)
	switch info {
	case argUint8:
		arg = uint64(rest[0])
	case argUint16:
		arg, shortest = uint64(binary.BigEndian.Uint16(rest)), math.MaxUint8+1
	case argUint32:
		arg, shortest = uint64(binary.BigEndian.Uint32(rest)), math.MaxUint16+1
	case argUint64:
		arg, shortest = binary.BigEndian.Uint64(rest), math.MaxUint32+1
	}
	if arg < shortest {
		return 0, 0, nil, fmt.Errorf("%d is not in its shortest form", arg)
	}
	return major, arg, rest[size:], nil
}

// payload splits the n bytes of a byte or text string off.
func payload(major byte, n uint64, data []byte) (value, rest []byte, err error) {
	if n > uint64(len(data)) {
		return nil, nil, errShort
	}
	value, rest = data[:n], data[n:]
	if major == majorText && !utf8.Valid(value) {
		return nil, nil, errText
	}
	return value, rest, nil
}

var errVersion = errors.New("link is not a CIDv1")

// castLink reads the bytes of a link: the identity prefix 0x00 and a CIDv1.
func castLink(raw []byte) (cid.Cid, error) {
	if len(raw) < 2 || raw[0] != 0 {
		return cid.Undef, errors.New("link without its prefix")
	}
	c, err := cid.Cast(raw[1:])
	if err != nil {
		return cid.Undef, err
	}
	if c.Version() != 1 {
		return cid.Undef, errVersion
	}
	return c, nil
}
