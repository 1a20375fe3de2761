package dagcbor

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// codec writes and reads the values of one type. It is made once for each type,
// and says exactly one form for each value: what it reads is what it would
// write, so that nothing has to be encoded again to know that it is canonical.
type codec struct {
	// write appends v, which is addressable, to out.
	write func(out []byte, v reflect.Value, depth int) ([]byte, error)
	// read sets v from the start of data and returns what follows. It may leave
	// part of a value behind with an error.
	read func(data []byte, v reflect.Value, depth int) ([]byte, error)
	// empty is what omitempty leaves out; nil for a type that is never empty.
	empty func(v reflect.Value) bool
	// nests says that the value is an array, a map or a link, which may be only
	// so deep inside others, be it empty or not.
	nests bool
	// least is the length of the shortest encoding, so that a length read can
	// be held against the bytes that are there before memory is taken for it.
	least int
}

func (c *codec) encode(out []byte, v reflect.Value, depth int) ([]byte, error) {
	if c.nests && depth >= maxNested {
		return nil, errNested
	}
	return c.write(out, v, depth)
}

func (c *codec) decode(data []byte, v reflect.Value, depth int) ([]byte, error) {
	if c.nests && depth >= maxNested {
		return nil, errNested
	}
	return c.read(data, v, depth)
}

// codecs remembers what codecOf made: a memory of a pure function of the type.
var codecs sync.Map // reflect.Type -> *codec

func codecOf(t reflect.Type) (*codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*codec), nil
	}
	made := maker{}
	c, err := made.codec(t)
	if err != nil {
		return nil, err
	}
	for t, c := range made {
		codecs.Store(t, c)
	}
	return c, nil
}

// maker makes the codec of a type and of all that it consists of. A type inside
// itself, which only goes through a pointer, slice or map, finds the codec that
// is being made.
type maker map[reflect.Type]*codec

var (
	typeLink = reflect.TypeFor[Link]()
	typeRaw  = reflect.TypeFor[Raw]()
)

func (m maker) codec(t reflect.Type) (*codec, error) {
	if c, ok := m[t]; ok {
		return c, nil
	}
	c := &codec{}
	m[t] = c
	switch {
	case t == typeLink:
		*c = linkCodec()
		return c, nil
	case t == typeRaw:
		*c = rawCodec()
		return c, nil
	}
	var err error
	switch t.Kind() {
	case reflect.Bool:
		*c = boolCodec()
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		*c = uintCodec()
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		*c = intCodec()
	case reflect.String:
		*c = textCodec()
	case reflect.Array:
		err = arrayCodec(c, t)
	case reflect.Slice:
		err = m.sliceCodec(c, t)
	case reflect.Map:
		err = m.mapCodec(c, t)
	case reflect.Pointer:
		err = m.pointerCodec(c, t)
	case reflect.Struct:
		err = m.structCodec(c, t)
	default:
		err = fmt.Errorf("%s is nothing that dag-cbor can say", t)
	}
	return c, err
}

func (m maker) sliceCodec(c *codec, t reflect.Type) error {
	if t.Elem().Kind() == reflect.Uint8 {
		*c = bytesCodec()
		return nil
	}
	c.least, c.nests, c.empty = 1, true, noLength
	elem, err := m.codec(t.Elem())
	if err != nil {
		return err
	}
	c.write = func(out []byte, v reflect.Value, depth int) ([]byte, error) {
		n := v.Len()
		out = appendHead(out, majorArray, uint64(n))
		for i := range n {
			var err error
			if out, err = elem.encode(out, v.Index(i), depth+1); err != nil {
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
		n, err := count(arg, data, elem.least)
		if err != nil {
			return nil, err
		}
		v.Set(reflect.MakeSlice(t, n, n))
		for i := range n {
			if data, err = elem.decode(data, v.Index(i), depth+1); err != nil {
				return nil, err
			}
		}
		return data, nil
	}
	return nil
}

// mapCodec is for maps of text. Keys are in the order of their encodings:
// shorter ones first.
func (m maker) mapCodec(c *codec, t reflect.Type) error {
	if t.Key().Kind() != reflect.String {
		return fmt.Errorf("%s has keys that are not text", t)
	}
	c.least, c.nests, c.empty = 1, true, noLength
	elem, err := m.codec(t.Elem())
	if err != nil {
		return err
	}
	c.write = func(out []byte, v reflect.Value, depth int) ([]byte, error) {
		out = appendHead(out, majorMap, uint64(v.Len()))
		if v.Len() == 0 {
			return out, nil
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return compareKeys(a.String(), b.String()) })
		value := reflect.New(t.Elem()).Elem() // a map's own are not addressable
		for _, key := range keys {
			var err error
			if out, err = appendText(out, key.String()); err != nil {
				return nil, err
			}
			value.Set(v.MapIndex(key))
			if out, err = elem.encode(out, value, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	c.read = func(data []byte, v reflect.Value, depth int) ([]byte, error) {
		arg, data, err := expect(data, majorMap)
		if err != nil {
			return nil, err
		}
		n, err := count(arg, data, 1+elem.least)
		if err != nil {
			return nil, err
		}
		made := reflect.MakeMapWithSize(t, n)
		last := []byte(nil)
		for i := range n {
			var key []byte
			if key, data, err = readKey(data, last, i == 0); err != nil {
				return nil, err
			}
			last = key
			value := reflect.New(t.Elem()).Elem()
			if data, err = elem.decode(data, value, depth+1); err != nil {
				return nil, err
			}
			made.SetMapIndex(reflect.ValueOf(string(key)).Convert(t.Key()), value)
		}
		v.Set(made)
		return data, nil
	}
	return nil
}

// pointerCodec says null for nil.
func (m maker) pointerCodec(c *codec, t reflect.Type) error {
	if t.Elem().Kind() == reflect.Pointer {
		return fmt.Errorf("%s has two ways to say null", t)
	}
	c.least, c.empty = 1, reflect.Value.IsNil
	elem, err := m.codec(t.Elem())
	if err != nil {
		return err
	}
	c.write = func(out []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.IsNil() {
			return append(out, null), nil
		}
		return elem.encode(out, v.Elem(), depth)
	}
	c.read = func(data []byte, v reflect.Value, depth int) ([]byte, error) {
		if len(data) > 0 && data[0] == null {
			v.SetZero()
			return data[1:], nil
		}
		made := reflect.New(t.Elem())
		data, err := elem.decode(data, made.Elem(), depth)
		if err == nil {
			v.Set(made)
		}
		return data, err
	}
	return nil
}

// maxElements bounds the length of a list or map that is read.
const maxElements = 1 << 17

// count returns how many elements follow, each of least bytes or more.
func count(arg uint64, data []byte, least int) (int, error) {
	if arg > maxElements {
		return 0, fmt.Errorf("%d elements, at most %d", arg, maxElements)
	}
	if arg > uint64(len(data)/least) {
		return 0, errShort
	}
	return int(arg), nil
}

func startsWith(data, prefix []byte) bool {
	return len(data) >= len(prefix) && string(data[:len(prefix)]) == string(prefix)
}

func noLength(v reflect.Value) bool { return v.Len() == 0 }

// compareKeys orders map keys: by length, then by bytes.
func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
