package dagcbor

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	primecodec "github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"pgregory.net/rapid"
)

// sample has every shape that the formats use.
type sample struct {
	V      uint64           `cbor:"v"`
	Name   string           `cbor:"name"`
	Number int64            `cbor:"number"`
	Yes    bool             `cbor:"yes"`
	Data   []byte           `cbor:"data"`
	Spec   Link             `cbor:"spec"`
	Cause  *Link            `cbor:"cause,omitempty"`
	Needs  map[string]int64 `cbor:"needs"`
	Roster []pair           `cbor:"roster"`
	Ext    map[string]Raw   `cbor:"ext"`
}

type pair struct {
	_           struct{} `cbor:",toarray"`
	Peer        string
	Incarnation []byte
}

func drawSample(t *rapid.T) sample {
	link := func(label string) Link { return LinkTo(CID(rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, label))) }
	s := sample{
		V:      rapid.Uint64().Draw(t, "v"),
		Name:   rapid.String().Draw(t, "name"),
		Number: rapid.Int64().Draw(t, "number"),
		Yes:    rapid.Bool().Draw(t, "yes"),
		Data:   rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		Spec:   link("spec"),
		Needs:  rapid.MapOfN(rapid.String(), rapid.Int64(), 0, 8).Draw(t, "needs"),
		Ext:    map[string]Raw{},
	}
	if rapid.Bool().Draw(t, "caused") {
		cause := link("cause")
		s.Cause = &cause
	}
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		s.Roster = append(s.Roster, pair{Peer: rapid.String().Draw(t, "peer"), Incarnation: make([]byte, 16)})
	}
	if rapid.Bool().Draw(t, "extended") {
		raw, err := referenceMarshal(map[string]any{"n": rapid.Int64().Draw(t, "n"), "list": []any{true, nil, "x"}})
		if err != nil {
			t.Fatal(err)
		}
		s.Ext["later"] = raw
	}
	return s
}

// decodePrime decodes with go-ipld-prime's strict dag-cbor, and returns the
// value encoded again by it.
func decodePrime(data []byte) ([]byte, error) {
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := primecodec.Decode(builder, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := primecodec.Encode(builder.Build(), &out)
	return out.Bytes(), err
}

func TestValuesRoundTripAndIPLDPrimeReadsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSample(t)
		data, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got sample
		if err := Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		again, err := Marshal(got)
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("second encoding %x, %v, first %x", again, err, data)
		}
		prime, err := decodePrime(data)
		if err != nil || !bytes.Equal(data, prime) {
			t.Fatalf("go-ipld-prime: %x, %v, ours %x", prime, err, data)
		}
	})
}

func TestAnyChangedByteChangesTheValueOrIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, err := Marshal(drawSample(t))
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, len(data)-1).Draw(t, "byte")
		data[i] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		var got sample
		if Unmarshal(data, &got) != nil {
			return
		}
		if again, err := Marshal(got); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted %x, which is the encoding of nothing: %x, %v", data, again, err)
		}
	})
}

func TestOnlyTheCanonicalFormIsAccepted(t *testing.T) {
	link := "d82a5825000171a0e40220" // wrong on purpose: see below
	good := hex.EncodeToString(must(t)(Marshal(LinkTo(CID([]byte("x"))))))
	tests := []struct{ name, hex string }{
		{"an empty input", ""},
		{"bytes after the value", "0101"},
		{"a long integer", "1801"},
		{"a long length", "780161"},
		{"a 16-bit integer of 8 bits", "1900ff"},
		{"a 64-bit integer of 32 bits", "1b00000000ffffffff"},
		{"an integer below 64 bits", "3b8000000000000000"},
		{"an indefinite array", "9f01ff"},
		{"an indefinite text", "7f6161ff"},
		{"a half float", "f93c00"},
		{"a double", "fb3ff0000000000000"},
		{"undefined", "f7"},
		{"a simple value", "f0"},
		{"text that is not UTF-8", "61ff"},
		{"keys out of order", "a2616201616101"},
		{"longer keys first", "a262616101616201"},
		{"a repeated key", "a2616101616102"},
		{"an integer key", "a10101"},
		{"another tag", "c101"},
		{"a link of text", "d82a6161"},
		{"a link without prefix", strings.Replace(good, "d82a582500", "d82a582501", 1)},
		{"a link cut short", link},
		{"a link of CIDv0", "d82a58230012" + strings.Repeat("20", 33)},
		{"a cut array", "8201"},
		{"a huge array", "9bffffffffffffffff"},
		{"a huge text", "7bffffffffffffffff"},
		{"deep nesting", strings.Repeat("81", 40) + "01"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			data, err := hex.DecodeString(tc.hex)
			if err != nil {
				t.Fatal(err)
			}
			var v Raw
			if err := Unmarshal(data, &v); err == nil {
				t.Errorf("Unmarshal accepted %x", data)
			}
			if _, err := Links(data); !errors.Is(err, ErrNotCanonical) {
				t.Errorf("Links: %v, want ErrNotCanonical", err)
			}
			inside := append([]byte{0xa1, 0x63, 'e', 'x', 't', 0xa1, 0x61, 'k'}, data...)
			var ext struct {
				Ext map[string]Raw `cbor:"ext"`
			}
			if err := Unmarshal(inside, &ext); err == nil {
				t.Errorf("Unmarshal accepted %x inside an extension", data)
			}
		})
	}
}

func TestTypedDecodingIsStrict(t *testing.T) {
	type two struct {
		A int  `cbor:"a"`
		B *int `cbor:"b,omitempty"`
	}
	tests := []struct{ name, hex string }{
		{"an unknown key", "a2616101616301"},
		{"a missing key", "a0"},
		{"a null for an absent key", "a26161016162f6"},
		{"another case", "a1614101"},
		{"another type", "a161616131"},
	}
	for _, tc := range tests {
		data, err := hex.DecodeString(tc.hex)
		if err != nil {
			t.Fatal(err)
		}
		var v two
		if err := Unmarshal(data, &v); err == nil {
			t.Errorf("%s: accepted as %+v", tc.name, v)
		}
	}
	if err := Unmarshal(make([]byte, MaxSize+1), new([]byte)); err == nil {
		t.Error("more than MaxSize was accepted")
	}
}

func TestTheLastOfAListMayBeLeftOutWhenEmpty(t *testing.T) {
	type short struct {
		_ struct{} `cbor:",toarray"`
		A uint64
		B []uint64 `cbor:",omitempty"`
	}
	for want, v := range map[string]short{"8101": {A: 1}, "82018102": {A: 1, B: []uint64{2}}} {
		data, err := Marshal(v)
		if got := hex.EncodeToString(data); err != nil || got != want {
			t.Errorf("%+v encodes to %s, %v, want %s", v, got, err, want)
		}
		back := short{B: []uint64{9}}
		if err := Unmarshal(data, &back); err != nil || back.A != v.A || !slices.Equal(back.B, v.B) {
			t.Errorf("%s decodes to %+v, %v", want, back, err)
		}
	}
	for name, text := range map[string]string{"empty and there": "820180", "null for it": "8201f6", "one more": "8301810200", "one less": "80"} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(data, new(short)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Marshal(struct {
		_ struct{} `cbor:",toarray"`
		A []uint64 `cbor:",omitempty"`
		B uint64
	}{}); err == nil {
		t.Error("the first of a list was left out")
	}
}

func TestMarshalRefusesWhatDagCBORCannotSay(t *testing.T) {
	for name, v := range map[string]any{
		"a float":           1.5,
		"an interface":      []any{1},
		"an integer key":    map[int]int{1: 1},
		"a list of numbers": [2]int{},
		"two nils":          new(*int),
		"text not UTF-8":    "\xff",
		"an undefined link": Link{},
		"a raw message":     Raw{0x18, 0x01},
	} {
		if data, err := Marshal(v); err == nil {
			t.Errorf("%s: encoded as %x", name, data)
		}
	}
	if _, err := Marshal(make([]byte, MaxSize)); err == nil {
		t.Error("more than MaxSize was encoded")
	}
}

func TestLinksAreFoundWhereverTheyAre(t *testing.T) {
	a, b := CID([]byte("a")), CID([]byte("b"))
	data, err := referenceMarshal(map[string]any{"x": LinkTo(a), "deep": []any{map[string]any{"y": LinkTo(b)}, LinkTo(a)}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Links(data)
	if err != nil || len(got) != 3 || got[0] != a || got[1] != b || got[2] != a {
		t.Errorf("Links = %v, %v", got, err)
	}
}

func TestSealBindsTagAndNetwork(t *testing.T) {
	data, err := Seal("muster/vote/1", []byte("net"), sample{Spec: LinkTo(CID(nil))})
	if err != nil {
		t.Fatal(err)
	}
	var got sample
	if err := Unseal("muster/vote/1", []byte("net"), data, &got); err != nil {
		t.Errorf("Unseal: %v", err)
	}
	if Unseal("muster/vote/2", []byte("net"), data, &got) == nil {
		t.Error("another tag was accepted")
	}
	if Unseal("muster/vote/1", []byte("ten"), data, &got) == nil {
		t.Error("another network was accepted")
	}
	if _, err := decodePrime(data); err != nil {
		t.Errorf("go-ipld-prime: %v", err)
	}
	if sum, err := SumSealed("muster/vote/1", []byte("net"), &sample{Spec: LinkTo(CID(nil))}); err != nil || sum != Sum(data) {
		t.Errorf("its sum is %x, %v", sum, err)
	}
	if _, err := SumSealed("muster/vote/1", nil, 1.5); err == nil {
		t.Error("what has no encoding has a sum")
	}
}

func TestCIDMatchesGoCID(t *testing.T) {
	data := []byte{0xa0}
	want, err := cid.V1Builder{Codec: cid.DagCBOR, MhType: 0x12}.Sum(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := CID(data); got != want {
		t.Errorf("CID = %s, want %s", got, want)
	}
}

// What is accepted has one encoding, and go-ipld-prime reads it.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"a0", "a2616101626262f6", "8301021863", "d82a4100", "1bffffffffffffffff", "3b7fffffffffffffff"} {
		data, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(must(f)(referenceMarshal([]any{LinkTo(CID(nil)), "x", true})))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Links(data); err != nil {
			return
		}
		prime, err := decodePrime(data)
		if err != nil || !bytes.Equal(prime, data) {
			t.Errorf("accepted %x, go-ipld-prime says %x, %v", data, prime, err)
		}
		var typed sample
		if Unmarshal(data, &typed) == nil {
			if again, err := Marshal(typed); err != nil || !bytes.Equal(again, data) {
				t.Errorf("two encodings: %x and %x, %v", data, again, err)
			}
		}
	})
}

func must(t testing.TB) func([]byte, error) []byte {
	return func(data []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	roster := make([]pair, 7)
	for i := range roster {
		roster[i] = pair{Peer: strings.Repeat("p", 38), Incarnation: make([]byte, 16)}
	}
	data := must(b)(Marshal(sample{Name: "charter", Spec: LinkTo(CID(nil)), Needs: map[string]int64{"cpu": 100, "memory": 1 << 20}, Roster: roster, Ext: map[string]Raw{}}))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var v sample
		if err := Unmarshal(data, &v); err != nil {
			b.Fatal(err)
		}
	}
}
