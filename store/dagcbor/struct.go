package dagcbor

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// field is one field of a struct.
type field struct {
	name  string
	index int
	omit  bool // when empty
	codec *codec
}

func (m maker) structCodec(c *codec, t reflect.Type) error {
	fields, list, err := m.fields(t)
	if err != nil {
		return err
	}
	c.nests = true
	if list {
		return listCodec(c, fields)
	}
	slices.SortFunc(fields, func(a, b field) int { return compareKeys(a.name, b.name) })
	recordCodec(c, fields)
	return nil
}

// fields reads the tags of a struct: `cbor:",toarray"` of the field _ makes it a
// list, all others have a name, and perhaps omitempty; in a list only the last.
func (m maker) fields(t reflect.Type) (fields []field, list bool, err error) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		if f.Name == "_" && options == "toarray" {
			list = true
			continue
		}
		if !f.IsExported() {
			continue
		}
		if f.Anonymous {
			return nil, false, fmt.Errorf("%s embeds %s", t, f.Type)
		}
		if name == "" {
			name = f.Name
		}
		elem, err := m.codec(f.Type)
		if err != nil {
			return nil, false, fmt.Errorf("%s of %s: %w", f.Name, t, err)
		}
		omit := options == "omitempty"
		if omit && elem.empty == nil {
			return nil, false, fmt.Errorf("%s of %s is never empty", f.Name, t)
		}
		fields = append(fields, field{name, i, omit, elem})
	}
	return fields, list, nil
}

// listCodec is for a struct that is a list of its fields. The last of them may be
// left out when empty: a list one shorter.
func listCodec(c *codec, fields []field) error {
	c.least = 1
	last := len(fields) - 1
	for i, f := range fields {
		if f.omit && i < last {
			return fmt.Errorf("%s is left out of the middle of a list", f.name)
		}
		if !f.omit {
			c.least += f.codec.least
		}
	}
	c.write = func(out []byte, v reflect.Value, depth int) ([]byte, error) {
		said := fields
		if last >= 0 && fields[last].omit && fields[last].codec.empty(v.Field(fields[last].index)) {
			said = fields[:last]
		}
		out = appendHead(out, majorArray, uint64(len(said)))
		for i := range said {
			var err error
			if out, err = said[i].codec.encode(out, v.Field(said[i].index), depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	c.read = func(data []byte, v reflect.Value, depth int) ([]byte, error) {
		arg, data, err := expect(data, majorArray)
		if err != nil {
			return nil, err
		}
		said := fields
		if last >= 0 && fields[last].omit && arg == uint64(last) {
			v.Field(fields[last].index).SetZero()
			said = fields[:last]
		}
		if arg != uint64(len(said)) {
			return nil, fmt.Errorf("list of %d where %d things were expected", arg, len(fields))
		}
		for i := range said {
			f := v.Field(said[i].index)
			if data, err = said[i].codec.decode(data, f, depth+1); err != nil {
				return nil, err
			}
			if said[i].omit && said[i].codec.empty(f) {
				return nil, errors.New("something empty that is left out")
			}
		}
		return data, nil
	}
	return nil
}

// recordCodec is for a struct that is a map of its fields, which come in the
// order of their names.
func recordCodec(c *codec, fields []field) {
	heads := make([][]byte, len(fields))
	c.least = 1
	for i, f := range fields {
		heads[i] = append(appendHead(nil, majorText, uint64(len(f.name))), f.name...)
		if !f.omit {
			c.least += len(heads[i]) + f.codec.least
		}
	}
	absent := func(f field, v reflect.Value) bool { return f.omit && f.codec.empty(v.Field(f.index)) }
	c.write = func(out []byte, v reflect.Value, depth int) ([]byte, error) {
		n := uint64(0)
		for _, f := range fields {
			if !absent(f, v) {
				n++
			}
		}
		out = appendHead(out, majorMap, n)
		for i, f := range fields {
			if absent(f, v) {
				continue
			}
			var err error
			if out, err = f.codec.encode(append(out, heads[i]...), v.Field(f.index), depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	c.read = func(data []byte, v reflect.Value, depth int) ([]byte, error) {
		left, data, err := expect(data, majorMap)
		if err != nil {
			return nil, err
		}
		for i, f := range fields {
			at := v.Field(f.index)
			if left == 0 || !startsWith(data, heads[i]) {
				if !f.omit {
					return nil, fmt.Errorf("no %q where it was expected", f.name)
				}
				at.SetZero()
				continue
			}
			left--
			if data, err = f.codec.decode(data[len(heads[i]):], at, depth+1); err != nil {
				return nil, err
			}
			if f.omit && f.codec.empty(at) {
				return nil, fmt.Errorf("%q is there, and empty", f.name)
			}
		}
		if left > 0 {
			return nil, errors.New("a key that is unknown or out of order")
		}
		return data, nil
	}
}
