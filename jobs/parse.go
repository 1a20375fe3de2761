package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a job file.
const (
	MaxFile    = 1 << 20 // bytes
	maxNesting = 16      // lists and maps inside one another
	maxTokens  = 200_000 // of an array's arguments; all else has less than 5,000
	maxKeys    = 3_000   // twice what the largest job has
	maxWords   = 240     // bytes of a problem's words
)

// Parse reads a job file, YAML or JSON, strictly: a key that is not known, stands
// twice or belongs to a later version, a value of the wrong form, an anchor or an
// alias is a Problem that names line and column. name is what the problems call
// the file. Values that depend on a network are judged by Task and Spec.
func Parse(name string, data []byte) (*File, error) {
	src := source{name: name}
	if len(data) > MaxFile {
		return nil, &Problem{Code: CodeSpecSyntax, What: fmt.Sprintf("%s: more than the %d bytes of a job file", name, MaxFile)}
	}
	if !utf8.Valid(data) || bytes.ContainsRune(data, 0) {
		return nil, &Problem{Code: CodeSpecSyntax, What: name + ": not a text in UTF-8"}
	}
	tokens := lexer.Tokenize(strings.TrimPrefix(string(data), "\ufeff")) // some editors begin a file with a mark
	if err := checkSize(src, tokens); err != nil {
		return nil, err
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(src, err)
	}
	bodies := slices.DeleteFunc(tree.Docs, func(d *ast.DocumentNode) bool {
		_, directive := d.Body.(*ast.DirectiveNode)
		return d.Body == nil || directive
	})
	if len(bodies) == 0 {
		return nil, &Problem{Code: CodeSpecSyntax, What: name + ": there is nothing in it"}
	}
	if len(bodies) > 1 {
		return nil, &Problem{Code: CodeSpecSyntax, What: fmt.Sprintf("%s: %d documents where one job belongs", name, len(bodies))}
	}
	src.at = map[string]position{}
	f := &File{source: src}
	d := decoder{source: src}
	if err := d.decode(bodies[0].Body, "", f); err != nil {
		return nil, err
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return f, nil
}

// checkSize bounds tokens and depth before the parser sees them: it recurses,
// and takes time that grows with the square of the depth and of the keys in a
// map. What nests by indentation alone needs no bound of its own, since its size
// grows with the square of its depth.
func checkSize(src source, tokens token.Tokens) error {
	flow, line, entries, count, keys := 0, 0, 0, 0, 0
	for _, t := range tokens {
		if t.Type != token.CommentType {
			count++
		}
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			entries++
		}
		if t.Type == token.MappingValueType || t.Type == token.MappingKeyType {
			keys++
		}
		if flow > maxNesting || entries > maxNesting {
			return src.problem(CodeSpecSyntax, positionOf(t), "nested too deeply")
		}
		if count > maxTokens || keys > maxKeys {
			return src.problem(CodeSpecSyntax, positionOf(t), "more words than a job can have")
		}
	}
	return nil
}

func syntaxProblem(src source, err error) error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return &Problem{Code: CodeSpecSyntax, What: src.name + ": " + first}
	}
	p := src.problem(CodeSpecSyntax, positionOf(syntax.GetToken()), syntax.GetMessage())
	if strings.ContainsRune(syntax.GetMessage(), '\t') {
		p.What, p.Try = src.problem("", positionOf(syntax.GetToken()), "a tab where spaces belong").What, "indent with spaces"
	}
	return p
}

// source remembers where the values of a parsed file stand.
type source struct {
	name string
	at   map[string]position // by key, as "run.inputs.text"
}

// position counts from 1.
type position struct{ line, column int }

func positionOf(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}

func (s source) problem(code string, p position, what string) *Problem {
	return &Problem{Code: code, What: fmt.Sprintf("%s:%d:%d: %s", s.name, p.line, p.column, clip(what))}
}

// clip keeps what a hostile file says of itself to a length that a person reads.
func clip(s string) string {
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords], "") + "..."
}

// Where says where in the file that was parsed the value of a key stands,
// run.quorum.size, as FILE:LINE:COLUMN, or where it would. Of a file that was not
// parsed it returns the key.
func (f *File) Where(key string) string { return f.source.where(key) }

// where says where the value of a key stands; for a key that is left out, where
// what should hold it does. A file that was not parsed has only its keys.
func (s source) where(key string) string {
	for k := key; s.at != nil; k = k[:max(strings.LastIndexByte(k, '.'), 0)] {
		if p, ok := s.at[k]; ok {
			return fmt.Sprintf("%s:%d:%d", s.name, p.line, p.column)
		}
		if k == "" {
			break
		}
	}
	return key
}

// wrong says that the value of a key cannot be. The words of err are kept when
// it is a Problem.
func (s source) wrong(key string, err error) *Problem {
	p := Problem{What: err.Error()}
	var inner *Problem
	if errors.As(err, &inner) {
		p = *inner
	}
	if p.Code == "" {
		p.Code = CodeSpecValue
	}
	p.What = s.where(key) + ": " + clip(p.What)
	return &p
}
