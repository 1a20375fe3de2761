package normal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep values nest in JSON that is read as such.
const maxDepth = 512

var (
	errJSON  = errors.New("normal: not JSON of one value")
	errTwice = errors.New("normal: a member stands twice")
)

// json returns the form of JSON: members sorted, without white space and without
// what is ignored. What is ambiguous (a member twice, text that is not UTF-8) is
// not read as JSON.
func (r rules) json(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, errJSON
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var out bytes.Buffer
	if err := r.value(d, &out, "", 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errJSON
	}
	return out.Bytes(), nil
}

// value writes the form of the value that comes next, which stands at a JSON
// pointer (RFC 6901).
func (r rules) value(d *json.Decoder, out *bytes.Buffer, at string, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return errJSON
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(d, out, at, depth)
		}
		return r.array(d, out, at, depth)
	case json.Number:
		out.WriteString(r.number(t.String()))
	case string:
		return writeString(out, t)
	case bool:
		out.WriteString(strconv.FormatBool(t))
	default:
		out.WriteString("null")
	}
	return nil
}

func (r rules) object(d *json.Decoder, out *bytes.Buffer, at string, depth int) error {
	members, seen := map[string][]byte{}, map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok || seen[name] {
			return errTwice
		}
		seen[name] = true
		var member bytes.Buffer
		pointer := at + "/" + escape(name)
		if err := r.value(d, &member, pointer, depth+1); err != nil {
			return err
		}
		if !r.ignore[pointer] {
			members[name] = member.Bytes()
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	out.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := writeString(out, name); err != nil {
			return err
		}
		out.WriteByte(':')
		out.Write(members[name])
	}
	out.WriteByte('}')
	return nil
}

// array writes an array. An element that is ignored keeps its place.
func (r rules) array(d *json.Decoder, out *bytes.Buffer, at string, depth int) error {
	out.WriteByte('[')
	for i := 0; d.More(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		var element bytes.Buffer
		pointer := at + "/" + strconv.Itoa(i)
		if err := r.value(d, &element, pointer, depth+1); err != nil {
			return err
		}
		if !r.ignore[pointer] {
			out.Write(element.Bytes())
		}
	}
	out.WriteByte(']')
	_, err := d.Token()
	return err
}

// writeString writes a text, unless it holds the sign for what was no text:
// different escapes that stand for nothing would come to the same.
func writeString(out *bytes.Buffer, text string) error {
	if strings.ContainsRune(text, utf8.RuneError) {
		return errJSON
	}
	data, err := json.Marshal(text)
	out.Write(data)
	return err
}

// escape writes a name as a JSON pointer does.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// number writes a number by its value, or as the multiple of the step nearest
// to it. One of more digits, or further from 1, than maxDigits stands for itself,
// and one so large that its multiple would end in more than maxZeros zeros, which
// no tolerance is about, by its value.
func (r rules) number(text string) string {
	n, err := parseDecimal(text)
	if err != nil {
		return "=" + text
	}
	if r.step == nil || n.digits.Sign() != 0 && n.exponent > r.step.exponent+maxZeros {
		return n.String()
	}
	return "~" + n.multiple(*r.step).String()
}
