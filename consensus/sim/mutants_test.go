package sim

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryMutantAppliesToTheCodeAsItIs finds the old side of every hunk in the
// file that it is about, once: a mutant that does not apply tests nothing. make
// mutants runs them.
func TestEveryMutantAppliesToTheCodeAsItIs(t *testing.T) {
	patches, err := filepath.Glob("mutants/*.patch")
	if err != nil || len(patches) < 20 {
		t.Fatalf("%d mutants, %v", len(patches), err)
	}
	hunk := regexp.MustCompile(`(?m)^@@ .*\n`)
	for _, name := range patches {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(string(data), "\n--- a/")
		file, rest, named := strings.Cut(rest, "\n+++ b/")
		if !ok || !named || !strings.Contains(head, "\ntest: ./") {
			t.Errorf("%s has no test, or changes no file", name)
			continue
		}
		code, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hunk.Split(rest, -1)[1:] {
			var old strings.Builder
			for line := range strings.Lines(h) {
				if line[0] == ' ' || line[0] == '-' {
					old.WriteString(line[1:])
				}
			}
			if n := strings.Count(string(code), old.String()); n != 1 {
				t.Errorf("%s: what it changes stands %d times in %s", name, n, file)
			}
		}
	}
}
