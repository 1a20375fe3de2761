package naivetest

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// maxNested bounds lists, maps and links inside one another.
const maxNested = 32

// decode reads canonical dag-cbor into nil, bool, uint64, int64 (below zero),
// string, []byte, cid.Cid, []any and map[string]any. go-ipld-prime decodes, and
// what encode does not write in the same bytes again is refused: so there is one
// way to say a thing.
func decode(data []byte) any {
	builder := basicnode.Prototype.Any.NewBuilder()
	err := dagcbor.Decode(builder, bytes.NewReader(data))
	require(err == nil, "dag-cbor: %v", err)
	v := plain(builder.Build(), 0)
	require(bytes.Equal(encode(v), data), "canonical")
	return v
}

func plain(n datamodel.Node, depth int) any {
	v, err := scalar(n, depth)
	require(err == nil, "dag-cbor: %v", err)
	return v
}

func scalar(n datamodel.Node, depth int) (any, error) {
	switch n.Kind() {
	case datamodel.Kind_Null:
		return nil, nil
	case datamodel.Kind_Bool:
		return n.AsBool()
	case datamodel.Kind_Int:
		if u, ok := n.(datamodel.UintNode); ok {
			return u.AsUint()
		}
		i, err := n.AsInt()
		if err == nil && i >= 0 {
			return uint64(i), nil
		}
		return i, err
	case datamodel.Kind_String:
		s, err := n.AsString()
		require(utf8.ValidString(s), "text is UTF-8")
		return s, err
	case datamodel.Kind_Bytes:
		return n.AsBytes()
	}
	require(depth < maxNested, "at most %d deep", maxNested)
	return compound(n, depth+1)
}

func compound(n datamodel.Node, depth int) (any, error) {
	switch n.Kind() {
	case datamodel.Kind_Link:
		l, err := n.AsLink()
		link, ok := l.(cidlink.Link)
		require(ok && link.Version() == 1, "links are CIDv1")
		return link.Cid, err
	case datamodel.Kind_List:
		all := []any{}
		for it := n.ListIterator(); !it.Done(); {
			_, item, err := it.Next()
			if err != nil {
				return nil, err
			}
			all = append(all, plain(item, depth))
		}
		return all, nil
	case datamodel.Kind_Map:
		all := map[string]any{}
		for it := n.MapIterator(); !it.Done(); {
			key, item, err := it.Next()
			if err != nil {
				return nil, err
			}
			k, err := key.AsString()
			if err != nil {
				return nil, err
			}
			require(utf8.ValidString(k), "text is UTF-8")
			all[k] = plain(item, depth)
		}
		return all, nil
	}
	require(false, "no %s", n.Kind()) // floats
	return nil, nil
}

// encode writes what decode returns (RFC 8949, section 3): shortest lengths, the
// keys of a map by length and then by bytes.
func encode(v any) []byte {
	switch v := v.(type) {
	case nil:
		return []byte{0xf6}
	case bool:
		if v {
			return []byte{0xf5}
		}
		return []byte{0xf4}
	case uint64:
		return head(0, v)
	case int64:
		return head(1, uint64(-1-v))
	case []byte:
		return append(head(2, uint64(len(v))), v...)
	case string:
		return append(head(3, uint64(len(v))), v...)
	case []any:
		out := head(4, uint64(len(v)))
		for _, item := range v {
			out = append(out, encode(item)...)
		}
		return out
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b string) int {
			return bytes.Compare(encode(a), encode(b)) // the length stands first
		})
		out := head(5, uint64(len(v)))
		for _, k := range keys {
			out = append(append(out, encode(k)...), encode(v[k])...)
		}
		return out
	case cid.Cid:
		return append(head(6, 42), encode(append([]byte{0}, v.Bytes()...))...)
	}
	panic(v) // decode returns nothing else
}

func head(major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n <= math.MaxUint8:
		return []byte{major | 24, byte(n)}
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32([]byte{major | 26}, uint32(n))
	}
	return binary.BigEndian.AppendUint64([]byte{major | 27}, n)
}

// What follows takes a decoded value for what it must be.

func number(v any) uint64 {
	n, ok := v.(uint64)
	require(ok, "a number")
	return n
}

// date is a time or a span in milliseconds: 63 bits, never below zero.
func date(v any) uint64 {
	n := number(v)
	require(n <= math.MaxInt64, "dates have 63 bits")
	return n
}

func text(v any) string {
	s, ok := v.(string)
	require(ok, "text")
	return s
}

func anyBytes(v any) []byte {
	b, ok := v.([]byte)
	require(ok, "a byte string")
	return b
}

func octets(v any, n int) []byte {
	b := anyBytes(v)
	require(len(b) == n, "%d bytes", n)
	return b
}

func anyList(v any) []any {
	l, ok := v.([]any)
	require(ok, "a list")
	return l
}

func list(v any, n int) []any {
	l := anyList(v)
	require(len(l) == n, "a list of %d", n)
	return l
}

func link(v any) cid.Cid {
	c, ok := v.(cid.Cid)
	require(ok, "a link")
	return c
}

// strongLink is a link by SHA-256.
func strongLink(v any) cid.Cid {
	c := link(v)
	require(c.Prefix().MhType == 0x12 && c.Prefix().MhLength == 32, "named by SHA-256")
	return c
}

func quantities(v any) map[string]uint64 {
	m, ok := v.(map[string]any)
	require(ok, "a map")
	out := map[string]uint64{}
	for k, n := range m {
		out[k] = number(n)
	}
	return out
}

// dict is a map with exactly these keys, and perhaps those marked with "?".
func dict(v any, keys ...string) map[string]any {
	m, ok := v.(map[string]any)
	require(ok, "a map")
	known := map[string]bool{}
	for _, k := range keys {
		name := k
		if k[len(k)-1] == '?' {
			name = k[:len(k)-1]
		}
		_, there := m[name]
		require(there || name != k, "%s is there", name)
		known[name] = true
	}
	for k := range m {
		require(known[k], "%q is known", k)
	}
	return m
}
