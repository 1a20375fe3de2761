// Package normal says when two ends of one task are equal although their bytes
// differ: when they come to the same normal form. It is pure, and it is part of
// the protocol: members that differ here do not agree (decision 015).
//
// A form, rather than a comparison of two: what is equal to be equal must be an
// equivalence, and "within a tolerance" is none. With a tolerance of 1, of 0, 0.8
// and 1.6 each is near the next, and the first is not near the last; who agrees
// with whom would follow from who is asked. So numbers are rounded to multiples
// of the tolerance. The price: two that are near each other on either side of a
// boundary are different. Boundaries lie half-way between multiples, so that round
// numbers and what is near them come to the same.
package normal

import (
	"crypto/sha256"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// tag of what a form is the hash of.
const tag = "muster/normal/1"

// File is one file of an end, by its path below out/.
type File struct {
	Path string
	Data []byte
}

// End is what a run left: its value, whose tree is not looked at, and what is
// in it. Standard error is not compared: it is for people.
type End struct {
	Value  consensus.Value
	Stdout []byte
	Out    []File // sorted by path
}

// part is what one file comes to.
type part struct {
	_    struct{} `cbor:",toarray"`
	Path []byte   // names of files need not be text
	Sum  consensus.Hash
}

// Form returns what an end comes to. Equal ends, under one comparison, have
// equal forms; it fails only for a comparison that Validate would refuse.
//
// A file whose name ends in .json, and standard output, are JSON where they parse
// as it (objects and arrays only for standard output): members in any order, and
// without those that the comparison ignores; numbers by value, or rounded to
// multiples of the tolerance. With text, other files in UTF-8 are compared without
// white space at the ends of lines and of the file. All else is compared by its
// bytes.
func Form(network admission.Network, c jobs.Compare, e End) (consensus.Hash, error) {
	rules, err := newRules(c)
	if err != nil {
		return consensus.Hash{}, err
	}
	body := struct {
		_      struct{} `cbor:",toarray"`
		Kind   consensus.Ending
		Class  consensus.Failure
		Code   uint64
		Stdout consensus.Hash
		Out    []part
	}{Kind: e.Value.Kind, Class: e.Value.Class, Code: e.Value.Code, Stdout: rules.sum(e.Stdout, isComposite(e.Stdout)), Out: []part{}}
	for _, f := range e.Out {
		body.Out = append(body.Out, part{Path: []byte(f.Path), Sum: rules.sum(f.Data, strings.HasSuffix(f.Path, ".json"))})
	}
	data, err := dagcbor.Seal(tag, network[:], body)
	return consensus.Hash(dagcbor.Sum(data)), err
}

// rules are a comparison, read.
type rules struct {
	step   *decimal // numbers are rounded to multiples of it; nil: compared by value
	ignore map[string]bool
	text   bool
}

func newRules(c jobs.Compare) (rules, error) {
	r := rules{ignore: map[string]bool{}, text: c.Text}
	for _, pointer := range c.Ignore {
		r.ignore[pointer] = true
	}
	if c.Float == "" {
		return r, nil
	}
	step, err := parseDecimal(string(c.Float))
	r.step = &step
	return r, err
}

// sum hashes what data comes to, with a word for the way it was read.
func (r rules) sum(data []byte, isJSON bool) consensus.Hash {
	if isJSON {
		if form, err := r.json(data); err == nil {
			return sha256.Sum256(append([]byte("json\x00"), form...))
		}
	}
	if r.text && utf8.Valid(data) {
		return sha256.Sum256(append([]byte("text\x00"), plain(string(data))...))
	}
	return sha256.Sum256(append([]byte("bytes\x00"), data...))
}

// isComposite reports whether data begins as a JSON object or array does.
func isComposite(data []byte) bool {
	for _, b := range data {
		switch b {
		case ' ', '\t', '\r', '\n':
		case '{', '[':
			return true
		default:
			return false
		}
	}
	return false
}

// plain drops white space at the ends of lines, and empty lines at the end.
func plain(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r")
	}
	last := len(lines) - 1
	for last >= 0 && lines[last] == "" {
		last--
	}
	return strings.Join(slices.Clip(lines[:last+1]), "\n")
}
