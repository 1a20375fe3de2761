package wasm

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// reader reads the binary format's primitives (core specification 2.0,
// section 5.2). It returns an error, and never panics, on anything short.
type reader struct {
	data []byte
	at   int
}

var errShort = errors.New("ends in the middle")

func (r *reader) empty() bool { return r.at == len(r.data) }

func (r *reader) byte() (byte, error) {
	if r.at >= len(r.data) {
		return 0, errShort
	}
	r.at++
	return r.data[r.at-1], nil
}

func (r *reader) take(n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(r.data)-r.at) {
		return nil, errShort
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at], nil
}

// leb skips or reads one LEB128 number of at most bits bits. The value is only
// meaningful for unsigned numbers.
func (r *reader) leb(bits int) (uint64, error) {
	if r.at < len(r.data) && r.data[r.at] < 0x80 { // nearly always
		r.at++
		return uint64(r.data[r.at-1]), nil
	}
	var v uint64
	for shift := 0; ; shift += 7 {
		b, err := r.byte()
		if err != nil {
			return 0, err
		}
		if shift >= bits {
			return 0, errors.New("number too long")
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
}

func (r *reader) u32() (uint32, error) {
	v, err := r.leb(32)
	if err == nil && v > 1<<32-1 {
		err = errors.New("number above 32 bits")
	}
	return uint32(v), err
}

func (r *reader) count(most uint32) (uint32, error) {
	n, err := r.u32()
	if err == nil && n > most {
		err = fmt.Errorf("%d entries, at most %d are taken", n, most)
	}
	return n, err
}

func (r *reader) name() (string, error) {
	n, err := r.u32()
	if err != nil {
		return "", err
	}
	b, err := r.take(n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", errors.New("name is not UTF-8")
	}
	return string(b), nil
}

func (r *reader) valueTypes() ([]byte, error) {
	n, err := r.count(1000)
	if err != nil {
		return nil, err
	}
	list, err := r.take(n)
	for _, b := range list {
		if !isValueType(b) {
			return nil, fmt.Errorf("type %#x is not known", b)
		}
	}
	return list, err
}

// valueType reads one of the types that are one byte. The engine knows types of more
// bytes, not all of its parts alike, so that what follows one would be other
// instructions to each.
func (r *reader) valueType() (byte, error) {
	b, err := r.byte()
	if err == nil && !isValueType(b) {
		err = fmt.Errorf("type %#x is not known", b)
	}
	return b, err
}

// isValueType: numbers, vectors, and references to functions and to what is outside.
func isValueType(b byte) bool { return b >= 0x7b && b <= 0x7f || b == typeFuncRef || b == typeExtern }

// limits reads the size of a memory or table: at the start, and at most.
func (r *reader) limits() (low, high uint32, bounded bool, err error) {
	flag, err := r.byte()
	if err != nil {
		return 0, 0, false, err
	}
	if flag > 1 {
		return 0, 0, false, errors.New("shared or 64-bit memory: threads and memory64 are not offered")
	}
	if low, err = r.u32(); err != nil || flag == 0 {
		return low, 0, false, err
	}
	if high, err = r.u32(); err == nil && high < low {
		err = fmt.Errorf("maximum %d below minimum %d", high, low)
	}
	return low, high, true, err
}
