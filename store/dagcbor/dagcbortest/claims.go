// Package dagcbortest holds what tests of decoders share.
package dagcbortest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// kinds are the CBOR major types that say how much is to come.
var kinds = []byte{0x40, 0x60, 0x80, 0xa0}

const (
	many   = 1 << 12
	places = 1 << 8
)

// lengths are claims that no message can keep, in each of the longer forms.
var lengths = []uint64{1<<16 - 1, 1 << 17, 1<<31 - 1, 1 << 40, 1<<63 - 1, 1<<64 - 1}

// fillers are the shortest items that there are.
var fillers = []byte{0x00, 0x40, 0x80, 0xa0, 0xf6}

// Claims puts, at each place of a message, a head that claims far more than
// follows, and the shortest items in great number. It fails if a decoder takes
// the claim for granted, or makes much of little: if it allocates more than
// 1 MiB and 256 times what it was given. Of a long message it takes one place in
// a few, others each time.
func Claims(t *testing.T, valid []byte, decode func([]byte)) {
	t.Helper()
	decode(valid) // what is made once is not counted
	stride := len(valid)/places + 1
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for at := int(seed % uint64(stride)); at < len(valid); at += stride {
		var claims [][]byte
		for _, kind := range kinds {
			for _, n := range lengths {
				claims = append(claims, slices.Concat(valid[:at], head(kind, n)), slices.Concat(valid[:at], head(kind, n), valid[at:]))
			}
		}
		for _, filler := range fillers {
			claims = append(claims, slices.Concat(valid[:at], head(0x80, many), bytes.Repeat([]byte{filler}, many)))
		}
		given := 0
		got := allocated(func() {
			for _, claim := range claims {
				given += len(claim)
				decode(claim)
			}
		})
		if most := uint64(1<<20 + 256*given); got > most {
			t.Fatalf("%d bytes, with claims at %d, make it allocate %d: %x", given, at, got, valid)
		}
	}
}

func head(kind byte, n uint64) []byte {
	var out bytes.Buffer
	switch {
	case n < 1<<16:
		out.WriteByte(kind | 25)
		_ = binary.Write(&out, binary.BigEndian, uint16(n))
	case n < 1<<32:
		out.WriteByte(kind | 26)
		_ = binary.Write(&out, binary.BigEndian, uint32(n))
	default:
		out.WriteByte(kind | 27)
		_ = binary.Write(&out, binary.BigEndian, n)
	}
	return out.Bytes()
}

func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
