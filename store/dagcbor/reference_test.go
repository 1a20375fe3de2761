package dagcbor

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// The reference is a codec for all of CBOR, in canonical mode. The codec of this
// package has to say the same as the reference does, byte for byte.
var referenceMode = must2(cbor.EncOptions{
	Sort:          cbor.SortLengthFirst,
	IndefLength:   cbor.IndefLengthForbidden,
	NilContainers: cbor.NilContainerAsEmpty,
}.EncMode())

var referenceDecoder = must2(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	MaxNestedLevels:   maxNested,
	MaxArrayElements:  maxElements,
	MaxMapPairs:       maxElements,
	UTF8:              cbor.UTF8RejectInvalid,
}.DecMode())

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// MarshalCBOR is how the reference writes a link.
func (l Link) MarshalCBOR() ([]byte, error) {
	return referenceMode.Marshal(cbor.Tag{Number: linkTag, Content: append([]byte{0}, l.Bytes()...)})
}

// UnmarshalCBOR is how the reference reads a link.
func (l *Link) UnmarshalCBOR(data []byte) error {
	var tag cbor.RawTag
	if err := referenceDecoder.Unmarshal(data, &tag); err != nil {
		return err
	}
	var raw []byte
	if err := referenceDecoder.Unmarshal(tag.Content, &raw); err != nil {
		return err
	}
	c, err := castLink(raw)
	l.Cid = c
	return err
}

// MarshalCBOR is how the reference writes what is carried unread.
func (r Raw) MarshalCBOR() ([]byte, error) { return r, nil }

// UnmarshalCBOR is how the reference reads what is carried unread.
func (r *Raw) UnmarshalCBOR(data []byte) error {
	*r = bytes.Clone(data)
	return nil
}

func referenceMarshal(v any) ([]byte, error) {
	data, err := referenceMode.Marshal(v)
	if err == nil {
		_, err = Links(data)
	}
	return data, err
}

// referenceUnmarshal accepts what has the form of dag-cbor, decodes, and is the
// encoding of what it decodes to.
func referenceUnmarshal(data []byte, v any) error {
	if _, err := Links(data); err != nil {
		return err
	}
	if err := referenceDecoder.Unmarshal(data, v); err != nil {
		return err
	}
	again, err := referenceMode.Marshal(v)
	if err == nil && !bytes.Equal(again, data) {
		err = ErrNotCanonical
	}
	return err
}

// shapes has all that a format may be made of, alone and inside one another.
type shapes struct {
	_      struct{} `cbor:",toarray"`
	U8     uint8
	U16    uint16
	U32    uint32
	U64    uint64
	I8     int8
	I16    int16
	I32    int32
	I64    int64
	Yes    bool
	Text   string
	Data   []byte
	Key    [32]byte
	Short  [3]byte
	Link   Link
	Far    *Link
	Number *uint64
	Pair   *pair
	Pairs  []pair
	Keys   [][32]byte
	Map    map[string]uint64
	Names  map[name]name
	Deep   map[string][]record
	Any    Raw
	Record record
}

type name string

type record struct {
	Bb    uint64   `cbor:"bb"`
	A     string   `cbor:"a,omitempty"`
	Ccc   []byte   `cbor:"ccc,omitempty"`
	Aa    *record  `cbor:"aa,omitempty"`
	List  []record `cbor:"list,omitempty"`
	Yes   bool     `cbor:"y,omitempty"`
	N     int64    `cbor:"n,omitempty"`
	Plain int64
	inner int //nolint:unused // not encoded
}

func drawRecord(t *rapid.T, depth int) record {
	r := record{Bb: rapid.Uint64().Draw(t, "bb"), A: rapid.String().Draw(t, "a"), Ccc: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "ccc"),
		Yes: rapid.Bool().Draw(t, "y"), N: rapid.Int64Range(-1, 1).Draw(t, "n"), Plain: rapid.Int64().Draw(t, "plain")}
	if depth > 0 && rapid.Bool().Draw(t, "more") {
		inner := drawRecord(t, depth-1)
		r.Aa = &inner
		r.List = []record{drawRecord(t, depth-1)}
	}
	return r
}

func drawShapes(t *rapid.T) shapes {
	link := func(label string) Link { return LinkTo(CID(rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, label))) }
	edge := func(label string) uint64 {
		return rapid.SampledFrom([]uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1}).Draw(t, label)
	}
	s := shapes{U8: uint8(edge("u8")), U16: uint16(edge("u16")), U32: uint32(edge("u32")), U64: edge("u64"),
		I8: int8(edge("i8")), I16: int16(edge("i16")), I32: -int32(edge("i32")), I64: -int64(edge("i64")), Yes: rapid.Bool().Draw(t, "yes"),
		Text: rapid.String().Draw(t, "text"), Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"), Link: link("link"),
		Map:   rapid.MapOfN(rapid.String(), rapid.Uint64(), 0, 30).Draw(t, "map"),
		Names: map[name]name{"x": name(rapid.String().Draw(t, "named"))},
		Any:   must2(Marshal(drawRecord(t, 0))), Record: drawRecord(t, 3)}
	copy(s.Key[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
	s.Keys = make([][32]byte, rapid.IntRange(0, 30).Draw(t, "keys"))
	s.Pairs = make([]pair, rapid.IntRange(0, 3).Draw(t, "pairs"))
	if rapid.Bool().Draw(t, "pointers") {
		far, number := link("far"), edge("number")
		s.Far, s.Number, s.Pair = &far, &number, &pair{Peer: "p"}
		s.Deep = map[string][]record{"": {drawRecord(t, 1)}, rapid.String().Draw(t, "deep"): nil}
	}
	return s
}

func TestTheReferenceWritesAndReadsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawShapes(t)
		data, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := referenceMarshal(want)
		if err != nil || !bytes.Equal(data, reference) {
			t.Fatalf("wrote\n%x, the reference\n%x, %v", data, reference, err)
		}
		if pointed, err := Marshal(&want); err != nil || !bytes.Equal(pointed, data) {
			t.Fatalf("through a pointer %x, %v", pointed, err)
		}
		var got, other shapes
		if err := Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if err := referenceUnmarshal(data, &other); err != nil || !reflect.DeepEqual(got, other) {
			t.Fatalf("read\n%+v, the reference\n%+v, %v", got, other, err)
		}
	})
}

func TestTheReferenceRefusesTheSameChangedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := must2(Marshal(drawShapes(t)))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				data[at] = rapid.Byte().Draw(t, "byte")
			case 1:
				data = append(data[:at], data[min(at+rapid.IntRange(1, 9).Draw(t, "cut"), len(data)):]...)
			default:
				data = append(data[:at], append([]byte{rapid.SampledFrom([]byte{0xf6, 0x40, 0x80, 0xa0, 0x18, 0x00}).Draw(t, "more")}, data[at:]...)...)
			}
			if len(data) == 0 {
				return
			}
		}
		holdAgainstReference[shapes](t, data)
	})
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// holdAgainstReference decodes data as a T by both.
func holdAgainstReference[T any](t failer, data []byte) {
	t.Helper()
	var got, want T
	ours, theirs := Unmarshal(data, &got), referenceUnmarshal(data, &want)
	if (ours == nil) != (theirs == nil) {
		t.Fatalf("%x as %T: %v, the reference: %v", data, got, ours, theirs)
	}
	if ours == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%x as\n%+v, the reference\n%+v", data, got, want)
	}
}

// Bytes of any kind are accepted or refused as the reference does.
func FuzzUnmarshalAsTheReference(f *testing.F) {
	for _, seed := range []string{"a0", "a2616101626262f6", "8301021863", "d82a4100", "1bffffffffffffffff", "3b7fffffffffffffff", "80", "f6", "6161"} {
		f.Add(must2(hex.DecodeString(seed)))
	}
	zero := shapes{Link: LinkTo(CID(nil)), Any: Raw{0}}
	f.Add(must2(Marshal(zero)))
	f.Add(must2(Marshal(zero.Record)))
	f.Add(must2(Marshal(record{A: "a", Ccc: []byte{1}, Aa: &record{}, List: []record{{}}, Yes: true, N: -1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		holdAgainstReference[shapes](t, data)
		holdAgainstReference[record](t, data)
		holdAgainstReference[sample](t, data)
		holdAgainstReference[map[string][]uint16](t, data)
		holdAgainstReference[[]*int32](t, data)
	})
}

// sealedForm is what Seal writes, said as a type.
type sealedForm struct {
	_       struct{} `cbor:",toarray"`
	Tag     string
	Network []byte
	Body    record
}

func TestTheReferenceSealsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := sealedForm{Tag: rapid.String().Draw(t, "tag"), Network: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "network"), Body: drawRecord(t, 2)}
		data, err := Seal(want.Tag, want.Network, want.Body)
		reference, err2 := referenceMarshal(want)
		if err != nil || err2 != nil || !bytes.Equal(data, reference) {
			t.Fatalf("sealed %x, %v, the reference %x, %v", data, err, reference, err2)
		}
		if rapid.Bool().Draw(t, "changed") {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		}
		var got record
		var form sealedForm
		ours, theirs := Unseal(want.Tag, want.Network, data, &got), referenceUnmarshal(data, &form)
		if theirs == nil && (form.Tag != want.Tag || !bytes.Equal(form.Network, want.Network)) {
			theirs = ErrNotCanonical
		}
		if (ours == nil) != (theirs == nil) || ours == nil && !reflect.DeepEqual(got, form.Body) {
			t.Fatalf("%x: %+v, %v, the reference: %+v, %v", data, got, ours, form, theirs)
		}
	})
}
