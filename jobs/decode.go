package jobs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// later are keys of job files to come: known, but refused, rather than taken
// for a spelling mistake.
var later = []string{
	"steps", "triggers", "defaults", "process", "container", "http", "plugin", "agent",
	"needs", "if", "compensate", "retry",
}

// decoder fills Go values from a syntax tree, strictly.
type decoder struct{ source source }

// decode fills out, a pointer, from the node that stands under a key.
func (d decoder) decode(node ast.Node, key string, out any) error {
	d.source.at[key] = d.start(node)
	v := reflect.ValueOf(out).Elem()
	if text, ok := out.(encoding.TextUnmarshaler); ok {
		return d.text(node, key, text)
	}
	if words, ok := out.(*Words); ok {
		return d.words(node, key, words)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.decode(node, key, v.Interface())
	case reflect.Struct:
		return d.fields(node, key, v)
	case reflect.Map:
		return d.entries(node, key, v)
	case reflect.Slice:
		return d.items(node, key, v)
	case reflect.String:
		s, err := d.str(node)
		v.SetString(s)
		return err
	case reflect.Bool:
		b, ok := node.(*ast.BoolNode)
		if !ok {
			return d.mismatch(node, "true or false")
		}
		v.SetBool(b.Value)
		return nil
	case reflect.Int:
		n, err := strconv.ParseInt(number(node), 10, 64)
		v.SetInt(n)
		return d.numberError(node, err)
	default: // reflect.Uint64: File has no other
		n, err := strconv.ParseUint(number(node), 10, 64)
		v.SetUint(n)
		return d.numberError(node, err)
	}
}

func (d decoder) fields(node ast.Node, key string, v reflect.Value) error {
	known := map[string]int{}
	for i := range v.NumField() {
		if name := fieldName(v.Type().Field(i)); name != "" {
			known[name] = i
		}
	}
	return d.mapping(node, func(name string, k, value ast.Node) error {
		if i, ok := known[name]; ok {
			return d.decode(value, join(key, name), v.Field(i).Addr().Interface())
		}
		return d.unknown(name, k, sortedKeys(known))
	})
}

func (d decoder) entries(node ast.Node, key string, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.mapping(node, func(name string, _, value ast.Node) error {
		element := reflect.New(v.Type().Elem())
		if err := d.decode(value, join(key, name), element.Interface()); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(name), element.Elem())
		return nil
	})
}

func (d decoder) items(node ast.Node, key string, v reflect.Value) error {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return d.mismatch(node, "a list")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, value := range list.Values {
		if err := d.decode(value, fmt.Sprintf("%s.%d", key, i), v.Index(i).Addr().Interface()); err != nil {
			return err
		}
	}
	return nil
}

// words takes one word for a list of one.
func (d decoder) words(node ast.Node, key string, out *Words) error {
	if _, list := node.(*ast.SequenceNode); list {
		return d.items(node, key, reflect.ValueOf(out).Elem())
	}
	word, err := d.str(node)
	*out = Words{word}
	return err
}

// mapping calls each for every pair of a map, in the file's order.
func (d decoder) mapping(node ast.Node, each func(name string, key, value ast.Node) error) error {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return d.mismatch(node, "a map of keys and values")
	}
	seen := map[string]position{}
	for _, pair := range pairs {
		name, err := d.str(pair.Key)
		if err != nil {
			return err
		}
		here := d.start(pair.Key)
		if before, ok := seen[name]; ok {
			return d.source.problem(CodeSpecKey, here, fmt.Sprintf("key %q stands twice, first at line %d", name, before.line))
		}
		seen[name] = here
		if err := each(name, pair.Key, pair.Value); err != nil {
			return err
		}
	}
	return nil
}

func (d decoder) text(node ast.Node, key string, out encoding.TextUnmarshaler) error {
	s := number(node)
	if s == "" {
		var err error
		if s, err = d.str(node); err != nil {
			return err
		}
	}
	if err := out.UnmarshalText([]byte(s)); err != nil {
		return d.source.wrong(key, err)
	}
	return nil
}

func (d decoder) str(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		p := d.mismatch(node, "a text")
		p.Try = "quote it: " + strconv.Quote(n.GetToken().Value)
		return "", p
	}
	return "", d.mismatch(node, "a text")
}

// number returns a number as it was written, "" for anything else.
func number(node ast.Node) string {
	switch n := node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value
	}
	return ""
}

func (d decoder) numberError(node ast.Node, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, strconv.ErrRange) {
		return d.source.problem(CodeSpecValue, d.start(node), number(node)+" is out of range")
	}
	return d.mismatch(node, "a whole number")
}

func (d decoder) unknown(name string, key ast.Node, known []string) error {
	at := d.start(key)
	p := d.source.problem(CodeSpecKey, at, fmt.Sprintf("unknown key %q", name))
	p.Try = "keys here: " + strings.Join(known, ", ")
	if slices.Contains(later, name) {
		p.What = d.source.problem("", at, fmt.Sprintf("%q is not in this version", name)).What
		p.Why = "a job is one program, under run:"
	} else if near := nearest(name, known); near != "" {
		p.Try = fmt.Sprintf("did you mean %q?", near)
	}
	return p
}

func (d decoder) mismatch(node ast.Node, want string) *Problem {
	return d.source.problem(CodeSpecValue, d.start(node), fmt.Sprintf("%s where %s belongs", kindOf(node), want))
}

// start returns where a node begins: for a map, at its first key.
func (d decoder) start(node ast.Node) position {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return d.start(n.Key)
	case *ast.LiteralNode:
		return positionOf(n.Start)
	}
	if node == nil {
		return position{1, 1}
	}
	return positionOf(node.GetToken())
}

func kindOf(node ast.Node) string {
	switch n := node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias, which job files do not have,"
	case *ast.TagNode:
		return "a tag, which job files do not have,"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	default:
		return n.GetToken().Value
	}
}

// fieldName returns a field's key in job files, "" for one that has none.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
