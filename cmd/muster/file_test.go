package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileTakesThePlaceOfAnotherWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path, before := filepath.Join(dir, "job.bundle"), filepath.Join(t.TempDir(), "before")
	if err := writeFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, before); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("new")); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{path: "new", before: "old"} { // the old file was never written to
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			t.Errorf("%s holds %q, want %q: %v", name, data, want, err)
		}
	}
	if err := writeFile(dir, []byte("new")); err == nil {
		t.Error("a folder is replaced by a file")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("what is left beside it: %v, %v", entries, err)
	}
}
