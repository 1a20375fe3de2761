package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

func TestAFolderIsTheResultThatItHoldsByteForByteAndNothingElse(t *testing.T) {
	var blocks storetest.Memory
	want, err := tree.WriteResult(t.Context(), &blocks, tree.Result{Code: 0, Out: []tree.File{{Path: "a/b", Data: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	in := func(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	write := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(in(dir, name), []byte(text), 0o600) }
	}
	folder := func(name string) func(string) error {
		return func(dir string) error { return os.MkdirAll(in(dir, name), 0o700) }
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.RemoveAll(in(dir, name)) }
	}
	for name, test := range map[string]struct {
		change func(dir string) error
		same   bool
	}{
		"as it was written":          {func(string) error { return nil }, true},
		"a certificate beside it":    {write("job.cert", "c"), true},
		"a proof beside it":          {write("task-1.proof", "p"), true},
		"exit with a sign":           {write("exit", "+0\n"), false},
		"exit with zeros":            {write("exit", "000\n"), false},
		"exit with no newline":       {write("exit", "0"), false},
		"exit with two newlines":     {write("exit", "0\n\n"), false},
		"another exit":               {write("exit", "1\n"), false},
		"no exit":                    {remove("exit"), false},
		"no stdout":                  {remove("stdout"), false},
		"no stderr":                  {remove("stderr"), false},
		"no output":                  {remove("out"), false},
		"another output":             {write("out/a/b", "y"), false},
		"another file":               {write("more", ""), false},
		"an empty folder":            {folder("more"), false},
		"an empty folder in out":     {folder("out/c"), false},
		"an empty folder of folders": {folder("out/c/d"), false},
		"a folder for a certificate": {folder("job.cert"), false},
		"a link to the same bytes":   {func(dir string) error { return os.Symlink("stdout", in(dir, "out/link")) }, false},
		"a link in a file's place": {func(dir string) error {
			if err := os.Remove(in(dir, "stderr")); err != nil {
				return err
			}
			return os.Symlink("stdout", in(dir, "stderr"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, change := range []func(string) error{folder("out/a"), write("out/a/b", "x"), write("stdout", ""), write("stderr", ""),
				write("exit", "0\n"), test.change} {
				if err := change(dir); err != nil {
					t.Fatal(err)
				}
			}
			got, err := TreeCID(t.Context(), dir)
			if same := err == nil && got == want.Root.String(); same != test.same {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

func TestAResultWithoutOutputIsAFolderWithAnEmptyOne(t *testing.T) {
	var blocks storetest.Memory
	want, err := tree.WriteResult(t.Context(), &blocks, tree.Result{Stdout: []byte("x"), Code: -7})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"stdout": "x", "stderr": "", "exit": "-7\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := TreeCID(t.Context(), dir); err != nil || got != want.Root.String() {
		t.Errorf("%s: %v", got, err)
	}
}
