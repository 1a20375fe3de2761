package dagcbor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"unicode/utf8"
)

// null is the encoding of nil.
const null = majorSimple<<5 | simpleNull

var (
	errShort  = errors.New("ends in the middle")
	errNested = fmt.Errorf("nested more than %d deep", maxNested)
	errText   = errors.New("text is not UTF-8")
)

// appendHead appends the head of an item, with its argument in the shortest form.
func appendHead(out []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < uint64(argUint8):
		return append(out, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(out, major|argUint8, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, major|argUint16), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, major|argUint32), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(out, major|argUint64), arg)
}

func appendText(out []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errText
	}
	return append(appendHead(out, majorText, uint64(len(s))), s...), nil
}

// majorNames say in errors what an item is.
var majorNames = [...]string{"integer", "negative integer", "bytes", "text", "list", "map", "link", "simple value"}

// expect reads the head of an item that has to be of one major type.
func expect(data []byte, want byte) (arg uint64, rest []byte, err error) {
	major, arg, rest, err := head(data)
	if err != nil {
		return 0, nil, err
	}
	if major != want {
		return 0, nil, fmt.Errorf("%s where %s was expected", majorNames[major], majorNames[want])
	}
	return arg, rest, nil
}

// readString reads a byte or text string.
func readString(data []byte, major byte) (value, rest []byte, err error) {
	arg, rest, err := expect(data, major)
	if err != nil {
		return nil, nil, err
	}
	return payload(major, arg, rest)
}

// readKey reads a key that comes after last in a map, if it is not the first.
func readKey(data, last []byte, first bool) (key, rest []byte, err error) {
	key, rest, err = readString(data, majorText)
	if err == nil && !first && (len(last) > len(key) || len(last) == len(key) && bytes.Compare(last, key) >= 0) {
		err = fmt.Errorf("map key %q out of order", key)
	}
	return key, rest, err
}

func boolCodec() codec {
	return codec{
		least: 1, empty: reflect.Value.IsZero,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) {
			if v.Bool() {
				return append(out, majorSimple<<5|simpleTrue), nil
			}
			return append(out, majorSimple<<5|simpleFalse), nil
		},
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			if len(data) == 0 {
				return nil, errShort
			}
			switch data[0] {
			case majorSimple<<5 | simpleTrue:
				v.SetBool(true)
			case majorSimple<<5 | simpleFalse:
				v.SetBool(false)
			default:
				return nil, errors.New("no truth value where one was expected")
			}
			return data[1:], nil
		},
	}
}

func uintCodec() codec {
	return codec{
		least: 1, empty: reflect.Value.IsZero,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) {
			return appendHead(out, majorUint, v.Uint()), nil
		},
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			arg, rest, err := expect(data, majorUint)
			if err == nil && v.OverflowUint(arg) {
				err = fmt.Errorf("%d is too large", arg)
			}
			if err != nil {
				return nil, err
			}
			v.SetUint(arg)
			return rest, nil
		},
	}
}

func intCodec() codec {
	return codec{
		least: 1, empty: reflect.Value.IsZero,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) {
			if n := v.Int(); n < 0 {
				return appendHead(out, majorNegative, uint64(-1-n)), nil
			}
			return appendHead(out, majorUint, uint64(v.Int())), nil
		},
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			major, arg, rest, err := head(data)
			switch {
			case err != nil:
				return nil, err
			case major > majorNegative:
				return nil, fmt.Errorf("%s where an integer was expected", majorNames[major])
			case arg > math.MaxInt64:
				return nil, errors.New("an integer beyond 64 bits")
			}
			n := int64(arg)
			if major == majorNegative {
				n = -1 - n
			}
			if v.OverflowInt(n) {
				return nil, fmt.Errorf("%d is too large", n)
			}
			v.SetInt(n)
			return rest, nil
		},
	}
}

func textCodec() codec {
	return codec{
		least: 1, empty: noLength,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) { return appendText(out, v.String()) },
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			value, rest, err := readString(data, majorText)
			if err != nil {
				return nil, err
			}
			v.SetString(string(value))
			return rest, nil
		},
	}
}

func bytesCodec() codec {
	return codec{
		least: 1, empty: noLength,
		write: func(out []byte, v reflect.Value, _ int) ([]byte, error) {
			return append(appendHead(out, majorBytes, uint64(v.Len())), v.Bytes()...), nil
		},
		read: func(data []byte, v reflect.Value, _ int) ([]byte, error) {
			value, rest, err := readString(data, majorBytes)
			if err != nil {
				return nil, err
			}
			v.SetBytes(append(make([]byte, 0, len(value)), value...))
			return rest, nil
		},
	}
}

// arrayCodec is for arrays of bytes: keys, hashes, signatures.
func arrayCodec(c *codec, t reflect.Type) error {
	if t.Elem().Kind() != reflect.Uint8 || t.Len() == 0 {
		return fmt.Errorf("%s is no array of bytes", t)
	}
	start := appendHead(nil, majorBytes, uint64(t.Len()))
	c.least = len(start) + t.Len()
	c.write = func(out []byte, v reflect.Value, _ int) ([]byte, error) {
		return append(append(out, start...), v.Bytes()...), nil
	}
	c.read = func(data []byte, v reflect.Value, _ int) ([]byte, error) {
		if len(data) < c.least || !startsWith(data, start) {
			return nil, fmt.Errorf("no %d bytes where they were expected", t.Len())
		}
		copy(v.Bytes(), data[len(start):c.least])
		return data[c.least:], nil
	}
	return nil
}

// Raw is an encoded value that is carried unread, such as an extension.
type Raw []byte

func rawCodec() codec {
	return codec{
		least: 1, empty: noLength,
		write: func(out []byte, v reflect.Value, depth int) ([]byte, error) {
			var s scanner
			rest, err := s.item(v.Bytes(), depth)
			if err == nil && len(rest) > 0 {
				err = errAfter
			}
			if err != nil {
				return nil, err
			}
			return append(out, v.Bytes()...), nil
		},
		read: func(data []byte, v reflect.Value, depth int) ([]byte, error) {
			var s scanner
			rest, err := s.item(data, depth)
			if err != nil {
				return nil, err
			}
			v.SetBytes(slices.Clone(data[:len(data)-len(rest)]))
			return rest, nil
		},
	}
}
