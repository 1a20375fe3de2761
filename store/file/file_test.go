package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// holds checks that a folder has one file, and what is in it.
func holds(t *testing.T, path, words string) {
	t.Helper()
	if data, err := os.ReadFile(path); err != nil || string(data) != words {
		t.Errorf("it holds %q, want %q: %v", data, words, err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestAFileIsPutInThePlaceOfAnotherAndNothingElseIsLeft(t *testing.T) {
	dir, before := t.TempDir(), filepath.Join(t.TempDir(), "before")
	path := filepath.Join(dir, strings.Repeat("n", 255)) // as long as a name may be
	for _, words := range []string{"first", "second"} {
		if err := Replace(path, []byte(words), 0o600); err != nil {
			t.Fatal(err)
		}
		holds(t, path, words)
		if words == "first" {
			if err := os.Link(path, before); err != nil {
				t.Fatal(err)
			}
		}
	}
	holds(t, before, "first") // it was never written to
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"replace": Replace, "create": Create} {
		if err := write(dir, []byte("over a directory"), 0o600); err == nil {
			t.Errorf("%s: a directory is a file now", name)
		}
		if err := write(filepath.Join(dir, "none", "file"), nil, 0o600); err == nil {
			t.Errorf("%s: written into no directory", name)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestAFileIsCreatedOnlyWhereNothingIs(t *testing.T) {
	for name, link := range map[string]func(string, string) error{
		"hard links":       os.Link,
		"none, as on vfat": func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM} },
		"none, as elsewhere": func(from, to string) error {
			return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.ENOTSUP}
		},
	} {
		t.Run(name, func(t *testing.T) {
			createdWhereNothingIs(t, func(path string, data []byte, mode fs.FileMode) error { return write(path, data, mode, nameFree(link)) })
		})
	}
	createdWhereNothingIs(t, Create)
}

func createdWhereNothingIs(t *testing.T, create func(string, []byte, fs.FileMode) error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	if err := create(path, []byte("mine"), 0o640); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "mine")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()|0o040 != 0o640 { // before umask
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	if err := create(path, []byte("yours"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	holds(t, path, "mine")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := create(link, []byte("yours"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a link: %v", err)
	}
}
