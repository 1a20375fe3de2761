package jobs

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// SchemaID names the version of the job file's schema.
const SchemaID = "urn:muster:schema:job:1"

// written are the types that a file holds as text, with the pattern of that
// text; some may be numbers, too.
var written = map[reflect.Type]struct{ pattern, number string }{
	reflect.TypeFor[Size]():          {`^[0-9]+(\.[0-9]+)?([kKMGT]|[KMGT]i)?B?$`, "integer"},
	reflect.TypeFor[CPU]():           {`^[0-9]+(\.[0-9]+)?m?$`, "number"},
	reflect.TypeFor[Duration]():      {`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`, ""},
	reflect.TypeFor[FaultModel]():    {``, ""},
	reflect.TypeFor[AssuranceWord](): {``, ""},
	reflect.TypeFor[EffectsWord]():   {``, ""},
	reflect.TypeFor[Tolerance]():     {`^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`, "number"},
	reflect.TypeFor[Reference]():     {`^(file|cid|builtin):.+$`, ""},
}

// Schema returns the JSON Schema (draft 7) of the job file, made from the Go
// types that Parse fills: editors, the command line and the API use this one.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[File]())
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["$id"] = SchemaID
	s["title"] = "muster job"
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return append(data, '\n')
}

func schemaOf(t reflect.Type) map[string]any {
	if w, ok := written[t]; ok {
		s := map[string]any{"type": "string"}
		if w.pattern != "" {
			s["pattern"] = w.pattern
		}
		if w.number != "" {
			s["type"] = []string{"string", w.number}
			s["exclusiveMinimum"] = 0
		}
		return s
	}
	if t == reflect.TypeFor[Words]() {
		word := map[string]any{"type": "string"}
		return map[string]any{"anyOf": []any{word, map[string]any{"type": "array", "items": word}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Struct:
		return schemaOfStruct(t)
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	default:
		return map[string]any{"type": "integer"}
	}
}

func schemaOfStruct(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for i := range t.NumField() {
		field := t.Field(i)
		name := fieldName(field)
		if name == "" {
			continue
		}
		if !strings.Contains(field.Tag.Get("json"), ",omit") {
			required = append(required, name)
		}
		properties[name] = constrained(schemaOf(field.Type), field.Tag)
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// constrained adds what a field's tags say of its values.
func constrained(s map[string]any, tag reflect.StructTag) map[string]any {
	s["description"] = tag.Get("doc")
	for key, name := range map[string]string{"min": "minimum", "max": "maximum"} {
		if n, err := strconv.Atoi(tag.Get(key)); err == nil {
			s[name] = n
		}
	}
	if words := tag.Get("enum"); words != "" {
		var values []any
		for _, word := range strings.Split(words, ",") {
			if n, err := strconv.Atoi(word); err == nil {
				values = append(values, n)
			} else {
				values = append(values, word)
			}
		}
		s["enum"] = values
	}
	return s
}
