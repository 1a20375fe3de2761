package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"
	"github.com/goccy/go-yaml"
	"github.com/itchyny/gojq"
)

// The formats of -o.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// table is rows under a head. An empty head prints no head.
type table struct {
	head []string
	rows [][]string
}

// view is one answer in all its forms.
type view struct {
	data  any                          // what JSON, YAML and --jq show
	names []string                     // ids, one a line, for -o name and -q
	table func(w io.Writer, wide bool) // for people
}

// checkFormat refuses a format that is not known before anything is done.
func (a *app) checkFormat() error {
	switch a.format {
	case formatTable, formatWide, formatJSON, formatYAML, formatName:
		return nil
	}
	return usage(fmt.Sprintf("no output format %q", a.format), "table, wide, json, yaml or name")
}

// machine reports whether a program reads what is written.
func (a *app) machine() bool {
	return a.query != "" || a.format == formatJSON || a.format == formatYAML
}

// namesOnly reports whether nothing but ids is to be written.
func (a *app) namesOnly() bool { return a.format == formatName || a.quiet }

// show writes v in the form that was asked for.
func (a *app) show(v view) error {
	switch {
	case a.query != "":
		return a.filter(v.data)
	case a.format == formatJSON:
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v.data)
	case a.format == formatYAML:
		data, err := json.Marshal(v.data)
		if err != nil {
			return err
		}
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
		_, err = a.out.Write(data)
		return err
	case a.namesOnly():
		for _, name := range v.names {
			fmt.Fprintln(a.out, name)
		}
	default:
		v.table(a.out, a.format == formatWide)
	}
	return nil
}

// line writes one value of a stream: NDJSON, or what --jq makes of it.
func (a *app) line(v any) error {
	if a.query != "" {
		return a.filter(v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", data)
	return err
}

// filter writes what the jq expression makes of v: strings as they are, other
// values as JSON, each on a line.
func (a *app) filter(v any) error {
	query, err := gojq.Parse(a.query)
	if err != nil {
		return usage("the jq expression does not parse: "+err.Error(), "quote it for the shell: --jq '.jobs[].id'")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var plain any
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&plain); err != nil {
		return err
	}
	for results := query.Run(plain); ; {
		result, ok := results.Next()
		if !ok {
			return nil
		}
		if err, failed := result.(error); failed {
			return usage("the jq expression fails: "+err.Error(), "look at the JSON with -o json")
		}
		if text, ok := result.(string); ok {
			fmt.Fprintln(a.out, text)
			continue
		}
		encoded, err := gojq.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s\n", encoded)
	}
}

// plain writes text that somebody else chose, such as the name of a job, so that
// it cannot move the cursor, end the line or turn its direction.
func plain(text string) string {
	tricky := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if !strings.ContainsFunc(text, tricky) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if tricky(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// columns is how wide a terminal is, and 0 for what is none.
func columns(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(f.Fd())
	if err != nil {
		return 0
	}
	return width
}

// fold joins the parts of a sentence, on one line where width allows it or is 0,
// and else on further lines, which are set in. A part is not broken.
func fold(width int, separator string, parts ...string) string {
	const indent = "  "
	var b strings.Builder
	used := 0
	for i, part := range parts {
		wide := lipgloss.Width(part)
		if i < len(parts)-1 {
			wide += lipgloss.Width(strings.TrimRight(separator, " "))
		}
		switch gap := lipgloss.Width(separator) - lipgloss.Width(strings.TrimRight(separator, " ")); {
		case i == 0:
		case width > 0 && used+gap+wide > width:
			b.WriteString(strings.TrimRight(separator, " ") + "\n" + indent)
			used = len(indent)
		default:
			b.WriteString(separator)
			used += gap
		}
		b.WriteString(part)
		used += wide
	}
	return b.String()
}

// write aligns the columns, by how wide a terminal shows them. Colour takes no
// width: s paints only whole cells of the column named STATE, and the words of
// SIGNED that matter.
func (t table) write(w io.Writer, s style) {
	var rows [][]string
	if len(t.head) > 0 {
		rows = append(rows, t.head)
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		rows = append(rows, cells)
	}
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			shown := cell
			switch {
			case n == 0 && len(t.head) > 0:
				shown = s.faint(cell)
			case i < len(t.head) && t.head[i] == "STATE":
				shown = s.state(cell)
			case cell == "DISAGREES" || cell == "EQUIVOCATED":
				shown = s.bad(cell)
			}
			b.WriteString(shown)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
