package dagcbor

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// Recursive types, to see a bound where a type is known: what stands in them is
// the same as in a Raw, to which Links is held beside them.
type (
	lists  []lists
	maps   map[string]maps
	linked struct {
		_    struct{} `cbor:",toarray"`
		In   *linked
		Link *Link
	}
	records struct {
		In   *records `cbor:"k,omitempty"`
		Last string   `cbor:"l"`
	}
)

// nestings are values of so many arrays, maps and links inside one another, of
// which the innermost is empty, or holds what does not count.
func nestings(t *testing.T, deep int) map[string]nesting {
	list, dict, link, record := lists{}, maps{}, &linked{}, &records{}
	far := LinkTo(CID(nil))
	link.Link = &far // one of deep itself
	for range deep - 1 {
		list, dict, record = lists{list}, maps{"k": dict}, &records{In: record}
	}
	for range deep - 2 {
		link = &linked{In: link}
	}
	return map[string]nesting{
		"arrays, the last empty":    {list, new(lists), strings.Repeat("81", deep-1) + "80"},
		"maps, the last empty":      {dict, new(maps), strings.Repeat("a1616b", deep-1) + "a0"},
		"a link in arrays":          {link, new(linked), strings.Repeat("82", deep-1) + "f6" + hex.EncodeToString(must(t)(Marshal(far))) + strings.Repeat("f6", deep-2)},
		"records, text in the last": {record, new(records), strings.Repeat("a2616b", deep-1) + "a1616c60" + strings.Repeat("616c60", deep-1)},
	}
}

type nesting struct {
	value, into any
	hex         string
}

func TestThirtyTwoArraysMapsAndLinksStandInsideOneAnotherAndNotOneMore(t *testing.T) {
	for deep := maxNested - 1; deep <= maxNested+1; deep++ {
		for name, n := range nestings(t, deep) {
			data, fits := must2(hex.DecodeString(n.hex)), deep <= maxNested
			written, err := Marshal(n.value)
			if (err == nil) != fits || fits && !bytes.Equal(written, data) {
				t.Errorf("%d %s: written as %x, %v", deep, name, written, err)
			}
			if _, err := Links(data); (err == nil) != fits {
				t.Errorf("%d %s: scanned: %v", deep, name, err)
			}
			if err := Unmarshal(data, n.into); (err == nil) != fits {
				t.Errorf("%d %s: read: %v", deep, name, err)
			}
			sealed := append([]byte{sealHead, 0x61, 't', 0x40}, data...) // one deeper
			var carried Raw
			if err := Unseal("t", nil, sealed, &carried); (err == nil) != (deep < maxNested) {
				t.Errorf("%d %s, sealed: %v", deep, name, err)
			}
		}
	}
}
