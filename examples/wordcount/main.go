// Command wordcount counts the words of the text at /in/text, a file or a
// folder of files, and writes them to /out/counts.json, the most frequent
// first. Words are letters and digits, without regard to case.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// count is one word of the result.
type count struct {
	Word  string `json:"word"`
	Times int    `json:"times"`
}

// report is what counts.json holds.
type report struct {
	Files    int     `json:"files"`
	Words    int     `json:"words"`
	Distinct int     `json:"distinct"`
	Top      []count `json:"top"`
}

func main() {
	top := flag.Int("top", 0, "how many words to list; 0 lists all")
	flag.Parse()
	r, err := run("/in/text", "/out/counts.json", *top)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
	fmt.Printf("%d words, %d of them distinct, in %d files\n", r.Words, r.Distinct, r.Files)
}

func run(from, to string, top int) (report, error) {
	times := map[string]int{}
	var r report
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r.Files++
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return add(times, f)
	})
	if err != nil {
		return r, err
	}
	r.Top = ranked(times)
	r.Distinct = len(r.Top)
	for _, c := range r.Top {
		r.Words += c.Times
	}
	if top > 0 && top < len(r.Top) {
		r.Top = r.Top[:top]
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return r, err
	}
	return r, os.WriteFile(to, append(data, '\n'), 0o644)
}

// add counts the words of a text.
func add(times map[string]int, text io.Reader) error {
	in := bufio.NewReader(text)
	var word strings.Builder
	for {
		r, _, err := in.ReadRune()
		if err == nil && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			word.WriteRune(unicode.ToLower(r))
			continue
		}
		if word.Len() > 0 {
			times[word.String()]++
			word.Reset()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ranked returns the words by how often they occur, then by themselves.
func ranked(times map[string]int) []count {
	list := make([]count, 0, len(times))
	for word, n := range times {
		list = append(list, count{word, n})
	}
	slices.SortFunc(list, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.Word, b.Word))
	})
	return list
}
