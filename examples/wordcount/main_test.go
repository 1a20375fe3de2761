package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWordsAreRankedByHowOftenTheyOccur(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	write(t, filepath.Join(text, "a"), "The boat, the BOAT: and the bell")
	write(t, filepath.Join(text, "b", "c"), "and")
	out := filepath.Join(dir, "counts.json")
	if _, err := run(text, out, 3); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "files": 2,
  "words": 8,
  "distinct": 4,
  "top": [
    {
      "word": "the",
      "times": 3
    },
    {
      "word": "and",
      "times": 2
    },
    {
      "word": "boat",
      "times": 2
    }
  ]
}
`
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestTheTextOfTheExampleHasItsCounts(t *testing.T) {
	r, err := run("text", filepath.Join(t.TempDir(), "counts.json"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Files != 1 || r.Words != 1399 || r.Distinct != 324 || r.Top[0] != (count{"the", 148}) {
		t.Errorf("got %+v", r)
	}
}

func TestAMissingTextIsAnError(t *testing.T) {
	if _, err := run(filepath.Join(t.TempDir(), "none"), "counts.json", 1); err == nil {
		t.Error("no error")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
